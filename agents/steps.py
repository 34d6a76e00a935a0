"""Dead letters: steps that were given up, and another chance for them."""

from datetime import datetime

from django.db import transaction

from agents import doorbell, journal, runs, states
from agents.models import Run, Step
from audit import crash
from audit.refusal import Refusal, not_found
from gateway import limits
from registry import memberships
from registry.models import Environment, Person


def requeue(step: Step, *, by: Person, now: datetime) -> Step:
    """Try a dead step again under the same key. :raises Refusal: not_found, role_missing, step_not_dead."""
    with transaction.atomic():
        run = Run.objects.select_for_update().get(pk=step.run_id)
        step = Step.objects.select_for_update().get(pk=step.pk)
        if not memberships.is_member(by, run.workspace_id):
            raise not_found("step")
        environment = Environment.objects.get(workspace_id=run.workspace_id, name=run.environment)
        memberships.require(by, run.workspace_id, runs.operators(run.environment), environment=environment)
        if step.state != Step.State.DEAD or run.state != Run.State.WAITING:
            detail = "Only a dead step of a run that waits for a person is requeued."
            raise Refusal("step_not_dead", detail, status=409)
        states.move(step, Step.State.READY, code="", crashes=0, failures=0)
        journal.append("agents.step.requeued", run, now=now, actor=by.actor, step=step)
        limits.resume(run.pk)
        states.move(run, Run.State.RUNNING, code="")
        doorbell.ring(step.pk)
    crash.point("agents.requeued")
    return step
