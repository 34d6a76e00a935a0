"""An unsafe call of which nobody knows the outcome is never repeated: a person says what became of it."""

import pytest

from agents import executor, stories
from gateway import pep
from gateway.models import Attempt, Call
from tests.agents.acts import call, open_step, states_of, steps, wake
from tests.gateway.stage import effects


@pytest.fixture
def lost(acts):
    """A run whose unsafe call ran into a time-out after the tool had it."""
    before = len(effects("lost"))
    script = [
        {"when": {"step": 1}, "call": [call("launch", "lost")]},
        {"say": {"take": {"from": "launch"}}},
    ]
    return acts.run(script), lambda: len(effects("lost")) - before


def settle(acts, run, outcome, **more):
    """Say what became of the run's lost call, as olga."""
    how = {"now": acts.now, "correlation_id": "test"} | more
    return pep.settle(open_step(run).call_id, person=acts.people["olga"], outcome=outcome, **how)


def test_a_lost_unsafe_call_leaves_the_step_indeterminate_and_the_run_waits_for_a_person(acts, lost):
    run, happened = lost
    assert (run.state, run.wait, run.code) == ("waiting", "person", "tool_timeout")
    assert steps(run)[1] == ("tool", "launch", "indeterminate", "tool_timeout")
    assert happened() == 1


def test_nothing_repeats_a_lost_unsafe_call(acts, lost):
    run, happened = lost
    step = open_step(run)
    for _ in range(3):
        executor.advance(step.pk)
        wake()
    assert states_of(run)[:2] == ("waiting", "person")
    assert happened() == 1


def test_when_it_happened_the_run_goes_on_with_what_the_person_saw(acts, lost):
    run, happened = lost
    settle(acts, run, "happened", result={"orbit": 7})
    assert wake() == 1
    run = acts.work(run)
    assert (run.state, stories.answer_of(run)) == ("succeeded", '{"orbit":7}')
    assert happened() == 1


def test_when_it_did_not_happen_the_call_is_made_again_under_the_same_key(acts, lost):
    run, happened = lost
    first = open_step(run)
    settle(acts, run, "did_not_happen")
    wake()
    run = acts.work(run)
    assert (run.state, run.wait) == ("waiting", "person")  # and is lost again
    assert happened() == 2
    again = open_step(run)
    assert (again.pk, again.key, again.call_id) == (first.pk, first.key, first.call_id)
    assert Attempt.objects.filter(call=first.call_id).count() == 2


def test_a_lost_keyed_call_is_repeated_with_the_key_that_the_tool_knows(acts):
    script = [{"when": {"step": 1}, "call": [call("pay", "lost")]}, {"say": "paid"}]
    before = len(effects("lost"))
    run = acts.run(script)
    done = effects("lost")[before:]
    assert (run.state, run.wait, run.code) == ("waiting", "person", "retries_exhausted")
    assert len(done) == 9
    assert len({effect["key"] for effect in done}) == 1
    assert Call.objects.get(pk=run.steps.get(no=2).call_id).state == "unknown"
