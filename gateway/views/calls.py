"""Calls: what agents asked for, what was decided and why, and what came of it."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any
from uuid import UUID

from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render

from audit import receipts
from audit.refusal import Refusal
from gateway import disclosures, listing, recall, sanitize, search, settlement
from gateway.models import Call, SessionLabel
from gateway.views import charts, explained, filters, told, values
from gateway.views.holds import EFFECTS
from registry.models import Version
from registry.permissions import READS_TRAIL
from registry.views import source
from registry.views.frame import Visit, page

PAGE = listing.PAGE
MOST_LEAVES = 100
LONGEST_RESULT = 20_000  # characters that are shown at once


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
    filtered = chosen.given
    if visit.environment is not None and not chosen.environment:
        chosen = replace(chosen, environment=visit.environment.name)
    before, after = (filters.identity(request.GET.get(name, "")) for name in ("before", "after"))
    listed = listing.page(workspace, chosen, before=before, after=after, size=PAGE)
    # Figures of everything stand above a list of everything.
    alone = not (chosen.given or before or after)
    span = (asked if (asked := request.GET.get("span", "day")) in charts.SPANS else "day") if alone else ""
    context = {
        "rows": _rows(visit, listed.calls),
        "listed": listed,
        "filters": chosen,
        "filtered": filtered,
        "wrong": wrong,
        "verdicts": list(listing.VERDICTS),
        "states": filters.STATES,
        "environments": visit.environments,
        "known": {column: search.vocabulary(workspace, column) for column in search.SHARED},
        "given": request.GET,
        "charts": charts.of(workspace, span=span, now=visit.now) if span else [],
        "span": span,
        "spans": charts.SPANS,
        "more_filters": any(request.GET.get(name) for name in ("state", *filters.IDS, *filters.TIMES)),
    }
    return render(request, "gateway/calls.html", context)


@page()
def call(request: HttpRequest, visit: Visit, pk: UUID) -> HttpResponse:
    """Show one call: the line it went through, the decision in words, its arguments, its result, its records."""
    return show(request, visit, find(visit, pk))


@page("POST")
def disclosed(request: HttpRequest, visit: Visit, pk: UUID) -> HttpResponse:
    """Show a call with its sealed values, once the reason is on record."""
    row = find(visit, pk)
    try:
        disclosures.reveal(
            row.pk,
            person=visit.person,
            reason=request.POST.get("reason", ""),
            now=visit.now,
            correlation_id=visit.correlation_id,
        )
    except Refusal as refusal:
        return show(request, visit, row, refusal)
    return show(request, visit, row, revealed=True)


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


def show(
    request: HttpRequest, visit: Visit, row: Call, refusal: Refusal | None = None, *, revealed: bool = False
) -> HttpResponse:
    """Return the page of a call, with what was refused there.

    :param revealed: the visitor's reason to see sealed values is on record.
    """
    workspace = visit.workspace.pk
    environment = next((one for one in visit.environments if one.name == row.environment), None)
    _, content = told.contract(workspace, row.tool_digest)
    attempts, lines = explained.tries(row)
    last = attempts[-1] if attempts else None
    seen = told.attempt(last.attempt.decided_record, content, mask=True, open=revealed) if last else None
    release = Version.objects.filter(workspace_id=workspace, digest=row.release).first() if row.release else None
    subjects = last.decided.body["subjects"] if last and last.decided else {}
    policies = explained.rules_of(workspace, policy=subjects.get("policy", ""), baseline=subjects.get("baseline", ""))
    roles = visit.roles_in(environment)
    context = {
        "call": row,
        "verdict": told.verdict(row.state),
        "took": _took(row),
        "why": told.why(row.code, seen.decision if seen else None),
        "seen": seen,
        "attempts": attempts,
        "earlier": attempts[:-1],
        "last": last,
        "line": explained.steps(last, seen) if last and seen else [],
        "reasons": policies.told(seen.reasons) if seen else [],
        "effect_words": EFFECTS.get(row.effect, ""),
        "release": release,
        "parts": explained.parts(workspace, release, row, subjects.get("baseline", "")),
        "labels": SessionLabel.objects.filter(root=row.session.root_id).order_by("at") if row.session else [],
        "records": lines,
        "receipts": [(line.event, receipts.reissue(line.id)) for line in lines],
        "may_settle": row.state == Call.State.UNKNOWN and bool(roles & settlement.SETTLERS),
        "may_reveal": bool(roles & disclosures.REVEALERS),
        "may_read_trail": bool(visit.roles_in(None) & READS_TRAIL),
        "revealed": revealed,
        "reason": request.POST.get("reason", ""),
        "refusal": refusal,
        **_outcome(row, whole="whole" in request.GET, revealed=revealed),
    }
    leaves = [*(seen.leaves if seen else []), *context["result_leaves"]]
    context["sealed"] = sum(leaf.sealed for leaf in leaves)
    context["changed"] = sum(leaf.changed for leaf in seen.leaves) if seen else 0
    return render(request, "gateway/call.html", context, status=refusal.status if refusal else 200)


def _outcome(row: Call, *, whole: bool, revealed: bool) -> dict[str, Any]:
    """Return the result as the agent got it, or why there is none to see: leaf by leaf, or as text if it is long."""
    shown: dict[str, Any] = {"outcome": None, "result_leaves": []}
    if row.state not in ("completed", "failed", "unknown"):
        return shown
    try:
        shown["outcome"] = recall.outcome(row.pk)
    except Refusal as refusal:
        return shown | {"outcome_gone": refusal.detail}
    result = shown["outcome"].result
    if result is None:
        return shown
    findings = sanitize.summary(sanitize.scan(result))
    leaves = values.leaves(result, findings=findings, mask=True, open=revealed)
    text = json.dumps(result, ensure_ascii=False, indent=1)
    if (len(leaves) <= MOST_LEAVES and len(text) <= LONGEST_RESULT) or any(leaf.sealed for leaf in leaves):
        return shown | {"result_leaves": leaves}
    cut = len(text) if len(text) > LONGEST_RESULT and not whole else 0
    return shown | {"result_text": source.plain(text[:LONGEST_RESULT] if cut else text), "result_cut": cut}


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
