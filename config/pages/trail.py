"""The trail for people: how far it reaches, what was signed, how to check it without trusting us."""

from typing import Any
from uuid import UUID

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render

from audit import (
    checkpoints,
    events,
    files,
    formats,
    halts,
    inspections,
    jobs,
    proofs,
    receipts,
    records,
    verification,
)
from audit.refusal import Refusal, not_found
from gateway.views.filters import identity
from registry import memberships
from registry.permissions import EXPORTS_TRAIL, READS_TRAIL
from registry.views.frame import Visit, asked_part, live, page

PAGE = 50
FEW = 5
STATE = "audit/state.html"


def may_read(visit: Visit) -> bool:
    """Say whether the visitor may read the trail."""
    return bool(visit.roles_in(None) & READS_TRAIL)


@page()
def trail(request: HttpRequest, visit: Visit) -> HttpResponse:
    """Show the state of the log, what may be done with it, and its newest records."""
    require(visit)
    return show(request, visit)


def show(request: HttpRequest, visit: Visit, refusal: Refusal | None = None) -> HttpResponse:
    """Return the page of the trail, with what was refused there."""
    workspace = visit.workspace.pk
    given = {name: request.GET.get(name, "").strip() for name in ("event", "correlation_id")}
    narrow = records.Filter(event=given["event"] or None, correlation_id=given["correlation_id"] or None)
    state = records.state(workspace)
    checks = jobs.newest(workspace, inspections.KIND, limit=1)
    halt = halts.of(workspace)
    context: dict[str, Any] = {
        "state": state,
        "halt": halt,
        "check": inspections.last(workspace),
        "checking": next((job for job in checks if job.state in ("queued", "running")), None),
        "may_read_trail": True,
        "refusal": refusal,
    }
    moves = [(job.pk, job.state, job.done) for job in checks]
    version = (state.size, state.pending, state.checkpoint and state.checkpoint.size, moves, halt and halt.code)
    if asked_part(request):
        return live(request, "audit/trail.html", STATE, context, name="trail-state", version=version)
    before = identity(request.GET.get("before", ""))
    rows = records.newest(workspace, before=before, narrow=narrow, limit=PAGE + 1)
    exporting = may_export(visit)
    context |= {
        "checkpoints": checkpoints.newest(workspace, limit=FEW),
        "rows": rows[:PAGE],
        "next": rows[PAGE - 1].id if len(rows) > PAGE else None,
        "given": given,
        "before": request.GET.get("before", ""),
        "filtered": any(given.values()),
        "events": list(events.registered()),
        "formats": list(formats.FORMATS.values()),
        "may_export": exporting,
        "exports": jobs.newest(workspace, files.KIND, limit=FEW) if exporting else [],
        "asked": request.POST,
    }
    answer = live(request, "audit/trail.html", STATE, context, name="trail-state", version=version)
    if refusal:
        answer.status_code = refusal.status
    return answer


@page()
def record(request: HttpRequest, visit: Visit, pk: UUID) -> HttpResponse:
    """Show one record: its body as it is hashed, and the proof that it is in the log; verify it, if asked to."""
    require(visit)
    found = records.find(visit.workspace.pk, [pk])
    if not found:
        raise not_found("record")
    row = found[0]
    proof, reason = None, ""
    try:
        proof = proofs.inclusion(visit.workspace.pk, pk)
    except Refusal as refusal:
        reason = refusal.detail
    verified = verification.steps(row, proof) if proof and "verify" in request.GET else []
    related = [one for one in records.of_correlation(visit.workspace.pk, row.correlation_id) if one.id != row.id]
    context = {
        "row": row,
        "line": events.registered().get(row.event, ""),
        "proof": proof,
        "no_proof": reason,
        "verified": verified,
        "whole": all(step.held for step in verified),
        "receipt": receipts.reissue(pk),
        "related": related[:PAGE],
        "may_read_trail": True,
    }
    return render(request, "audit/record.html", context)


def require(visit: Visit) -> None:
    """Check that the visitor may read the trail. :raises Refusal: role_missing."""
    if not may_read(visit):
        raise memberships.role_missing(READS_TRAIL, None)


def may_export(visit: Visit) -> bool:
    """Say whether the visitor may export the trail."""
    return bool(visit.roles_in(None) & EXPORTS_TRAIL)


def require_export(visit: Visit) -> None:
    """Check that the visitor may export the trail. :raises Refusal: role_missing."""
    if not may_export(visit):
        raise memberships.role_missing(EXPORTS_TRAIL, None)
