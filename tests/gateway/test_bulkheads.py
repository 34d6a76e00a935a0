"""One upstream that hangs takes neither all threads of a process nor all that there are, and no other with it."""

import threading

import pytest
from django.db import connections
from django.test import override_settings

from tests.gateway.stage import DURING, MESSAGES, at_once, effects, events, fresh, query


@pytest.fixture(autouse=True)
def _nobody_else(stage):
    """Other tests let processes die, whose leases nobody has given back yet."""
    query("UPDATE gateway_lease SET until = now()")


class Hung:
    """Calls that stay in the tool until the block is left."""

    def __init__(self, stage, agent, count):
        self.stage, self.agent, self.count = stage, agent, count
        self.value, self.gate, self.outcomes = fresh(), threading.Event(), []

    def __enter__(self):
        there = threading.Semaphore(0)

        def work():
            there.release()
            assert self.gate.wait(30)

        DURING[self.value] = work
        self.threads = [threading.Thread(target=self._ask) for _ in range(self.count)]
        for thread in self.threads:
            thread.start()
        for _ in self.threads:
            assert there.acquire(timeout=30)
        return self

    def __exit__(self, *_):
        self.gate.set()
        for thread in self.threads:
            thread.join()

    def _ask(self):
        self.outcomes.append(self.stage.call(self.agent, "look", self.value))
        connections.close_all()


@override_settings(PLACET_UPSTREAM_CALLS_PER_PROCESS=2)
def test_an_upstream_gets_no_more_threads_of_a_process_than_it_may(stage, agent):
    value, key = fresh(), fresh("key")
    with Hung(stage, agent, 2) as hung:
        outcome = stage.call(agent, "put", value, key=key)
        assert (outcome.status, outcome.code, outcome.again) == ("failed", "bulkhead_full", True)
        assert (outcome.retry_after, effects(value)) == (1, [])
        assert events(outcome.call) == ["call.decided", "call.failed"]
        # Another upstream is not touched by it.
        assert stage.call(agent, kind="model", name="script", arguments=MESSAGES).status == "finished"
    assert [outcome.status for outcome in hung.outcomes] == ["finished"] * 2
    assert stage.call(agent, "put", value, key=key).status == "finished"
    assert len(effects(value)) == 1


@override_settings(PLACET_UPSTREAM_CALLS_PER_PROCESS=2)
def test_callers_at_once_never_have_more_places_than_there_are(stage, agent):
    value, gate, lock = fresh(), threading.Event(), threading.Lock()
    inside, refused = [], []

    def work():
        with lock:
            inside.append(1)
        assert gate.wait(30)

    DURING[value] = work

    def ask():
        outcome = stage.call(agent, "look", value)
        with lock:
            if outcome.code == "bulkhead_full":
                refused.append(1)
            if len(refused) == 6:
                gate.set()
        return outcome

    outcomes = at_once(*[ask] * 8)
    assert sorted(outcome.code for outcome in outcomes) == ["", "", *["bulkhead_full"] * 6]
    assert len(inside) == 2


@override_settings(PLACET_UPSTREAM_CALLS=2)
def test_an_upstream_has_a_bound_over_all_processes(stage, agent):
    value = fresh()
    with Hung(stage, agent, 2):
        # As another process would: the two are known from the database alone.
        outcome = stage.call(stage.agent(), "put", value)
        assert (outcome.code, outcome.again, effects(value)) == ("bulkhead_full", True, [])
    assert stage.call(stage.agent(), "put", value).status == "finished"


@override_settings(PLACET_UPSTREAM_CALLS=1)
def test_the_places_of_a_dead_process_are_free_when_its_lease_is_over(stage, agent, victim, tmp_path):
    key = fresh("key")
    order = {"credential": str(agent.id), "tool": "look", "value": fresh(), "key": key, "log": str(tmp_path / "log")}
    victim(order | {"point": "gateway.invoked"})
    assert stage.call(agent, "put").code == "bulkhead_full"
    query("UPDATE gateway_lease l SET until = now() FROM gateway_call c WHERE c.id = l.call AND c.key = %s", key)
    assert stage.call(agent, "put").status == "finished"
