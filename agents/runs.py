"""Runs: start one for a goal, and end one from outside."""

import contextlib
from collections.abc import Mapping
from datetime import datetime
from typing import Any
from uuid import UUID

from django.db import IntegrityError, transaction

from agents import endings, journal, keys, progress, states, stories
from agents.models import Run, Step
from audit import crash, log
from audit.canonical import JSON
from audit.refusal import Refusal, not_found
from audit.uuid7 import uuid7
from gateway import credentials, sessions
from gateway.principal import Principal
from registry import memberships, resolve
from registry.models import Environment, Person, Role, Workspace

LONGEST_KEY = 255
LONGEST_GOAL = 50_000  # characters
DEVELOPMENT = "development"
SWEEPER = "system:sweeper"


def start(
    workspace: Workspace,
    *,
    environment: str,
    agent: str,
    goal: str,
    by: Person | Principal,
    key: str,
    now: datetime,
    correlation_id: str,
    on_behalf_of: str | None = None,
    inputs: Mapping[str, JSON] | None = None,
) -> tuple[Run, bool]:
    """Give `agent` a task. The run keeps the release that is live now.

    :param key: the starter's idempotency key; the same key and request return the same run.
    :param inputs: the variables of the release's prompt.
    :return: the run, and whether it is new.
    :raises Refusal: role_missing, scope_missing, environment_unknown, goal_invalid, idempotency_key_invalid,
        key_reused, no_live_release, what stories.begin and sessions.open raise.
    """
    _check_starter(by, workspace, environment, agent)
    if not 0 < len(key) <= LONGEST_KEY:
        detail = f"An idempotency key has 1 to {LONGEST_KEY} characters."
        raise Refusal("idempotency_key_invalid", detail, field="Idempotency-Key")
    if not goal.strip() or len(goal) > LONGEST_GOAL:
        raise Refusal("goal_invalid", f"Say what is to be done, in 1 to {LONGEST_GOAL} characters.", field="goal")
    given = dict(inputs or {})
    asked = {"environment": environment, "agent": agent, "goal": goal, "inputs": given, "on_behalf_of": on_behalf_of}
    fingerprint = keys.fingerprint(asked)
    known = _known(workspace, by, key, asked)
    if known is not None:
        return known, False
    release = resolve.live(workspace.pk, environment, agent)
    story = stories.begin(release, goal, given)
    executor = credentials.executor_principal(
        workspace.pk, environment=environment, agent=agent, now=now, correlation_id=correlation_id
    )
    try:
        with transaction.atomic():
            session = sessions.open(
                by,
                workspace=workspace.pk,
                environment=environment,
                agent=agent,
                now=now,
                correlation_id=correlation_id,
                user_request=goal,
                on_behalf_of=on_behalf_of,
                bind=executor,
                idle=None,
            )
            run = Run(
                pk=uuid7(),
                workspace_id=workspace.pk,
                environment=environment,
                agent=agent,
                # The slot may have moved between the two reads: the session's word counts.
                release=session.release,
                session=session,
                starter=by.actor,
                on_behalf_of=session.on_behalf_of,
                key=key,
                fingerprint=fingerprint,
                correlation_id=correlation_id,
            )
            kept = {"asked": log.Sealed({"goal": goal, "inputs": given}, journal.subject_of(run))}
            entry = journal.append("agents.run.created", run, now=now, actor=by.actor, data=kept)
            run.created_record = entry.id
            run.save(force_insert=True)
            if session.release != release.digest:
                release = resolve.pinned(workspace.pk, environment, session.release)
                story = stories.begin(release, goal, given)
            progress.go_on(run, story, now=now)
            crash.point("agents.creating")
    except IntegrityError:
        # Another request with this key was faster.
        known = _known(workspace, by, key, asked)
        if known is None:
            raise
        return known, False
    crash.point("agents.created")
    return Run.objects.get(pk=run.pk), True


def cancel(
    run: Run,
    *,
    by: Person | Principal,
    now: datetime,
    correlation_id: str,
    code: str = "cancelled",
    compensate: bool = False,
) -> Run:
    """Ask that `run` end. What is under way may finish; nothing new is decided from here on. Idempotent.

    :param compensate: undo what it has done, as far as its tools' contracts declare how.
    :raises Refusal: not_found, role_missing, run_ended, run_compensating.
    """
    _check_canceller(by, run)
    how: dict[str, Any] = {"actor": by.actor, "now": now, "correlation_id": correlation_id}
    return _cancel(run.pk, **how, code=code, compensate=compensate)


def cancel_orphans(*, now: datetime, limit: int = 200) -> int:
    """End the runs whose session was closed or has expired; return how many. For the sweeper."""
    unfinished = Run.objects.filter(cancel_requested_at=None, finished_at=None).exclude(session__state="open")
    unfinished = unfinished.exclude(state=Run.State.COMPENSATING)
    orphans = list(unfinished.values_list("pk", "session__state")[:limit])
    for pk, state in orphans:
        with contextlib.suppress(Refusal):  # it has ended by itself meanwhile
            _cancel(pk, actor=SWEEPER, now=now, correlation_id=str(uuid7()), code=f"session_{state}")
    return len(orphans)


def _cancel(pk: UUID, *, actor: str, now: datetime, correlation_id: str, code: str, compensate: bool = False) -> Run:
    with transaction.atomic():
        run = Run.objects.select_for_update().get(pk=pk)
        if run.state == Run.State.CANCELLED:
            return run
        if run.state == Run.State.COMPENSATING:
            if run.cancel_requested_at is not None:
                return run
            detail = "The run is over, and undoes what it has done; to stop that, set a stop for the agent."
            raise Refusal("run_compensating", detail, status=409)
        if states.ended(run):
            raise Refusal("run_ended", f"The run has {run.state}; there is nothing to cancel.", status=409)
        if run.cancel_requested_at is None:
            run.cancel_requested_at, run.cancelled_by, run.cancel_code = now, actor, code
            run.compensate = compensate
            run.save(update_fields=["cancel_requested_at", "cancelled_by", "cancel_code", "compensate"])
            data: dict[str, Any] = {"code": code, "asked_in": correlation_id, "compensate": compensate}
            journal.append("agents.cancellation.requested", run, now=now, actor=actor, data=data)
            # From now on the gateway denies what this run asks for.
            endings.close_session(run, now=now)
        step = run.steps.select_for_update().filter(state__in=("ready", "leased", "decided", "retry_at")).first()
        if step is None or step.state != Step.State.LEASED:
            endings.cancel(run, step, now=now)
    crash.point("agents.cancelled")
    return run


def _known(workspace: Workspace, by: Person | Principal, key: str, asked: Mapping[str, JSON]) -> Run | None:
    run = Run.objects.filter(workspace_id=workspace.pk, starter=by.actor, key=key).first()
    if run is not None and not keys.fits(bytes(run.fingerprint), asked):
        detail = "This key was used to start another run. A new run needs a new key."
        raise Refusal("key_reused", detail, status=422, field="Idempotency-Key")
    return run


def _check_starter(by: Person | Principal, workspace: Workspace, environment: str, agent: str) -> None:
    if isinstance(by, Principal):
        if "runs:start" not in by.scopes:
            raise Refusal("scope_missing", "The credential needs the scope runs:start.", status=403)
        if by.workspace != workspace.pk:
            raise not_found("workspace")
        if (by.environment, by.agent) != (environment, agent):
            detail = "This credential belongs to another agent or environment."
            raise Refusal("session_forbidden", detail, status=403)
        return
    row = Environment.objects.filter(workspace=workspace, name=environment).first()
    if row is None:
        if not memberships.is_member(by, workspace.pk):
            raise not_found("workspace")
        detail = f"The workspace has no environment {environment!r}."
        raise Refusal("environment_unknown", detail, status=404, field="environment")
    memberships.require(by, workspace.pk, operators(environment), environment=row)


def _check_canceller(by: Person | Principal, run: Run) -> None:
    if isinstance(by, Principal):
        if by.actor != run.starter:
            raise not_found("run")
        return
    if not memberships.is_member(by, run.workspace_id):
        raise not_found("run")
    if by.actor != run.starter:
        row = Environment.objects.get(workspace_id=run.workspace_id, name=run.environment)
        memberships.require(by, run.workspace_id, operators(run.environment), environment=row)


def operators(environment: str) -> list[str]:
    """Return the roles that may start, cancel and requeue there."""
    return [Role.OPERATOR, Role.AUTHOR] if environment == DEVELOPMENT else [Role.OPERATOR]
