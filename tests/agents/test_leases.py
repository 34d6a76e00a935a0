"""One worker at a time: a lease by the database's clock, and a fence against those who come back too late."""

import threading
import time

import pytest
from django.db import connection

from agents import executor, leases, progress, steps
from agents.models import Step
from agents.outcomes import Said
from audit.refusal import Refusal
from gateway.models import Attempt
from tests.agents.acts import call, lapse, open_step, records, states_of, trail
from tests.agents.acts import steps as steps_of
from tests.gateway.stage import effects, fresh


@pytest.fixture
def run(acts):
    """A run of which nothing is done yet."""
    acts.scripted([{"when": {"step": 1}, "call": [call("look")]}, {"say": "done"}])
    return acts.start()


def test_of_two_workers_one_gets_the_step(run):
    step = open_step(run)
    claim = leases.claim(step.pk)
    assert (claim.fence, claim.step.attempts, claim.run.state) == (1, 1, "running")
    assert leases.claim(step.pk) is None


def test_many_workers_at_once_make_each_call_once(acts, run):
    value = fresh()
    acts.scripted([{"when": {"step": 1}, "call": [call("put")]}, {"say": "done"}])
    run = acts.start(value)
    while (step := open_step(run)) is not None:
        threads = [threading.Thread(target=_advance, args=(step.pk,)) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert states_of(run)[0] == "succeeded"
    assert len(effects(value)) == 1
    assert [state for _, _, state, _ in steps_of(run)] == ["done"] * 3


def test_a_dead_worker_s_step_is_taken_over_with_a_higher_fence(acts, run):
    step = open_step(run)
    leases.claim(step.pk)
    lapse(step)
    claim = leases.claim(step.pk)
    assert (claim.fence, claim.step.attempts) == (2, 2)
    lapse(step)
    assert acts.work(run).state == "succeeded"


def test_who_comes_back_too_late_changes_nothing(acts, run):
    step = open_step(run)
    zombie = leases.claim(step.pk)
    lapse(step)
    heir = leases.claim(step.pk)
    with pytest.raises(leases.Overtaken), leases.held(zombie):
        pass
    with leases.held(heir) as (row, held, _):
        assert (row.pk, held.fence) == (run.pk, 2)


def test_a_model_s_answer_is_kept_and_never_asked_for_again(acts):
    acts.scripted([{"when": {"step": 1}, "call": [call("look")]}, {"say": "done"}])
    run = acts.start()
    executor.advance(open_step(run).pk)
    model = run.steps.get(no=1)
    for _ in range(2):  # the tool's worker dies, twice
        leases.claim(open_step(run).pk)
        lapse(open_step(run))
    acts.work(run)
    assert Attempt.objects.filter(call=model.call_id).count() == 1
    assert model.attempts == 1


def test_an_answer_that_was_not_put_on_record_here_is_replayed_and_not_asked_for_again(acts, run):
    step = open_step(run)
    claim = leases.claim(step.pk)
    meaning, _, call_id = executor._perform(claim)  # and dies before it can note the answer
    assert isinstance(meaning, Said)
    lapse(step)
    assert acts.work(run).state == "succeeded"
    assert Attempt.objects.filter(call=call_id).count() == 1


def test_a_heartbeat_keeps_the_lease_of_a_slow_step(acts, settings):
    settings.PLACET_LEASE_SECONDS = 1
    acts.scripted([{"when": {"step": 1}, "call": [call("put", "sleep:2.5")]}, {"say": "done"}])
    run = acts.start()
    executor.advance(open_step(run).pk)
    step = open_step(run)
    slow = threading.Thread(target=_advance, args=(step.pk,))
    slow.start()
    while not effects("sleep:2.5"):
        time.sleep(0.01)
    claims = []
    while slow.is_alive():
        claims.append(leases.claim(step.pk))
        time.sleep(0.2)
    slow.join()
    assert claims
    assert set(claims) == {None}
    step.refresh_from_db()
    assert (step.state, step.attempts) == ("done", 1)


def test_a_step_that_kills_its_workers_is_dead_after_three_times_and_the_run_waits_for_a_person(run):
    step = open_step(run)
    for _ in range(leases.POISON):
        assert leases.claim(step.pk) is not None
        lapse(step)
    assert leases.claim(step.pk) is None
    assert states_of(run) == ("waiting", "person", "poison")
    step.refresh_from_db()
    assert (step.state, step.code, step.attempts) == ("dead", "poison", 3)
    assert records(run)[-1][0] == "agents.run.parked"


def test_a_dead_step_is_requeued_under_the_same_key_by_who_may(acts, run):
    step = open_step(run)
    progressed = step.key
    for _ in range(leases.POISON):
        leases.claim(step.pk)
        lapse(step)
    leases.claim(step.pk)
    with pytest.raises(Refusal) as refused:
        steps.requeue(step, by=acts.people["bob"], now=acts.now)
    assert refused.value.code == "role_missing"
    again = steps.requeue(step, by=acts.people["olga"], now=acts.now)
    assert (again.state, again.key, again.crashes) == ("ready", progressed, 0)
    assert "agents.step.requeued" in trail(run)
    assert acts.work(run).state == "succeeded"
    with pytest.raises(Refusal) as refused:
        steps.requeue(step, by=acts.people["olga"], now=acts.now)
    assert refused.value.code == "step_not_dead"


def test_a_step_that_fails_in_passing_is_tried_again_later_and_then_given_up(acts):
    script = [{"when": {"step": 1}, "call": [call("look", "unreachable")]}, {"say": "done"}]
    acts.scripted(script)
    run = acts.start()
    executor.advance(open_step(run).pk)
    executor.advance(open_step(run).pk)
    step = open_step(run)
    assert states_of(run) == ("waiting", "timer", "tool_unreachable")
    assert (step.state, step.failures, step.crashes, step.lease_until) == ("retry_at", 1, 0, None)
    run = acts.work(run)
    assert (run.state, run.wait, run.code) == ("waiting", "person", "retries_exhausted")
    assert run.steps.get(no=2).failures == 8


def test_a_timer_that_is_not_over_holds_the_step_back(acts):
    acts.scripted([{"when": {"step": 1}, "call": [call("look", "unreachable")]}, {"say": "done"}])
    run = acts.start()
    executor.advance(open_step(run).pk)
    executor.advance(open_step(run).pk)
    step = open_step(run)
    Step.objects.filter(pk=step.pk).update(not_before="2100-01-01T00:00:00Z")
    assert leases.claim(step.pk) is None


def _advance(step):
    try:
        executor.advance(step)
    finally:
        connection.close()


def test_progress_is_one_transaction_with_its_record(acts, run, monkeypatch):
    step = open_step(run)
    claim = leases.claim(step.pk)
    meaning, story, call_id = executor._perform(claim)
    monkeypatch.setattr(progress, "go_on", _fail)
    with pytest.raises(ZeroDivisionError), leases.held(claim) as (row, held, now):
        progress.apply(row, held, meaning, story=story, call=call_id, now=now)
    step.refresh_from_db()
    assert step.state == "leased"
    assert "agents.step.finished" not in trail(run)


def _fail(*_, **__):
    raise ZeroDivisionError
