"""A model of a run, its steps, their attempts and leases in plain Python, which the executor has to follow.

Hypothesis draws who claims, who comes back, who dies, what a call meant, and when time passes. Time is simulated: a
lease or a timer is over when a rule says so. Workers that were overtaken come back as often as they like.
"""

from dataclasses import dataclass

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from agents import doorbell, executor, leases, progress, runs, steps
from agents.models import ENDED_RUN, OPEN_STEP, Step
from agents.outcomes import Broken, Later, Lost
from audit.refusal import Refusal
from tests.agents.acts import Acts, call
from tests.gateway.stage import effects, fresh, query
from tests.races import dice

MEANINGS = {"later": Later("tool_unreachable"), "lost": Lost("outcome_unknown"), "broken": Broken("run_failed")}
SCRIPT = [{"when": {"step": 1}, "call": [call("put")]}, {"say": "done"}]
LAST = 3  # model, tool, model
OPEN = (
    "SELECT no, state, fence, attempts, crashes, failures FROM agents_step WHERE run_id = %s ORDER BY no DESC LIMIT 1"
)


@dataclass
class Known:
    """What the model knows of the newest step. :ivar over: its lease, or its timer."""

    no: int = 1
    state: str = "ready"
    fence: int = 0
    attempts: int = 0
    crashes: int = 0
    failures: int = 0
    over: bool = False


class Model(RuleBasedStateMachine):
    """One run."""

    acts: Acts

    @initialize()
    def begin(self):
        self.value = fresh()
        self.run = self.acts.start(self.value)
        self.state, self.wait = "queued", ""
        self.step = Known()
        self.asked = False  # to end
        self.claims = []

    # What the model knows.

    @property
    def due(self):
        step = self.step
        return step.state == "ready" or (step.state in ("leased", "retry_at") and step.over)

    @property
    def ended(self):
        return self.state in ENDED_RUN

    def end(self, state):
        self.state, self.wait = state, ""

    def row(self):
        return Step.objects.filter(run=self.run).order_by("-no").first()

    # What workers do.

    @rule()
    def claim(self):
        step = self.step
        got = leases.claim(self.row().pk)
        if self.ended or not self.due:
            assert got is None
        elif self.asked:
            assert got is None
            step.state = "dead"
            self.end("cancelled")
        elif step.crashes >= leases.POISON:
            assert got is None
            step.state, self.state, self.wait = "dead", "waiting", "person"
        else:
            step.state, step.over = "leased", False
            step.fence, step.attempts, step.crashes = step.fence + 1, step.attempts + 1, step.crashes + 1
            self.state, self.wait = "running", ""
            assert got is not None
            assert got.fence == step.fence
            self.claims.append(got)

    @precondition(lambda self: self.claims)
    @rule(pick=st.integers(0, 5))
    def make_the_call(self, pick):
        """A worker makes its call and reports, whether or not the step is still its own."""
        claim = self.claims[-1 - pick % len(self.claims)]
        meaning, story, made = executor._perform(claim)
        if not self.reported(claim, meaning, story, made):
            return
        if self.asked:
            # What it heard depends on how far the end had come when it asked.
            self.step.state = self.row().state
            assert self.step.state in ("done", "dead")
            self.end("cancelled")
        elif self.step.no == LAST:
            self.step.state, self.step.crashes = "done", 0
            self.end("succeeded")
        else:
            self.step = Known(no=self.step.no + 1)

    @precondition(lambda self: self.claims)
    @rule(pick=st.integers(0, 5), what=st.sampled_from(sorted(MEANINGS)))
    def hear(self, pick, what):
        """A worker hears something else than an answer, and reports it."""
        claim = self.claims[-1 - pick % len(self.claims)]
        if not self.reported(claim, MEANINGS[what], None, None):
            return
        step = self.step
        if what == "lost":
            step.state = "indeterminate"
            self.state, self.wait = "waiting", "person"
        elif what == "broken" or self.asked:
            step.state = "dead"
            self.end("failed")
        elif step.failures >= 8:
            step.state, self.state, self.wait = "dead", "waiting", "person"
        else:
            step.state, step.over, step.failures = "retry_at", False, step.failures + 1
            self.state, self.wait = "waiting", "timer"
        if self.asked:
            self.end("cancelled")

    def reported(self, claim, meaning, story, made):
        """Report; return whether it counted, which the model knows before."""
        mine = self.step.state == "leased" and (claim.step.no, claim.fence) == (self.step.no, self.step.fence)
        try:
            with leases.held(claim) as (run, step, now):
                progress.apply(run, step, meaning, story=story, call=made, now=now)
        except leases.Overtaken:
            assert not mine
            return False
        assert mine
        self.step.crashes = 0
        return True

    # What people do.

    @rule(luck=st.integers(0, 3))
    def cancel(self, luck):
        if luck:  # else most runs are over before anything happens
            return
        code = "run_ended" if self.ended and self.state != "cancelled" else None
        try:
            runs.cancel(self.run, by=self.acts.people["alice"], now=self.acts.now, correlation_id="test")
        except Refusal as refusal:
            assert refusal.code == code
            return
        assert code is None
        if self.ended:
            return
        self.asked = True
        if self.step.state != "leased":
            self.step.state = "dead" if self.step.state in OPEN_STEP else self.step.state
            self.end("cancelled")

    @precondition(lambda self: self.step.state in ("dead", "done"))
    @rule()
    def requeue(self):
        good = self.step.state == "dead" and self.state == "waiting"
        try:
            steps.requeue(self.row(), by=self.acts.people["olga"], now=self.acts.now)
        except Refusal as refusal:
            assert (refusal.code, good) == ("step_not_dead", False)
            return
        assert good
        self.step.state, self.step.crashes, self.step.failures = "ready", 0, 0
        self.state, self.wait = "running", ""

    # What time does.

    @precondition(lambda self: self.step.state in ("leased", "retry_at"))
    @rule()
    def let_time_pass(self):
        query("UPDATE agents_step SET lease_until = now() WHERE run_id = %s AND state = 'leased'", self.run.pk)
        query("UPDATE agents_step SET not_before = now() WHERE run_id = %s AND state = 'retry_at'", self.run.pk)
        self.step.over = True

    # What has to hold, whatever was done.

    @invariant()
    def the_rows_are_as_the_model_says(self):
        if not hasattr(self, "step"):
            return
        [state] = query("SELECT state, wait FROM agents_run WHERE id = %s", self.run.pk)
        assert state == (self.state, self.wait)
        step = self.step
        [row] = query(OPEN, self.run.pk)
        assert row == (step.no, step.state, step.fence, step.attempts, step.crashes, step.failures)
        earlier = query("SELECT state FROM agents_step WHERE run_id = %s AND no < %s", self.run.pk, step.no)
        assert {one for (one,) in earlier} <= {"done"}

    @invariant()
    def no_run_is_lost_and_no_effect_doubled(self):
        if not hasattr(self, "step"):
            return
        # Over; or somebody's lease, a timer or a person stands behind it; or the next step is due.
        assert self.ended or self.due or self.step.state in ("leased", "retry_at") or self.wait == "person"
        assert len(effects(self.value)) <= 1
        if self.state == "succeeded":
            assert len(effects(self.value)) == 1


@dice.bouts(25, 1000)
def test_runs_steps_and_leases_do_what_the_model_says(stage, monkeypatch, count):
    monkeypatch.setattr(doorbell, "_send", lambda step: True)
    Model.acts = Acts(stage.workspace, stage.people, stage.now)
    Model.acts.scripted(SCRIPT)
    dice.play(Model, count, steps=25)
