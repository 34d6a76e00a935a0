"""Time that a run waits for people is not its own; time that its session has is, and its end tears nothing."""

import threading

import pytest

from agents import executor, runs
from gateway import holds, sessions
from gateway.models import Hold
from tests.agents.acts import call, open_step, states_of, steps, trail, wake
from tests.gateway.stage import DURING, effects, fresh, query

HELD = [{"when": {"step": 1}, "call": [call("careful")]}, {"say": "done"}]


def earlier(run, *columns):
    """Let what is written there have happened two hours before."""
    moved = ", ".join(f"{column} = {column} - interval '2 h'" for column in columns)
    query(f"UPDATE gateway_counter SET {moved} WHERE id = %s", run.pk)


@pytest.mark.parametrize(
    ("columns", "ends"),
    [
        (("started_at", "waits_since"), ("succeeded", "")),  # for two hours it waited
        (("started_at",), ("failed", "budget_seconds_exceeded")),  # for two hours it worked, and waited then
    ],
)
def test_a_run_that_waits_for_a_person_spends_none_of_its_seconds(acts, columns, ends):
    run = acts.run(HELD, goal=fresh(), budgets={"seconds": 3600})
    assert states_of(run)[:2] == ("waiting", "hold")
    earlier(run, *columns)
    hold = Hold.objects.get(pk=open_step(run).hold)
    how = {"now": acts.now, "correlation_id": "test"}
    holds.approve(hold.pk, approver=acts.people["bob"], digest=hold.digest, **how)
    assert wake() == 1
    state, _, code = states_of(acts.work(run))
    assert (state, code) == ends


def test_a_run_whose_session_has_run_out_is_cancelled_on_record(acts):
    value = fresh()
    run = acts.run(HELD, goal=value)
    query("UPDATE gateway_session SET expires_at = now() WHERE id = %s", run.session_id)
    assert sessions.expire(now=acts.now) >= 1
    assert runs.cancel_orphans(now=acts.now) >= 1
    assert states_of(run) == ("cancelled", "", "session_expired")
    assert trail(run)[-2:] == ["agents.cancellation.requested", "agents.run.cancelled"]
    assert effects(value) == []


def test_what_an_expired_session_has_decided_finishes_and_the_run_ends_then(acts):
    """An unsafe call is under way: it is not torn, and what came of it is on record."""
    value, there, gate = fresh(), threading.Event(), threading.Event()

    def work():
        there.set()
        assert gate.wait(30)

    DURING[value] = work
    acts.scripted([{"when": {"step": 1}, "call": [call("launch")]}, {"say": "done"}])
    run = acts.start(value)
    acts.work_once(run)
    step = open_step(run)

    def advance():
        from django.db import connections

        executor.advance(step.pk)
        connections.close_all()

    worker = threading.Thread(target=advance)
    worker.start()
    assert there.wait(30)
    query("UPDATE gateway_session SET expires_at = now() WHERE id = %s", run.session_id)
    sessions.expire(now=acts.now)
    runs.cancel_orphans(now=acts.now)
    assert states_of(run)[0] == "running"
    gate.set()
    worker.join()
    assert states_of(run) == ("cancelled", "", "session_expired")
    assert steps(run)[1] == ("tool", "launch", "done", "")
    assert len(effects(value)) == 1
