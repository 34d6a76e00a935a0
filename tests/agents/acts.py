"""A stage whose agent has a script, and a worker that the test drives by hand."""

import json

from agents import executor, runs, sweeper
from agents.models import Run, Step
from audit import canonical
from registry import clock
from tests.gateway.stage import TOOLS, Stage, fresh, let_time_pass, query, release_policy
from tests.registry.builders import MODEL, PROMPT

GOAL = {"take": {"from": "goal"}}


def call(name, value=GOAL):
    """Return a tool call of a script; by default its value is the run's goal, so that many tests share a release."""
    return {"name": name, "arguments": {"value": value}}


class Acts(Stage):
    """A stage on which runs are started and advanced."""

    def __init__(self, workspace, people, now):
        super().__init__(workspace, people, now)
        self.played, self.last = {}, ""

    def scripted(self, script, *, agent=None, tools=(), prompt=None, budgets=None, model=None):
        """Make a release live whose model follows `script`; it pins the tools that the script names.

        The same script is the same agent, of which one release is live; runs are of the last one unless told otherwise.
        """
        asked = canonical.sha256([script, sorted(tools), prompt, budgets, model])
        self.last = agent or f"runner-{asked[-8:]}"
        if self.played.get(self.last) != asked:
            self._release(self.last, script, tools, prompt, budgets, model)
            self.played[self.last] = asked

    def _release(self, agent, script, tools, prompt, budgets, model):
        named = {*tools, *(call["name"] for rule in script for call in rule.get("call", ()))}
        parts = [self.build.version("tool", name, TOOLS[name]) for name in sorted(named & TOOLS.keys())]
        parts.append(self.build.version("model", "thinker", MODEL | {"script": script} | (model or {})))
        parts.append(self.build.version("policy", "steward-policy", release_policy()))
        if prompt is not None:
            parts.append(self.build.version("prompt", "brief", prompt))
        pins = [{"kind": part.kind, "name": part.name, "digest": part.digest} for part in parts]
        if not self._has_baseline("development"):
            self._activate(self.build.version("policy", "baseline"), "development")
        self._activate(self.build.version("agent", agent, {"pins": pins, "budgets": budgets or {}}), "development")

    def start(self, goal="Do it.", *, agent=None, by=None, key=None, **more):
        """Start a run as alice, or as `by`."""
        run, _ = runs.start(
            self.workspace,
            environment="development",
            agent=agent or self.last,
            goal=goal,
            by=by or self.people["alice"],
            key=key or fresh("key"),
            now=self.now,
            correlation_id=fresh("correlation"),
            **more,
        )
        return run

    def run(self, script, **more):
        """Make a release with `script`, start a run of it, and work until nothing is due."""
        given = {name: more.pop(name) for name in ("goal", "inputs", "by") if name in more}
        self.scripted(script, **more)
        return self.work(self.start(**given))

    def work_once(self, run):
        """Advance the run by one step, if one is due."""
        step = open_step(run)
        hurry(step)
        executor.advance(step.pk)

    def work(self, run, *, rounds=60):
        """Advance the run until it ends or waits for somebody; timers are brought forward."""
        for _ in range(rounds):
            run.refresh_from_db()
            step = open_step(run)
            busy = run.state in ("queued", "running") or (run.state == "compensating" and not run.wait)
            if (not busy and run.wait not in ("timer", "budget")) or step is None:
                return run
            hurry(step)
            executor.advance(step.pk)
        raise AssertionError(f"still at it after {rounds} rounds: {run.state} {run.wait} {run.code}")


def prompt(**changes):
    """Return the content of a prompt that takes nothing."""
    return PROMPT | {"template": "You do things.", "variables": {"type": "object"}} | changes


def open_step(run):
    """Return the step of the run that is not finished, None if there is none."""
    return run.steps.filter(state__in=["ready", "leased", "decided", "retry_at", "indeterminate"]).first()


def hurry(step):
    """Let the timer of a step be over."""
    Step.objects.filter(pk=step.pk, state="retry_at").update(not_before=clock.read())


def lapse(step):
    """Let the lease of a step be over, as after the death of its worker."""
    Step.objects.filter(pk=step.pk, state="leased").update(lease_until=clock.read())


def wake():
    """Do the sweeper's part for holds and settlements."""
    return sweeper.wake_decided()


def steps(run):
    """Return (kind, name, state, code) of the steps, in order."""
    return list(run.steps.order_by("no").values_list("kind", "name", "state", "code"))


def trail(run):
    """Return the events about a run, in order."""
    return [event for event, _ in records(run)]


def records(run):
    """Return (event, data) of the executor's records about a run, in order."""
    from django.db import connection

    with connection.cursor() as cursor:
        cursor.execute(
            """SELECT event, body FROM audit_record WHERE workspace = %s AND event LIKE 'agents.%%'
               AND convert_from(body, 'UTF8')::jsonb #>> '{subjects,run}' = %s ORDER BY id""",
            [run.workspace_id, str(run.pk)],
        )
        return [(event, json.loads(bytes(body))["data"]) for event, body in cursor.fetchall()]


def states_of(run):
    """Return (state, wait, code) as they are in the database."""
    return Run.objects.values_list("state", "wait", "code").get(pk=run.pk)


def recover(acts, run):
    """Let the leases of the dead run out, and let others go on."""
    step = open_step(run)
    if step is not None:
        lapse(step)
        for (pk,) in query("SELECT id FROM gateway_call WHERE correlation_id = %s", run.correlation_id):
            let_time_pass(pk)
    return acts.work(run)
