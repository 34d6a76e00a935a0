"""Calls: what agents asked for, what was decided and why, and what came of it."""

from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from django.contrib import messages
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render

from audit import records
from audit.refusal import Refusal
from gateway import recall, settlement
from gateway.models import Attempt, Call, Hold, SessionLabel
from gateway.views import told
from gateway.views.holds import EFFECTS
from registry.models import Environment, Version
from registry.permissions import READS_TRAIL
from registry.views.frame import Visit, page

PAGE = 50
# Filters that compare one column with one word.
EXACT = {"agent": "agent", "name": "name", "environment": "environment", "code": "code"}
STATES = list(Call.State.values)


@page()
def calls(request: HttpRequest, visit: Visit) -> HttpResponse:
    """List calls, the newest first; every filter stands in the address."""
    rows = _narrowed(request, Call.objects.filter(workspace_id=visit.workspace.pk))
    listed = list(rows.select_related("session").order_by("-id")[: PAGE + 1])
    more, listed = len(listed) > PAGE, listed[:PAGE]
    labels: dict[UUID, list[str]] = {}
    roots = {call.session.root_id for call in listed if call.session}
    for row in SessionLabel.objects.filter(root__in=roots).order_by("label"):
        labels.setdefault(row.root_id, []).append(row.label)
    context = {
        "rows": [(call, labels.get(call.session.root_id, []) if call.session else [], _took(call)) for call in listed],
        "next": listed[-1].pk if more else None,
        "states": STATES,
        "given": request.GET,
        "filtered": any(request.GET.get(name) for name in (*EXACT, "state", "session", "since", "until")),
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


def _narrowed(request: HttpRequest, rows: QuerySet[Call]) -> QuerySet[Call]:
    for name, column in EXACT.items():
        if word := request.GET.get(name, "").strip():
            rows = rows.filter(**{column: word})
    if (state := request.GET.get("state", "")) in STATES:
        rows = rows.filter(state=state)
    if (session := _uuid(request.GET.get("session", ""))) is not None:
        rows = rows.filter(session=session)
    # Ids begin with their time, so a range of time is a range of the primary key.
    if (since := _time(request.GET.get("since", ""))) is not None:
        rows = rows.filter(pk__gte=_floor(since))
    if (until := _time(request.GET.get("until", ""))) is not None:
        rows = rows.filter(pk__lt=_floor(until))
    if (before := _uuid(request.GET.get("before", ""))) is not None:
        rows = rows.filter(pk__lt=before)
    return rows


def _uuid(text: str) -> UUID | None:
    try:
        return UUID(text)
    except ValueError:
        return None


def _time(text: str) -> datetime | None:
    """Return a time as a browser's form writes it; without a zone it is UTC."""
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        return None
    return at if at.tzinfo else at.replace(tzinfo=UTC)


def _floor(at: datetime) -> UUID:
    return UUID(int=(max(0, int(at.timestamp() * 1000)) & (1 << 48) - 1) << 80)
