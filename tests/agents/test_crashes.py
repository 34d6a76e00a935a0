"""Whatever moment a worker dies in: no run is lost, no effect comes without its decision, and none comes twice."""

import json
import re
import signal
from pathlib import Path

import pytest

from agents import leases, runs
from agents.models import Run
from gateway import holds, pep
from gateway.models import Attempt, Hold
from tests.agents.acts import call, lapse, open_step, recover, states_of, steps, trail, wake
from tests.gateway.stage import fresh

# On the way of a step, in the order in which they come.
STEP = [
    "agents.claimed",
    "agents.before_call",
    "gateway.claimed",
    "gateway.reserved",
    "gateway.decided",
    "gateway.before_invoke",
    "gateway.invoked",
    "gateway.before_record",
    "gateway.completed",
    "agents.after_call",
    "agents.recording",
    "agents.recorded",
]
DECIDED = STEP[STEP.index("gateway.decided") :]
EXECUTED = STEP[STEP.index("gateway.invoked") :]
ENDING = ["agents.recording", "agents.ending", "gateway.session_closed"]
STARTING = ["gateway.session_opened", "agents.creating", "agents.created"]
OTHERS = ["agents.cancelled", "agents.requeued"]
# In tests/agents/test_sagas.py.
UNDOING = ["agents.compensating", "agents.undoing"]


@pytest.fixture
def acting(acts, victim, tmp_path, monkeypatch):
    """Return a function: tool, number of the step, point -> a run whose worker died there, and the effects so far."""
    log = tmp_path / "effects"
    log.touch()
    monkeypatch.setenv("STAGE_LOG", str(log))

    def die(tool, no, point):
        acts.scripted([{"when": {"step": 1}, "call": [call(tool)]}, {"say": "done"}])
        run = acts.start(fresh())
        while open_step(run).no < no:
            acts.work_once(run)
        step = open_step(run)
        assert victim(do="advance", step=str(step.pk), point=point, log=str(log)) == signal.SIGKILL
        return run, step

    die.effects = lambda: [json.loads(line) for line in log.read_text().splitlines()]
    return die


def test_every_point_of_the_executor_is_tried():
    root = Path(__file__).resolve().parents[2]
    source = "".join(path.read_text() for path in root.glob("agents/**/*.py"))
    points = set(re.findall(r'crash\.point\("(.+?)"\)', source))
    tried = {*STEP, *ENDING, *STARTING, *OTHERS, *UNDOING}
    assert points == {point for point in tried if point.startswith("agents.")}


@pytest.mark.parametrize("point", STEP)
@pytest.mark.parametrize("tool", ["put", "pay"])
def test_a_run_of_repeatable_calls_finishes_with_each_effect_once(acts, acting, tool, point):
    run, step = acting(tool, 2, point)
    assert len(acting.effects()) == (point in EXECUTED)
    run = recover(acts, run)
    assert run.state == "succeeded"
    assert [state for _, _, state, _ in steps(run)] == ["done"] * 3
    # One key, which the tool knows: what came of it before and after the crash is one effect.
    assert len({effect["key"] for effect in acting.effects()}) == 1
    step.refresh_from_db()
    attempts = Attempt.objects.filter(call=step.call_id, verdict="allow").count()
    assert len(acting.effects()) <= attempts <= 2


@pytest.mark.parametrize("point", STEP)
def test_an_unsafe_call_happens_at_most_once_until_a_person_says_what_became_of_it(acts, acting, point):
    run, _ = acting("launch", 2, point)
    run = recover(acts, run)
    lost = point in DECIDED and STEP.index(point) < STEP.index("gateway.completed")
    if lost:
        assert (run.state, run.wait, steps(run)[1][2]) == ("waiting", "person", "indeterminate")
        happened = bool(acting.effects())
        assert happened == (point in EXECUTED)
        pep.settle(
            open_step(run).call_id,
            person=acts.people["olga"],
            outcome="happened" if happened else "did_not_happen",
            now=acts.now,
            correlation_id="test",
        )
        wake()
        run = acts.work(run)
    assert run.state == "succeeded"
    assert len(acting.effects()) == 1


@pytest.mark.parametrize("point", STEP)
def test_a_model_is_asked_again_only_if_its_answer_was_not_kept(acts, acting, point):
    run, step = acting("look", 1, point)
    run = recover(acts, run)
    assert run.state == "succeeded"
    attempts = Attempt.objects.filter(call=run.steps.get(pk=step.pk).call_id, verdict="allow").count()
    kept = STEP.index(point) >= STEP.index("gateway.completed")
    assert attempts == (1 if kept or point not in DECIDED else 2)


@pytest.mark.parametrize("point", ENDING)
def test_a_run_ends_once(acts, acting, point):
    run, _ = acting("look", 3, point)
    assert states_of(run)[0] == "running"
    run = recover(acts, run)
    assert run.state == "succeeded"
    assert trail(run).count("agents.run.succeeded") == 1


@pytest.mark.parametrize("point", STARTING)
def test_a_run_whose_start_was_cut_off_is_started_once_by_the_same_key(acts, victim, point, tmp_path):
    acts.scripted([{"say": "done"}])
    asked = {"agent": acts.last, "goal": "Do it.", "key": fresh("key")}
    order = {"do": "start", "workspace": str(acts.workspace.pk), "by": str(acts.people["alice"].pk), "run": asked}
    assert victim(**order, point=point, log=str(tmp_path / "log")) == signal.SIGKILL
    started = Run.objects.filter(key=asked["key"])
    assert started.count() == (point == "agents.created")
    how = {"by": acts.people["alice"], "now": acts.now, "correlation_id": "test"}
    run, new = runs.start(acts.workspace, environment="development", **asked, **how)
    assert new == (point != "agents.created")
    assert started.count() == 1
    assert acts.work(run).state == "succeeded"


def test_a_cancellation_that_was_cut_off_is_there(acts, victim, tmp_path):
    acts.scripted([{"say": "done"}])
    run = acts.start()
    order = {"do": "cancel", "run": str(run.pk), "by": str(acts.people["olga"].pk), "log": str(tmp_path / "log")}
    assert victim(**order, point="agents.cancelled") == signal.SIGKILL
    assert states_of(run)[0] == "cancelled"


def test_a_requeue_that_was_cut_off_is_there(acts, victim, tmp_path):
    acts.scripted([{"say": "done"}])
    run = acts.start()
    step = open_step(run)
    for _ in range(leases.POISON):
        leases.claim(step.pk)
        lapse(step)
    leases.claim(step.pk)
    order = {"do": "requeue", "step": str(step.pk), "by": str(acts.people["olga"].pk), "log": str(tmp_path / "log")}
    assert victim(**order, point="agents.requeued") == signal.SIGKILL
    assert acts.work(run).state == "succeeded"


@pytest.mark.parametrize("point", ["agents.claimed", "gateway.reclaimed", "gateway.decided", "gateway.completed"])
def test_an_approved_call_is_executed_once_whoever_dies_on_the_way(acts, victim, tmp_path, monkeypatch, point):
    log = tmp_path / "effects"
    log.touch()
    monkeypatch.setenv("STAGE_LOG", str(log))
    run = acts.run([{"when": {"step": 1}, "call": [call("careful")]}, {"say": "done"}], goal=fresh())
    hold = Hold.objects.get(pk=open_step(run).hold)
    how = {"now": acts.now, "correlation_id": "test"}
    holds.approve(hold.pk, approver=acts.people["bob"], digest=hold.digest, **how)
    wake()
    step = open_step(run)
    assert victim(do="advance", step=str(step.pk), point=point, log=str(log)) == signal.SIGKILL
    assert recover(acts, run).wait in ("", "hold")
    if states_of(run)[0] == "waiting":
        # The approval was used for an attempt that nobody can vouch for: a person is asked again.
        hold = Hold.objects.get(pk=open_step(run).hold)
        holds.approve(hold.pk, approver=acts.people["bob"], digest=hold.digest, **how)
        wake()
        acts.work(run)
    assert states_of(run)[0] == "succeeded"
    assert len({json.loads(line)["key"] for line in log.read_text().splitlines()}) == 1
