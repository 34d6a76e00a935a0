"""The kill switch. Setting it shuts the gate that deciding calls share: a call is before the stop, or denied."""

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any
from uuid import UUID

from django.db import connections, transaction

from audit import crash, log
from audit.refusal import Refusal
from registry import clock, locks, memberships
from registry.models import Person, Role, Stop, Workspace

SCOPES = ("workspace", "agent", "tool")
ROLES = (Role.OPERATOR, Role.SECURITY, Role.ADMIN)
Reach = Callable[..., Mapping[str, Any]]
_reach: list[Reach] = []


def register_reach(provider: Reach) -> None:
    """Let `provider(workspace, scope=…, target=…)` tell what a stop cannot stop; it is asked behind the shut gate."""
    if provider not in _reach:
        _reach.append(provider)


def set(
    workspace: Workspace, *, scope: str, target: str, reason: str, by: Person, now: datetime, correlation_id: str
) -> Stop:
    """Stop the workspace, an agent or a tool. Idempotent: one that stands is returned as it is.

    What was decided before may finish; the row and the record name it.

    :param target: name of the agent or tool; empty for the workspace.
    :raises Refusal: role_missing, stop_invalid, reason_missing.
    """
    if scope not in SCOPES or (scope == "workspace") != (target == ""):
        detail = "The scope is workspace (without a target), agent or tool (with its name as target)."
        raise Refusal("stop_invalid", detail, field="scope")
    if not reason.strip():
        raise Refusal("reason_missing", "Say why, in one sentence.", field="reason")
    with transaction.atomic():
        memberships.require(by, workspace.pk, ROLES)
        return _set(workspace, scope, target, reason, by, now, correlation_id)


def set_at_the_machine(workspace: Workspace, *, reason: str, by: Person, now: datetime, correlation_id: str) -> Stop:
    """Stop the workspace at the word of whoever holds the owner's password, under the name of a person.

    For a database that came back: it may have forgotten roles and stops, so nobody's role there is asked for.
    """
    with transaction.atomic():
        return _set(workspace, "workspace", "", reason, by, now, correlation_id)


def _set(
    workspace: Workspace, scope: str, target: str, reason: str, by: Person, now: datetime, correlation_id: str
) -> Stop:
    with transaction.atomic():
        locks.gate(workspace.pk)
        # Behind the gate nothing more is decided: what is under way now is all that the stop comes too late for.
        told = [tell(workspace.pk, scope=scope, target=target) for tell in _reach]
        reach = {name: value for one in told for name, value in one.items()}
        stop, created = Stop.objects.get_or_create(
            workspace=workspace,
            scope=scope,
            target=target,
            lifted_at=None,
            defaults={"reason": reason, "by": by, "at": clock.read(), "reach": reach},
        )
        if created:
            said = {"reason": log.Sealed(reason, subject=by.actor), "reach": reach}
            _record("registry.stop.created", stop, by, now, correlation_id, said)
    crash.point("registry.stop.created")
    return stop


def lift(stop: Stop, *, by: Person, now: datetime, correlation_id: str) -> Stop:
    """Let calls go on. Idempotent. :raises Refusal: role_missing."""
    with transaction.atomic():
        memberships.require(by, stop.workspace_id, ROLES)
        stop = Stop.objects.select_for_update().get(pk=stop.pk)
        if stop.lifted_at is None:
            stop.lifted_by, stop.lifted_at = by, clock.read()
            stop.save(update_fields=["lifted_by", "lifted_at"])
            _record("registry.stop.lifted", stop, by, now, correlation_id, {})
    crash.point("registry.stop.lifted")
    return stop


def check(workspace_id: UUID, *, agent: str = "", tool: str = "", using: str = "default") -> str | None:
    """Return the scope of a stop that holds for a call of `agent` to `tool`; None if none does.

    Fast, without a lock: `resolve.lock_shared` asks the same inside of the deciding transaction.
    """
    with connections[using].cursor() as cursor:
        cursor.execute(
            "SELECT scope FROM registry_stop WHERE workspace_id = %s AND lifted_at IS NULL "
            "AND (scope = 'workspace' OR (scope = 'agent' AND target = %s) OR (scope = 'tool' AND target = %s)) "
            "LIMIT 1",
            [workspace_id, agent, tool],
        )
        row = cursor.fetchone()
    return row[0] if row else None


def _record(event: str, stop: Stop, by: Person, now: datetime, correlation_id: str, data: Mapping[str, object]) -> None:
    log.append(
        event,
        workspace=stop.workspace_id,
        actor=by.actor,
        correlation_id=correlation_id,
        now=now,
        subjects={"stop": str(stop.pk)},
        data={"scope": stop.scope, "target": stop.target, **data},
    )
