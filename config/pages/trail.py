"""The trail for people: how far it reaches, what was signed, how to check it without trusting us."""

from uuid import UUID

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render

from audit import checkpoints, events, proofs, records
from audit.refusal import Refusal, not_found
from registry import memberships
from registry.permissions import READS_TRAIL
from registry.views.frame import Visit, page

PAGE = 50
FEW = 5


def may_read(visit: Visit) -> bool:
    """Say whether the visitor may read the trail."""
    return bool(visit.roles_in(None) & READS_TRAIL)


@page()
def trail(request: HttpRequest, visit: Visit) -> HttpResponse:
    """Show the state of the log and its newest records."""
    _require(visit)
    workspace = visit.workspace.pk
    given = {name: request.GET.get(name, "").strip() for name in ("event", "correlation_id")}
    narrow = records.Filter(event=given["event"] or None, correlation_id=given["correlation_id"] or None)
    rows = records.newest(workspace, before=_uuid(request.GET.get("before", "")), narrow=narrow, limit=PAGE + 1)
    context = {
        "state": records.state(workspace),
        "checkpoints": checkpoints.newest(workspace, limit=FEW),
        "rows": rows[:PAGE],
        "next": rows[PAGE - 1].id if len(rows) > PAGE else None,
        "given": given,
        "before": request.GET.get("before", ""),
        "filtered": any(given.values()),
        "events": list(events.registered()),
        "may_read_trail": True,
    }
    return render(request, "audit/trail.html", context)


@page()
def record(request: HttpRequest, visit: Visit, pk: UUID) -> HttpResponse:
    """Show one record: its body as it is hashed, and the proof that it is in the log."""
    _require(visit)
    found = records.find(visit.workspace.pk, [pk])
    if not found:
        raise not_found("record")
    row = found[0]
    proof, reason = None, ""
    try:
        proof = proofs.inclusion(visit.workspace.pk, pk)
    except Refusal as refusal:
        reason = refusal.detail
    related = [one for one in records.of_correlation(visit.workspace.pk, row.correlation_id) if one.id != row.id]
    context = {
        "row": row,
        "line": events.registered().get(row.event, ""),
        "proof": proof,
        "no_proof": reason,
        "related": related[:PAGE],
        "may_read_trail": True,
    }
    return render(request, "audit/record.html", context)


def _require(visit: Visit) -> None:
    if not may_read(visit):
        raise memberships.role_missing(READS_TRAIL, None)


def _uuid(text: str) -> UUID | None:
    try:
        return UUID(text)
    except ValueError:
        return None
