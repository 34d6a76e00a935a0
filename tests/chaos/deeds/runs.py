"""Runs: started, worked on to their end, undone, cancelled, buried, requeued, woken."""

from agents import executor, leases, runs, stories, sweeper
from agents import steps as dead_letters
from agents.models import Run, Step
from gateway import holds, pep
from gateway.models import Hold
from registry.models import Workspace
from tests.agents.acts import call, hurry, lapse, open_step
from tests.agents.acts import trail as events_of
from tests.chaos.deeds.deed import Deed, how
from tests.chaos.deeds.people import person
from tests.gateway.stage import fresh, let_time_pass, query

ENDS = {"agents.run.succeeded", "agents.run.compensated", "agents.run.cancelled", "agents.run.failed"}
_COMPLETED = """
SELECT count(*) FROM gateway_call WHERE kind = 'tool' AND state = 'completed' AND run->>'id' = %s
"""


class Worked(Deed):
    """A run is worked on until nothing is due: whoever comes next goes on where the dead have stopped."""

    def __init__(self, *tools, more=(), state="succeeded", steps=None, effects=None):
        self.tools, self.more, self.state, self.steps = tools, more, state, steps
        self.effects = len(tools) if effects is None else effects
        self.unsafe = "launch" in {*tools, *more}

    def prepare(self, scene):
        script = [{"when": {"step": 1}, "call": [call(tool) for tool in self.tools]}, {"say": "done"}]
        scene.scripted(script, tools=self.more, budgets={"steps": self.steps} if self.steps else None)
        goal = f"say:{fresh('run')}"
        run = scene.start(goal, key=goal)
        return {"run": str(run.pk), "value": goal, "olga": scene.person("olga")}

    def do(self, order):
        run = Run.objects.get(pk=order["run"])
        for _ in range(60):
            run.refresh_from_db()
            step = open_step(run)
            if step is None or step.state in ("decided", "indeterminate") or run.wait == "person":
                return
            hurry(step)
            executor.advance(step.pk)
        raise AssertionError(f"still at it: {run.state} {run.wait} {run.code}")

    def recover(self, scene, order):
        run = Run.objects.get(pk=order["run"])
        pass_time(run)
        self.do(order)
        while (step := open_step(run)) is not None:
            # Parked: an unsafe call that nobody can vouch for. A person looks at the tool's log, and says so.
            assert step.state == "indeterminate", (step.state, step.code)
            [(completed,)] = query(_COMPLETED, order["run"])
            said = "happened" if len(self.keys(scene, order)) > completed else "did_not_happen"
            pep.settle(step.call_id, person=person(order["olga"]), outcome=said, **how())
            assert sweeper.wake_decided() >= 1
            self.do(order)

    def keys(self, scene, order):
        """Return the keys of everything that happened for the run, and fail where an unsafe tool acted twice."""
        done, undone = scene.effects(order["value"]), scene.effects(order["value"].removeprefix("say:"))
        for tools, acted in ((self.tools, done), (self.more, undone)):
            if "launch" in tools:
                assert len(acted) == len({one["key"] for one in acted}), acted
        return {one["key"] for one in done + undone}

    def check(self, scene, order):
        run = Run.objects.get(pk=order["run"])
        done = len(self.keys(scene, order))
        # A death between reservation and decision costs a step of the budget: such a run may end with nothing done.
        spent = self.steps is not None and (run.state, run.code, done) == ("failed", "budget_steps_exceeded", 0)
        assert spent or (run.state, done) == (self.state, self.effects), (run.state, run.wait, run.code, done)
        assert len([event for event in events_of(run) if event in ENDS]) == 1
        assert run.session.state == "closed"


class Started(Deed):
    """A run is started under a key."""

    def prepare(self, scene):
        scene.scripted([{"say": "done"}])
        asked = {"agent": scene.last, "goal": "Do it.", "key": fresh("key"), "environment": "development"}
        return {"workspace": str(scene.workspace.pk), "by": scene.person("alice"), "run": asked}

    def do(self, order):
        workspace = Workspace.objects.get(pk=order["workspace"])
        runs.start(workspace, by=person(order["by"]), **order["run"], **how())

    def check(self, scene, order):
        run = Run.objects.get(key=order["run"]["key"])
        assert events_of(run).count("agents.run.created") == 1
        assert scene.work(run).state == "succeeded"


class Cancelled(Deed):
    """A run is cancelled while its call waits for a person, and what it has done is undone if that was asked for."""

    known = ("run_ended", "run_compensating")

    def __init__(self, *, compensate=False):
        self.compensate = compensate

    def prepare(self, scene):
        script = [{"when": {"step": 1}, "call": [call("book"), call("careful")]}, {"say": "done"}]
        scene.scripted(script, tools=("put",))
        run = scene.work(scene.start(f"say:{fresh('run')}"))
        assert run.wait == "hold"
        return {"run": str(run.pk), "by": scene.person("alice")}

    def do(self, order):
        run = Run.objects.get(pk=order["run"])
        runs.cancel(run, by=person(order["by"]), compensate=self.compensate, **how())

    def check(self, scene, order):
        run = Run.objects.get(pk=order["run"])
        if self.compensate:
            assert scene.work(run).state == "compensated"
        assert run.state == ("compensated" if self.compensate else "cancelled")
        assert events_of(run).count("agents.cancellation.requested") == 1


class Given(Deed):
    """A run whose step has taken worker after worker down with it."""

    def poisoned(self, scene):
        """Return a run whose step nobody has come back from as often as is borne."""
        scene.scripted([{"say": "done"}])
        run = scene.start()
        step = open_step(run)
        for _ in range(leases.POISON):
            assert leases.claim(step.pk) is not None
            lapse(step)
        return run, step


class Buried(Given):
    """It is given up."""

    def prepare(self, scene):
        run, step = self.poisoned(scene)
        return {"run": str(run.pk), "step": str(step.pk)}

    def do(self, order):
        executor.advance(Step.objects.get(pk=order["step"]).pk)

    def check(self, scene, order):
        run = Run.objects.get(pk=order["run"])
        assert (run.state, run.wait, Step.objects.get(pk=order["step"]).state) == ("waiting", "person", "dead")
        assert events_of(run).count("agents.run.parked") == 1


class Requeued(Given):
    """A person gives it another chance."""

    known = ("step_not_dead",)

    def prepare(self, scene):
        run, step = self.poisoned(scene)
        executor.advance(step.pk)
        return {"run": str(run.pk), "step": str(step.pk), "by": scene.person("olga")}

    def do(self, order):
        dead_letters.requeue(Step.objects.get(pk=order["step"]), by=person(order["by"]), now=how()["now"])

    def check(self, scene, order):
        run = Run.objects.get(pk=order["run"])
        assert events_of(run).count("agents.step.requeued") == 1
        assert scene.work(run).state == "succeeded"


class Woken(Deed):
    """The sweeper wakes a run whose hold was decided."""

    def prepare(self, scene):
        scene.scripted([{"when": {"step": 1}, "call": [call("careful")]}, {"say": "done"}])
        run = scene.work(scene.start(fresh("run")))
        hold = Hold.objects.get(pk=open_step(run).hold)
        holds.approve(hold.pk, approver=scene.people["bob"], digest=hold.digest, **how())
        return {"run": str(run.pk), "value": stories.goal_of(run)}

    def do(self, order):
        sweeper.wake_decided()

    def check(self, scene, order):
        run = scene.work(Run.objects.get(pk=order["run"]))
        assert (run.state, len(scene.effects(order["value"]))) == ("succeeded", 1)
        assert events_of(run).count("agents.run.resumed") == 1


def pass_time(run):
    """Let the leases of a run's step and calls be over."""
    step = open_step(run)
    if step is not None:
        lapse(step)
    for (pk,) in query("SELECT id FROM gateway_call WHERE correlation_id = %s", run.correlation_id):
        let_time_pass(pk)


DEEDS = {
    "run:steady": Worked("put", "pay"),
    "run:risky": Worked("launch"),
    "run:undone": Worked("book", more=("put",), state="compensated", steps=2, effects=2),
    "run:undone unsafely": Worked("fire", more=("launch",), state="compensated", steps=2, effects=2),
    "run:start": Started(),
    "run:cancel": Cancelled(),
    "run:cancel and undo": Cancelled(compensate=True),
    "run:bury": Buried(),
    "run:requeue": Requeued(),
    "run:wake": Woken(),
}
