"""Calls: what agents asked for, what was decided and why, and what came of it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render

from audit import records
from audit.refusal import Refusal
from gateway import listing, recall, search, settlement
from gateway.models import Attempt, Call, Hold, SessionLabel
from gateway.views import filters, told
from gateway.views.holds import EFFECTS
from registry.models import Environment, Version
from registry.permissions import READS_TRAIL
from registry.views.frame import Visit, page

PAGE = listing.PAGE


@dataclass(frozen=True, slots=True)
class Shown:
    """One call in the list. `seconds`: how long the tool took, or deciding where nothing ran; `cost`: micro-USD."""

    call: Call
    verdict: str
    labels: Sequence[str]
    seconds: float | None
    cost: int | None


@page()
def calls(request: HttpRequest, visit: Visit) -> HttpResponse:
    """List calls, the newest first; every filter stands in the address."""
    workspace = visit.workspace.pk
    chosen, wrong = filters.read(request.GET)
    before, after = (filters.identity(request.GET.get(name, "")) for name in ("before", "after"))
    listed = listing.page(workspace, chosen, before=before, after=after, size=PAGE)
    context = {
        "rows": _rows(visit, listed.calls),
        "listed": listed,
        "filters": chosen,
        "wrong": wrong,
        "verdicts": list(listing.VERDICTS),
        "states": filters.STATES,
        "environments": Environment.objects.filter(workspace=visit.workspace).order_by("protected", "name"),
        "known": {column: search.vocabulary(workspace, column) for column in search.SHARED},
        "given": request.GET,
        "more_filters": any(request.GET.get(name) for name in ("state", *filters.IDS, *filters.TIMES)),
    }
    return render(request, "gateway/calls.html", context)


@page()
def call(request: HttpRequest, visit: Visit, pk: UUID) -> HttpResponse:
    """Show one call: the line it went through, the decision in words, its arguments, its result, its records."""
    return show(request, visit, find(visit, pk))


@page("POST")
def settled(request: HttpRequest, visit: Visit, pk: UUID) -> HttpResponse:
    """Say what became of a call whose outcome nobody knows."""
    row = find(visit, pk)
    try:
        settlement.settle(
            row.pk,
            person=visit.person,
            outcome=request.POST.get("outcome", ""),
            result=None,
            now=visit.now,
            correlation_id=visit.correlation_id,
        )
    except Refusal as refusal:
        return show(request, visit, row, refusal)
    messages.success(request, "What you found is on record.")
    return redirect("pages:call", visit.workspace.slug, row.pk)


def find(visit: Visit, pk: UUID) -> Call:
    """Return a call of the visitor's workspace. :raises Http404: if there is none."""
    rows = Call.objects.select_related("session", "credential", "credential__owner")
    row = rows.filter(pk=pk, workspace_id=visit.workspace.pk).first()
    if row is None:
        raise Http404
    return row


def show(request: HttpRequest, visit: Visit, row: Call, refusal: Refusal | None = None) -> HttpResponse:
    """Return the page of a call, with what was refused there."""
    workspace = visit.workspace.pk
    environment = Environment.objects.filter(workspace=visit.workspace, name=row.environment).first()
    version, content = told.contract(workspace, row.tool_digest)
    attempts = list(Attempt.objects.filter(call=row).order_by("number"))
    ids = [record for one in attempts for record in (one.decided_record, one.outcome_record)]
    lines = told.lines(workspace, ids)
    by_id = {line.id: line for line in lines}
    seen = told.attempt(row.decided_record, content, mask=True) if row.decided_record else None
    context = {
        "call": row,
        "took": _took(row),
        "why": told.why(row.code, seen.decision if seen else None),
        "seen": seen,
        "decided": by_id.get(row.decided_record) if row.decided_record else None,
        "version": version,
        "effect_words": EFFECTS.get(row.effect, ""),
        "approved_by": told.approvers(version, row.environment),
        "release": Version.objects.filter(workspace_id=workspace, digest=row.release).first() if row.release else None,
        "steps": [(one, by_id.get(one.decided_record), _record(by_id, one.outcome_record)) for one in attempts],
        "holds": {one.attempt: one for one in Hold.objects.filter(call=row)},
        "labels": SessionLabel.objects.filter(root=row.session.root_id).order_by("at") if row.session else [],
        "records": lines,
        "may_settle": row.state == Call.State.UNKNOWN and bool(visit.roles_in(environment) & settlement.SETTLERS),
        "may_read_trail": bool(visit.roles_in(None) & READS_TRAIL),
        "refusal": refusal,
        **_outcome(row),
    }
    return render(request, "gateway/call.html", context, status=refusal.status if refusal else 200)


def _record(by_id: dict[UUID, records.Row], pk: UUID | None) -> records.Row | None:
    return by_id.get(pk) if pk is not None else None


def _outcome(row: Call) -> dict[str, Any]:
    """Return the result as the agent got it, or why there is none to see."""
    if row.state not in ("completed", "failed", "unknown"):
        return {"outcome": None}
    try:
        return {"outcome": recall.outcome(row.pk)}
    except Refusal as refusal:
        return {"outcome": None, "outcome_gone": refusal.detail}


def _took(row: Call) -> float | None:
    return (row.finished_at - row.opened_at).total_seconds() if row.finished_at else None


def _rows(visit: Visit, listed: Sequence[Call]) -> list[Shown]:
    """Return what the list says of each call; what it cost stands in the record of its outcome."""
    labels: dict[UUID, list[str]] = {}
    roots = {call.session.root_id for call in listed if call.session}
    for row in SessionLabel.objects.filter(root__in=roots).order_by("label"):
        labels.setdefault(row.root_id, []).append(row.label)
    outcomes = {row.id: row.body["data"] for row in told.lines(visit.workspace.pk, [c.outcome_record for c in listed])}
    shown = []
    for call in listed:
        told_of = outcomes.get(call.outcome_record, {}) if call.outcome_record else {}
        ran = told_of.get("duration_ms")
        shown.append(
            Shown(
                call,
                told.verdict(call.state),
                labels.get(call.session.root_id, []) if call.session else [],
                ran / 1000 if ran is not None else _took(call),
                (told_of.get("usage") or {}).get("cost_micro_usd"),
            )
        )
    return shown
