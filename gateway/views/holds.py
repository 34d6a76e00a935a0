"""Parked calls: the queue, and the page that shows exactly what would be executed."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID

from django.contrib import messages
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import reverse

from audit.refusal import Refusal
from gateway import deciders, holds, telemetry
from gateway.models import Attempt, Hold, HoldApproval, SessionLabel
from gateway.views import explained, told
from gateway.views.filters import identity
from registry import authentication
from registry.models import Slot, Version
from registry.permissions import READS_TRAIL
from registry.views import frame, portions
from registry.views.frame import Visit, live, page

MOST = 1_000  # open holds that are sorted, the nearest to their end first
PAGE = 50  # decided holds on one page
SOON = timedelta(minutes=15)
RISKS = {
    "low": "if it is wrong, little is lost",
    "medium": "if it is wrong, somebody has to put it right",
    "high": "if it is wrong, the harm may be great or lasting",
}
EFFECTS = {
    "read": "reads only",
    "idempotent": "changes something; doing it twice is the same as doing it once",
    "keyed": "changes something; the same key is executed once",
    "unsafe": "changes something, and doing it twice does it twice",
}


@dataclass(frozen=True, slots=True)
class Demand:
    """One requirement of a hold: who is asked, how many, and how many have said yes whose word counts."""

    code: str
    roles: Sequence[str]
    quorum: int
    given: int


@dataclass(frozen=True, slots=True)
class Waiting:
    """One hold in the list. `soon`: its time is nearly over."""

    hold: Hold
    approvals: Sequence[HoldApproval]
    roles: Sequence[str]
    soon: bool


@dataclass(frozen=True, slots=True)
class Group:
    """Holds under one heading, `count` with those of its other pages. `portion`: None where `before` leads on."""

    title: str
    rows: Sequence[Waiting]
    count: int
    portion: portions.Portion[Hold] | None = None


@page()
def queue(request: HttpRequest, visit: Visit) -> HttpResponse:
    """List the calls that wait for a person; those that the visitor may decide first."""
    state = request.GET.get("state", "open")
    holds_here = Hold.objects.filter(workspace_id=visit.workspace.pk)
    if visit.environment is not None:
        holds_here = holds_here.filter(environment=visit.environment.name)
    context: dict[str, Any] = {"given": request.GET}
    if state == "open":
        standing = holds_here.filter(state="open", expires_at__gt=visit.now)
        listed = list(standing.order_by("expires_at", "id")[:MOST])
        context |= {"state": state, "groups": _groups(request, visit, listed)}
        context["most"] = MOST if len(listed) == MOST and standing.count() > MOST else None
    else:
        context |= {"state": "decided", **_decided(request, visit, holds_here.exclude(state="open"))}
    groups: Sequence[Group] = context["groups"]
    version = [state, *((row.hold.pk, row.hold.state, len(row.approvals), row.soon) for g in groups for row in g.rows)]
    version.append([group.count for group in groups])
    return live(request, "gateway/holds.html", "gateway/waiting.html", context, name="holds-list", version=version)


def _decided(request: HttpRequest, visit: Visit, rows: QuerySet[Hold]) -> dict[str, Any]:
    """Return a page of holds that are not open any more, the newest first, and where the next one begins."""
    before = identity(request.GET.get("before", ""))
    if before is not None:
        rows = rows.filter(pk__lt=before)
    found = list(rows.order_by("-id")[: PAGE + 1])
    shown = _rows(visit, found[:PAGE])
    more = found[PAGE - 1].pk if len(found) > PAGE else None
    return {"groups": [Group("", shown, len(shown))] if shown else [], "next": more}


def _rows(visit: Visit, listed: Sequence[Hold]) -> list[Waiting]:
    given: dict[UUID, list[HoldApproval]] = {}
    for approval in HoldApproval.objects.filter(hold__in=listed).select_related("approver").order_by("at"):
        given.setdefault(approval.hold_id, []).append(approval)
    return [
        Waiting(
            hold,
            given.get(hold.pk, []),
            sorted({role for demand in hold.requirements for role in _roles(demand)}),
            hold.expires_at - visit.now < SOON,
        )
        for hold in listed
    ]


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


def _groups(request: HttpRequest, visit: Visit, listed: Sequence[Hold]) -> list[Group]:
    """Return what the visitor may decide before what waits for others."""
    excluded = deciders.refusals(listed, visit.person)
    said = set(HoldApproval.objects.filter(hold__in=listed, approver=visit.person).values_list("hold_id", flat=True))
    mine: list[Hold] = []
    others: list[Hold] = []
    for row, refusal in zip(listed, excluded, strict=True):
        (mine if refusal is None and row.pk not in said else others).append(row)
    found = []
    for title, name, those in (("You can decide", "mine", mine), ("Others decide", "others", others)):
        if those:
            portion = portions.cut(request, name, those)
            found.append(Group(title, _rows(visit, portion.rows), len(those), portion))
    return found


def _said(row: Hold, word: str) -> str:
    if word == "reject":
        return "You rejected the call. It is denied and will not be executed."
    if row.state == Hold.State.OPEN:
        return "Your approval is on record. The call waits for one more person."
    return "You approved the call. When the agent asks again, the policy decides once more, then it runs once."


def _show(request: HttpRequest, visit: Visit, row: Hold, refusal: Refusal | None = None) -> HttpResponse:
    row = find(visit, row.pk)
    version, content = told.contract(visit.workspace.pk, row.tool_digest)
    excluded = deciders.refusal(row, visit.person)
    # Who decides has to see what would run; the others, and whoever looks back, need not.
    seen = told.attempt(row.decided_record, content, mask=bool(excluded) or row.state != Hold.State.OPEN)
    policies = explained.rules_of(visit.workspace.pk, policy=row.policy, baseline=row.baseline)
    reasons = policies.told(seen.reasons)
    over = row.state == Hold.State.OPEN and row.expires_at <= visit.now
    given = list(row.approvals.select_related("approver").order_by("at"))
    labels = _labels(row)
    context: dict[str, Any] = {
        "hold": row,
        "call": row.call,
        "state": "expired" if over else row.state,
        "seen": seen,
        "asks": [one for one in reasons if one.reason.code in row.codes],
        "also": [one for one in reasons if one.reason.code not in row.codes],
        "obligations": [one for one in (seen.decision.obligations if seen.decision else ()) if one["kind"] != "hold"],
        "version": version,
        "contract": content,
        "effect_words": EFFECTS.get(row.call.effect, ""),
        "approved_by": told.approvers(version, row.environment),
        "labels": labels,
        "release": Version.objects.filter(workspace=visit.workspace, digest=row.release).first(),
        "policies": [
            ("policy", policies.versions.get("release"), row.policy),
            ("baseline", policies.versions.get("baseline"), row.baseline),
        ],
        "moved": _moved(visit, row),
        "new_labels": [label for label in labels if label.at > row.opened_at],
        "voided_by": _voided_by(row),
        "risk_words": RISKS.get(str(content.get("risk", "")), ""),
        "approvals": given,
        "demands": _demands(row, given),
        "records": told.lines(visit.workspace.pk, [row.decided_record]),
        "may_read_trail": bool(visit.roles_in(None) & READS_TRAIL),
        "refusal": refusal,
        "comment": request.POST.get("comment", "") if refusal else frame.typed(request).get("comment", ""),
    }
    context["why_not"] = excluded.detail if excluded else ""
    context["has_decided"] = any(one.approver_id == visit.person.pk for one in given)
    context["may_decide"] = not over and row.state == "open" and not excluded and not context["has_decided"]
    moves = (context["state"], len(given), len(labels), [pair[0] for pair in context["moved"]])
    answer = live(request, "gateway/hold.html", "gateway/said.html", context, name="hold-state", version=moves)
    if refusal:
        answer.status_code = refusal.status
    return answer


def _roles(demand: dict[str, Any]) -> frozenset[str]:
    return frozenset({demand["role"]}) if demand["role"] else deciders.DECIDERS


def _labels(row: Hold) -> Sequence[SessionLabel]:
    session = row.call.session
    return list(SessionLabel.objects.filter(root=session.root_id).order_by("at", "label")) if session else []


def _demands(row: Hold, given: Sequence[HoldApproval]) -> list[Demand]:
    """Return the requirements with how far each is met."""
    counted = deciders.counts(row, [one.approver for one in given if one.verdict == HoldApproval.Verdict.APPROVED])
    return [
        Demand(one["code"], sorted(_roles(one)), one["quorum"], count)
        for one, count in zip(row.requirements, counted, strict=True)
    ]


def _moved(visit: Visit, row: Hold) -> list[tuple[str, Version | None, Version]]:
    """Return what is live by now instead of what the call was parked under: an approval would be void.

    A session keeps its release, so of the two only the baseline can move under it.
    """
    slots = Slot.objects.filter(workspace=visit.workspace, environment__name=row.environment, artifact__kind="policy")
    live_now = slots.filter(artifact__name="baseline", version__isnull=False).select_related("version").first()
    if live_now is None or live_now.version is None or live_now.version.digest == row.baseline:
        return []
    then = Version.objects.filter(workspace=visit.workspace, digest=row.baseline).first()
    return [("baseline", then, live_now.version)]


def _voided_by(row: Hold) -> tuple[str, str]:
    """Return the code, and what it says, of the attempt that found the hold void; ("", "") if there is none."""
    if row.state != Hold.State.VOID:
        return "", ""
    after = Attempt.objects.filter(call=row.call_id, number__gt=row.attempt).order_by("number").first()
    return (after.code, told.why(after.code, None)) if after is not None else ("", "")
