"""Parked calls: the queue, and the page that shows exactly what would be executed."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse

from audit.refusal import Refusal
from gateway import deciders, holds, telemetry
from gateway.models import Hold, HoldApproval, SessionLabel
from gateway.views import told
from registry import authentication
from registry.models import Version
from registry.permissions import READS_TRAIL
from registry.views import frame
from registry.views.frame import Visit, page

MOST = 100
EFFECTS = {
    "read": "reads only",
    "idempotent": "changes something; doing it twice is the same as doing it once",
    "keyed": "changes something; the same key is executed once",
    "unsafe": "changes something, and doing it twice does it twice",
}


@dataclass(frozen=True, slots=True)
class Demand:
    """One requirement of a hold: who is asked, how many, and who has said yes."""

    code: str
    roles: Sequence[str]
    quorum: int


@page()
def queue(request: HttpRequest, visit: Visit) -> HttpResponse:
    """List the calls that wait for a person; those that the visitor may decide first."""
    state = request.GET.get("state", "open")
    rows = Hold.objects.filter(workspace_id=visit.workspace.pk)
    if state == "open":
        listed = list(rows.filter(state="open", expires_at__gt=visit.now).order_by("expires_at", "id")[:MOST])
    else:
        state, listed = "decided", list(rows.exclude(state="open").order_by("-id")[:MOST])
    given: dict[UUID, list[HoldApproval]] = {}
    for approval in HoldApproval.objects.filter(hold__in=listed).select_related("approver").order_by("at"):
        given.setdefault(approval.hold_id, []).append(approval)
    wanted = {hold.pk: sorted({role for demand in hold.requirements for role in _roles(demand)}) for hold in listed}
    context = {"state": state, "rows": [(hold, given.get(hold.pk, []), wanted[hold.pk]) for hold in listed]}
    return render(request, "gateway/holds.html", context)


@page()
def hold(request: HttpRequest, visit: Visit, pk: UUID) -> HttpResponse:
    """Show one parked call, argument by argument."""
    return _show(request, visit, find(visit, pk))


@page("POST")
def verdict(request: HttpRequest, visit: Visit, pk: UUID) -> HttpResponse:
    """Approve or reject a parked call, bound to the digest that the page showed."""
    row = find(visit, pk)
    word = request.POST.get("verdict")
    if word not in ("approve", "reject"):
        return _show(request, visit, row, Refusal("verdict_missing", "Choose to approve or to reject."))
    comment = request.POST.get("comment", "")
    try:
        if word == "reject" and not comment.strip():
            raise Refusal("comment_missing", "Say why you reject it, in one sentence.", field="comment")
        (holds.approve if word == "approve" else holds.reject)(
            row.pk,
            approver=visit.person,
            digest=request.POST.get("digest", ""),
            comment=comment,
            now=visit.now,
            correlation_id=visit.correlation_id,
            proof=authentication.of(request),
        )
    except Refusal as refusal:
        if refusal.code == "step_up_required":
            return frame.confirm(request, reverse("pages:hold", args=[visit.workspace.slug, row.pk]))
        return _show(request, visit, row, refusal)
    telemetry.HOLDS.labels("approved" if word == "approve" else "rejected").inc()
    messages.success(request, _said(find(visit, pk), word))
    return redirect("pages:hold", visit.workspace.slug, row.pk)


def find(visit: Visit, pk: UUID) -> Hold:
    """Return a hold of the visitor's workspace. :raises Http404: if there is none."""
    row = (
        Hold.objects.select_related("call", "call__session", "call__credential")
        .filter(pk=pk, workspace_id=visit.workspace.pk)
        .first()
    )
    if row is None:
        raise Http404
    return row


def _said(row: Hold, word: str) -> str:
    if word == "reject":
        return "You rejected the call. It is denied and will not be executed."
    if row.state == Hold.State.OPEN:
        return "Your approval is on record. The call waits for one more person."
    return "You approved the call. When the agent asks again, the policy decides once more, then it runs once."


def _show(request: HttpRequest, visit: Visit, row: Hold, refusal: Refusal | None = None) -> HttpResponse:
    row = find(visit, row.pk)
    version, content = told.contract(visit.workspace.pk, row.tool_digest)
    seen = told.attempt(row.decided_record, content, mask=False)
    over = row.state == Hold.State.OPEN and row.expires_at <= visit.now
    given = list(row.approvals.select_related("approver").order_by("at"))
    context: dict[str, Any] = {
        "hold": row,
        "call": row.call,
        "state": "expired" if over else row.state,
        "seen": seen,
        "asks": [pair for pair in seen.reasons if pair[0].code in row.codes],
        "also": [pair for pair in seen.reasons if pair[0].code not in row.codes],
        "obligations": [one for one in (seen.decision.obligations if seen.decision else ()) if one["kind"] != "hold"],
        "version": version,
        "contract": content,
        "effect_words": EFFECTS.get(row.call.effect, ""),
        "approved_by": told.approvers(version, row.environment),
        "labels": _labels(row),
        "release": Version.objects.filter(workspace=visit.workspace, digest=row.release).first(),
        "policies": _policies(visit, row),
        "approvals": given,
        "demands": [Demand(one["code"], sorted(_roles(one)), one["quorum"]) for one in row.requirements],
        "records": told.lines(visit.workspace.pk, [row.decided_record]),
        "may_read_trail": bool(visit.roles_in(None) & READS_TRAIL),
        "refusal": refusal,
        "comment": request.POST.get("comment", "") if refusal else frame.typed(request).get("comment", ""),
    }
    excluded = deciders.refusal(row, visit.person)
    context["why_not"] = excluded.detail if excluded else ""
    context["has_decided"] = any(one.approver_id == visit.person.pk for one in given)
    context["may_decide"] = not over and row.state == "open" and not excluded and not context["has_decided"]
    return render(request, "gateway/hold.html", context, status=refusal.status if refusal else 200)


def _roles(demand: dict[str, Any]) -> frozenset[str]:
    return frozenset({demand["role"]}) if demand["role"] else deciders.DECIDERS


def _labels(row: Hold) -> Sequence[SessionLabel]:
    session = row.call.session
    return list(SessionLabel.objects.filter(root=session.root_id).order_by("at", "label")) if session else []


def _policies(visit: Visit, row: Hold) -> list[tuple[str, Version | None, str]]:
    found = {
        one.digest: one
        for one in Version.objects.filter(workspace=visit.workspace, digest__in=[row.policy, row.baseline])
    }
    return [("policy", found.get(row.policy), row.policy), ("baseline", found.get(row.baseline), row.baseline)]
