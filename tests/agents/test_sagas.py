"""What a run has done is undone, the last step first, by governed calls that may be held, denied or lost like any."""

import pytest

from agents import runs, stories, templates
from audit.refusal import Refusal
from gateway import holds
from gateway.models import Attempt, Hold
from tests.agents.acts import call, open_step, records, states_of, steps, trail, wake
from tests.gateway.stage import EFFECTS, TOOLS, effects, fresh
from tests.gateway.stage import records as records_of

RESULT = {"value": {"take": {"from": "result", "pointer": "/text"}}}
ARGUMENT = {"value": {"take": {"from": "arguments", "pointer": "/value"}}}


def undone_by(tool, arguments=RESULT, effect="put"):
    return TOOLS[effect] | {"compensation": {"tool": tool, "arguments": arguments}}


MORE = {
    "book": undone_by("put"),
    "reserve": undone_by("pay"),
    "ask_first": undone_by("careful"),
    "one_way": undone_by("forbidden"),
    "fire": undone_by("launch"),
    "misfit": undone_by("put", {"value": {"take": {"from": "result", "pointer": "/nothing"}}}),
    "echo": undone_by("put", ARGUMENT),
}
UNDOERS = ("put", "pay", "careful", "forbidden", "launch")


@pytest.fixture(autouse=True)
def _tools(monkeypatch):
    for name, content in MORE.items():
        monkeypatch.setitem(TOOLS, name, content)


@pytest.fixture
def failing(acts):
    """Return a function: tools -> a run that calls them in this order, and then has no step left."""

    def start(*tools, work=True):
        first = [{"when": {"step": 1}, "call": [call(tool) for tool in tools]}, {"say": "done"}]
        acts.scripted(first, tools=UNDOERS, budgets={"steps": 1 + len(tools)})
        run = acts.start(f"say:{fresh('undo')}")
        run.value = stories.goal_of(run).removeprefix("say:")
        return acts.work(run) if work else run

    return start


def test_a_run_that_fails_undoes_what_it_has_done_the_last_step_first(acts, failing):
    run = failing("book", "look", "reserve")
    assert states_of(run) == ("compensated", "", "budget_steps_exceeded")
    assert steps(run)[4:] == [("tool", "pay", "done", ""), ("tool", "put", "done", "")]
    order = [one["value"] for one in EFFECTS if run.value in one["value"]]
    assert order == [f"say:{run.value}"] * 3 + [run.value] * 2
    reserve, undo = run.steps.get(no=4), run.steps.get(no=5)
    assert undo.undoes_id == reserve.pk
    events = trail(run)
    assert events[events.index("agents.compensation.started") :].count("agents.step.finished") == 2
    assert events[-1] == "agents.run.compensated"
    told = records(run)[-1][1]
    assert [one["step"] for one in told["compensations"]] == [4, 2]
    assert told["not_undone"] == []


def test_a_compensation_is_a_governed_call_linked_to_what_it_undoes_in_a_session_of_its_own(acts, failing):
    run = failing("book")
    done, undo = run.steps.get(no=2), run.steps.get(no=3)
    decided = records_of(undo.call_id)[0][1]
    assert decided["subjects"]["compensates"] == str(done.call_id)
    assert (decided["data"]["verdict"], decided["data"]["run"]["starter"]) == ("allow", run.starter)
    run.refresh_from_db()
    assert (run.session.state, run.compensation_session.state) == ("closed", "closed")
    assert run.compensation_session.root_id == run.session.root_id
    assert undo.call.session_id == run.compensation_session_id != run.session_id


def test_a_run_that_has_done_nothing_that_can_be_undone_fails_as_ever(acts, failing):
    run = failing("put", "look")
    assert (states_of(run)[0], trail(run)[-1]) == ("failed", "agents.run.failed")


def test_a_tool_that_said_it_had_failed_is_not_undone(acts):
    script = [{"when": {"step": 1}, "call": [call("echo", "error")]}, {"say": "done"}]
    acts.scripted(script, tools=UNDOERS, budgets={"steps": 2})
    assert states_of(acts.work(acts.start()))[0] == "failed"


@pytest.mark.parametrize(("compensate", "state"), [(True, "compensated"), (False, "cancelled")])
def test_whoever_cancels_says_whether_to_undo(acts, failing, compensate, state):
    run = failing("book", "careful", work=False)
    assert acts.work(run).wait == "hold"
    how = {"by": acts.people["alice"], "now": acts.now, "correlation_id": "test"}
    runs.cancel(run, compensate=compensate, **how)
    assert states_of(acts.work(run))[0] == state
    assert len(effects(run.value)) == compensate
    if compensate:
        assert runs_refused(run, how) == "run_ended"


def runs_refused(run, how):
    with pytest.raises(Refusal) as refused:
        runs.cancel(run, **how)
    return refused.value.code


def test_a_run_that_undoes_is_not_cancelled_again(acts, failing):
    run = failing("ask_first")
    assert states_of(run)[:2] == ("compensating", "hold")
    how = {"by": acts.people["alice"], "now": acts.now, "correlation_id": "test"}
    assert runs_refused(run, how) == "run_compensating"
    assert runs.cancel_orphans(now=acts.now) == 0 or states_of(run)[0] == "compensating"


@pytest.mark.parametrize(("word", "state"), [("approve", "compensated"), ("reject", "compensation_failed")])
def test_a_compensation_that_is_held_waits_for_a_person(acts, failing, word, state):
    run = failing("ask_first")
    assert states_of(run)[:2] == ("compensating", "hold")
    assert effects(run.value) == []
    hold = Hold.objects.get(pk=open_step(run).hold)
    assert hold.run_starter == run.starter
    how = {"now": acts.now, "correlation_id": "test"}
    getattr(holds, word)(hold.pk, approver=acts.people["bob"], digest=hold.digest, **how)
    assert wake() == 1
    assert states_of(acts.work(run))[0] == state
    assert len(effects(run.value)) == (word == "approve")


def test_one_that_is_denied_fails_the_compensation_and_the_others_are_tried(acts, failing):
    run = failing("book", "one_way", "misfit")
    assert states_of(run)[:2] == ("compensation_failed", "")
    assert [(name, state, code) for _, name, state, code in steps(run)[4:]] == [
        ("put", "dead", "compensation_invalid"),
        ("forbidden", "done", "tool_denied"),
        ("put", "done", ""),
    ]
    assert len(effects(run.value)) == 1
    event, told = records(run)[-1]
    assert (event, [one["step"] for one in told["not_undone"]]) == ("agents.compensation.failed", [3, 4])


def test_a_compensation_whose_tool_stays_away_is_given_up_after_its_retries(acts):
    script = [{"when": {"step": 1}, "call": [call("book", "say:unreachable")]}, {"say": "done"}]
    acts.scripted(script, tools=UNDOERS, budgets={"steps": 2})
    run = acts.work(acts.start())
    assert states_of(run)[0] == "compensation_failed"
    assert steps(run)[2:] == [("tool", "put", "dead", "retries_exhausted")]
    # One call under one key, however often it was tried.
    assert Attempt.objects.filter(call=run.steps.get(no=3).call_id).count() == 9


def test_a_template_takes_from_arguments_and_results_and_nothing_else():
    sources = {"arguments": {"a": {"b/c": [1, 2]}}, "result": "x"}
    template = {
        "n": {"take": {"from": "arguments", "pointer": "/a/b~1c/1"}},
        "all": [{"take": {"from": "result"}}],
        "s": 1,
    }
    assert templates.filled(template, sources) == {"n": 2, "all": ["x"], "s": 1}
    for wrong in ({"from": "session"}, {"from": "result", "pointer": "/x"}, {"from": "result", "more": 1}, "result"):
        with pytest.raises(Refusal) as refused:
            templates.filled({"take": wrong}, sources)
        assert refused.value.code == "compensation_invalid"
