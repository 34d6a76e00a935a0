"""A call that needs a person parks its run, without a worker and without a lease, until the person has decided."""

import json
import uuid

import pytest

from agents import executor, leases, stories
from audit.refusal import Refusal
from gateway import holds, pep
from gateway.models import Attempt, Hold
from tests.agents.acts import call, lapse, open_step, states_of, steps, trail, wake
from tests.gateway.stage import effects, fresh


@pytest.fixture
def parked(acts):
    """A run that waits for a person before it puts `value`, and what it says about the outcome."""
    value = fresh()
    script = [
        {"when": {"step": 1}, "call": [call("careful")]},
        {"say": {"take": {"from": "careful"}}},
    ]
    return acts.run(script, goal=value), value


def decide(acts, run, verdict, by="bob"):
    """Approve or reject the run's hold."""
    row = Hold.objects.get(pk=open_step(run).hold)
    how = {"digest": row.digest, "now": acts.now, "correlation_id": "test"}
    return verdict(row.pk, approver=acts.people[by], **how)


def test_a_held_call_parks_the_run_without_a_worker_or_a_lease(acts, parked):
    run, value = parked
    assert (run.state, run.wait, run.code) == ("waiting", "hold", "person_decides")
    step = open_step(run)
    assert (step.state, step.lease_until, step.lease_owner) == ("decided", None, "")
    assert (step.hold, step.call.state) == (Hold.objects.get(call=step.call).pk, "parked")
    assert effects(value) == []


def test_nothing_moves_a_parked_run_before_a_person_has_decided(acts, parked):
    run, value = parked
    executor.advance(open_step(run).pk)
    assert wake() == 0
    assert states_of(run) == ("waiting", "hold", "person_decides")
    assert effects(value) == []


def test_after_approval_the_run_resumes_and_the_call_is_executed_exactly_once(acts, parked):
    run, value = parked
    decide(acts, run, holds.approve)
    assert effects(value) == []
    assert wake() == 1
    run = acts.work(run)
    assert (run.state, stories.answer_of(run)) == ("succeeded", json.dumps({"value": value}, separators=(",", ":")))
    assert len(effects(value)) == 1
    assert trail(run)[3:6] == ["agents.run.parked", "agents.run.resumed", "agents.step.finished"]


def test_a_release_by_somebody_else_and_the_run_s_own_execute_once_between_them(acts, parked):
    run, value = parked
    row = decide(acts, run, holds.approve)
    assert pep.release(row.pk, now=acts.now).status == "finished"
    wake()
    assert acts.work(run).state == "succeeded"
    assert len(effects(value)) == 1


def test_a_rejection_is_an_observation(acts, parked):
    run, value = parked
    decide(acts, run, holds.reject)
    assert wake() == 1
    run = acts.work(run)
    assert run.state == "succeeded"
    assert '"code":"hold_rejected"' in stories.answer_of(run)
    assert steps(run)[1] == ("tool", "careful", "done", "hold_rejected")
    assert effects(value) == []


def test_an_expired_hold_is_an_observation(acts, parked):
    run, value = parked
    Hold.objects.filter(pk=open_step(run).hold).update(expires_at=acts.now)
    holds.expire(now=acts.now)
    assert wake() == 1
    run = acts.work(run)
    assert '"code":"hold_expired"' in stories.answer_of(run)
    assert effects(value) == []


def test_an_approval_survives_the_death_of_the_worker_that_took_it_up(acts, parked):
    run, value = parked
    decide(acts, run, holds.approve)
    wake()
    step = open_step(run)
    assert leases.claim(step.pk) is not None  # and dies
    lapse(step)
    assert acts.work(run).state == "succeeded"
    assert len(effects(value)) == 1
    assert Attempt.objects.filter(call=step.call, verdict="allow").count() == 1


def test_who_started_the_run_cannot_approve_its_call(acts, parked):
    run, value = parked
    with pytest.raises(Refusal) as refused:
        decide(acts, run, holds.approve, by="alice")
    assert refused.value.code == "approver_excluded"
    assert wake() == 0
    assert effects(value) == []


def test_a_step_of_nobody_is_ignored(acts):
    executor.advance(uuid.uuid4())
