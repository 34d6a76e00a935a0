"""What a stop could not stop: counted while it holds the gate, so that it is exact, and looked up again later."""

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from django.db import connections

from gateway.models import Call
from registry.models import Stop

ACTING = frozenset({"decided", "unknown"})  # states in which a call may have an effect that nobody knows of
LISTED = 200  # calls that a stop names one by one; beyond, it tells how many there were
_SCOPED = {"workspace": "", "agent": "AND {agent} = %(target)s", "tool": "AND {tool} = %(target)s"}
_UNDER_WAY = """
SELECT id, name, kind, agent, environment, effect, count(*) OVER () FROM gateway_call
WHERE workspace_id = %(workspace)s AND state = 'decided' {scoped} ORDER BY id LIMIT %(most)s
"""
_HELD = """
SELECT count(*) FROM gateway_hold WHERE workspace_id = %(workspace)s AND state IN ('open', 'approved') {scoped}
"""


def of(workspace: UUID, *, scope: str, target: str, using: str = "default") -> dict[str, Any]:
    """Return what is under way and parked at this moment, for the row and the record of a stop.

    The caller holds the gate: nothing more is decided before the stop is committed. Members: `under_way`, how many
    calls were decided and may still act; `calls`, the first LISTED of them; `holds`, how many parked calls cannot be
    released while the stop stands.
    """
    asked: dict[str, Any] = {"workspace": workspace, "target": target, "most": LISTED}
    scoped = _SCOPED[scope].format(agent="agent", tool="name")
    with connections[using].cursor() as cursor:
        cursor.execute(_UNDER_WAY.format(scoped=scoped), asked)
        rows = cursor.fetchall()
        cursor.execute(_HELD.format(scoped=scoped), asked)
        held = cursor.fetchone()[0]
    calls = [
        {"call": str(pk), "name": name, "kind": kind, "agent": agent, "environment": environment, "effect": effect}
        for pk, name, kind, agent, environment, effect, _ in rows
    ]
    return {"under_way": rows[0][-1] if rows else 0, "calls": calls, "holds": held}


def since(stop: Stop) -> list[tuple[Mapping[str, str], Call | None]]:
    """Return each call that the stop names, with its row as it is now."""
    named: list[Mapping[str, str]] = stop.reach.get("calls", [])
    rows = Call.objects.filter(workspace_id=stop.workspace_id).in_bulk([one["call"] for one in named])
    return [(one, rows.get(UUID(one["call"]))) for one in named]
