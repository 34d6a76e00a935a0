"""A run can be ended from outside: nothing new is decided, what was under way is reported."""

import threading
import time

import pytest
from django.db import connection

from agents import executor, leases, runs
from agents.effects import not_undone
from audit.refusal import Refusal
from gateway import holds, pep, sessions
from gateway.models import Hold
from tests.agents.acts import call, lapse, open_step, records, states_of, steps, trail, wake
from tests.gateway.stage import effects, fresh


def cancel(acts, run, by="alice"):
    """Cancel the run."""
    return runs.cancel(run, by=acts.people[by], now=acts.now, correlation_id="test")


def test_a_queued_run_is_cancelled_at_once_and_its_step_never_runs(acts):
    value = fresh()
    acts.scripted([{"call": [call("put")]}])
    run = acts.start(value)
    step = open_step(run)
    assert cancel(acts, run).state == "cancelled"
    executor.advance(step.pk)
    assert steps(run) == [("model", "thinker", "dead", "cancelled")]
    assert effects(value) == []
    assert trail(run)[-2:] == ["agents.cancellation.requested", "agents.run.cancelled"]


def test_cancelling_twice_is_the_same_and_an_ended_run_cannot_be_cancelled(acts):
    acts.scripted([{"say": "done"}])
    run = acts.start()
    cancel(acts, run)
    before = trail(run)
    assert cancel(acts, run).state == "cancelled"
    assert trail(run) == before
    ended = acts.work(acts.start())
    with pytest.raises(Refusal) as refused:
        cancel(acts, ended)
    assert refused.value.code == "run_ended"


def test_the_hold_of_a_cancelled_run_can_be_approved_but_releases_nothing(acts):
    value = fresh()
    run = acts.run([{"when": {"step": 1}, "call": [call("careful")]}, {"say": "done"}], goal=value)
    hold = Hold.objects.get(pk=open_step(run).hold)
    assert cancel(acts, run).state == "cancelled"
    how = {"now": acts.now, "correlation_id": "test"}
    holds.approve(hold.pk, approver=acts.people["bob"], digest=hold.digest, **how)
    assert pep.release(hold.pk, now=acts.now).code == "session_closed"
    assert wake() == 0
    assert effects(value) == []


def test_what_is_under_way_may_finish_and_is_reported_as_not_undone(acts):
    value = "sleep:1.5"
    before = len(effects(value))
    acts.scripted([{"when": {"step": 1}, "call": [call("put")]}, {"say": "done"}])
    run = acts.start(value)
    executor.advance(open_step(run).pk)
    slow = threading.Thread(target=_advance, args=(open_step(run).pk,))
    slow.start()
    while len(effects(value)) == before:
        time.sleep(0.01)
    assert cancel(acts, run).state == "running"
    slow.join()
    run.refresh_from_db()
    assert (run.state, run.code) == ("cancelled", "cancelled")
    [change] = not_undone(run)
    assert (change["step"], change["name"], change["effect"], change["state"]) == (2, "put", "idempotent", "completed")
    assert records(run)[-1][1]["not_undone"] == [change]
    assert len(effects(value)) == before + 1


def test_a_cancelled_run_whose_worker_died_ends_when_the_lease_is_over(acts):
    value = fresh()
    acts.scripted([{"when": {"step": 1}, "call": [call("put")]}, {"say": "done"}])
    run = acts.start(value)
    executor.advance(open_step(run).pk)
    step = open_step(run)
    leases.claim(step.pk)
    assert cancel(acts, run).state == "running"
    lapse(step)
    executor.advance(step.pk)
    assert states_of(run) == ("cancelled", "", "cancelled")
    assert effects(value) == []


def test_a_lost_unsafe_call_stays_indeterminate_and_is_reported(acts):
    run = acts.run([{"when": {"step": 1}, "call": [call("launch", "lost")]}, {"say": "done"}])
    run = cancel(acts, run)
    assert steps(run)[1][2] == "indeterminate"
    assert [(change["name"], change["state"]) for change in not_undone(run)] == [("launch", "unknown")]


def test_a_run_whose_session_is_closed_is_ended_safely(acts):
    value = fresh()
    run = acts.run([{"when": {"step": 1}, "call": [call("careful")]}, {"say": "done"}], goal=value)
    sessions.close(run.session_id, by=acts.people["olga"], now=acts.now, correlation_id="test")
    assert runs.cancel_orphans(now=acts.now) >= 1
    assert states_of(run) == ("cancelled", "", "session_closed")


def test_who_may_cancel(acts):
    acts.scripted([{"say": "done"}])
    run = acts.start()
    for name, code in (("mallory", "not_found"), ("dave", "role_missing"), ("bob", "role_missing")):
        with pytest.raises(Refusal) as refused:
            cancel(acts, run, by=name)
        assert refused.value.code == code
    assert states_of(run)[0] == "queued"
    assert cancel(acts, run, by="olga").state == "cancelled"


def _advance(step):
    try:
        executor.advance(step)
    finally:
        connection.close()
