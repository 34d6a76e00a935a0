"""The page of a proposal: everything that a decision about it needs, and the decision."""

from collections import defaultdict
from collections.abc import Callable, Mapping
from typing import Any
from uuid import UUID

from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import reverse

from audit.refusal import Refusal
from registry import approvals, authentication, comments, proposals, quorum, workspaces
from registry.models import Approval, Proposal, Version
from registry.permissions import READS_TRAIL
from registry.views import catalogue, comparison, discussion, frame, known, past, standing
from registry.views.frame import Visit, page

VERDICTS: Mapping[str, tuple[Callable[..., object], str]] = {
    "approve": (approvals.approve, "You approved this proposal."),
    "request_changes": (approvals.request_changes, "You asked for changes."),
    "reject": (approvals.reject, "You rejected this proposal."),
}
TYPED = (*frame.KEPT, "digest", "path", "line", "text", "answers")  # what a refused form shows again


@page()
def proposal(request: HttpRequest, visit: Visit, pk: UUID) -> HttpResponse:
    """Show one proposal with everything that a decision about it needs."""
    return show(request, visit, find(visit, pk))


@page("POST")
def verdict(request: HttpRequest, visit: Visit, pk: UUID) -> HttpResponse:
    """Approve, ask for changes or reject, bound to the digest that the page showed."""
    row = find(visit, pk)
    decide, done = VERDICTS.get(request.POST.get("verdict", ""), (None, ""))
    if decide is None:
        return show(request, visit, row, Refusal("verdict_missing", "Choose to approve or to reject."))
    try:
        decide(
            row,
            approver=visit.person,
            digest=request.POST.get("digest", ""),
            role=request.POST.get("role") or None,
            comment=request.POST.get("comment", ""),
            now=visit.now,
            correlation_id=visit.correlation_id,
            proof=authentication.of(request),
        )
    except Refusal as refusal:
        return answer(request, visit, row, refusal)
    messages.success(request, f"{done} It is on record.")
    return redirect("pages:proposal", visit.workspace.slug, row.pk)


@page("POST")
def withdrawal(request: HttpRequest, visit: Visit, pk: UUID) -> HttpResponse:
    """Take a proposal back."""
    row = find(visit, pk)
    try:
        proposals.withdraw(row, actor=visit.person, now=visit.now, correlation_id=visit.correlation_id)
    except Refusal as refusal:
        return show(request, visit, row, refusal)
    messages.success(request, "The proposal is withdrawn.")
    return redirect("pages:proposal", visit.workspace.slug, row.pk)


@page("POST")
def approval_withdrawal(request: HttpRequest, visit: Visit, pk: UUID) -> HttpResponse:
    """Take an approval back, and with it whatever else the visitor approved in that proposal."""
    row = Approval.objects.filter(pk=pk, proposal__workspace=visit.workspace).select_related("proposal").first()
    if row is None:
        raise Http404
    try:
        approvals.withdraw(row, actor=visit.person, now=visit.now, correlation_id=visit.correlation_id)
    except Refusal as refusal:
        return show(request, visit, find(visit, row.proposal_id), refusal)
    messages.success(request, "What you said is taken back.")
    return redirect("pages:proposal", visit.workspace.slug, row.proposal_id)


@page("POST")
def opened(request: HttpRequest, visit: Visit, kind: str, name: str, number: int) -> HttpResponse:
    """Ask that a version be approved for an environment."""
    version = Version.objects.filter(workspace=visit.workspace, kind=kind, name=name, number=number).first()
    if version is None:
        raise Http404
    try:
        named = request.POST.get("environment", "")
        environment = workspaces.environment(visit.workspace.pk, named) if kind != "charter" else None
        if request.POST.get("digest") != version.digest:
            raise Refusal("digest_mismatch", "The page showed another version; reload it.", status=412)
        row = proposals.open(
            version,
            environment,
            proposer=visit.person,
            reason=request.POST.get("reason", ""),
            now=visit.now,
            correlation_id=visit.correlation_id,
        )
    except Refusal as refusal:
        return catalogue.show(request, visit, version, refusal)
    messages.success(request, "The proposal is open. Its reviewers see it in their queue.")
    return redirect("pages:proposal", visit.workspace.slug, row.pk)


def find(visit: Visit, pk: UUID) -> Proposal:
    """Return a proposal of the visitor's workspace. :raises Http404: if there is none."""
    rows = Proposal.objects.select_related("version", "version__lifecycle", "environment", "proposer", "workspace")
    row = rows.filter(pk=pk, workspace=visit.workspace).first()
    if row is None:
        raise Http404
    return row


def answer(request: HttpRequest, visit: Visit, row: Proposal, refusal: Refusal) -> HttpResponse:
    """Return the page of a proposal with what was refused, or the way to a fresh proof if only that was missing."""
    if refusal.code == "step_up_required":
        return frame.confirm(request, reverse("pages:proposal", args=[visit.workspace.slug, row.pk]))
    return show(request, visit, row, refusal)


def show(request: HttpRequest, visit: Visit, row: Proposal, refusal: Refusal | None = None) -> HttpResponse:
    """Return the page of a proposal, with what was refused there; to its script, the panel that moves."""
    row = find(visit, row.pk)
    now = quorum.standing(row)
    context = standing.context(visit, row, now)
    context |= {"hands": known.hands(now.concerned)}
    version = standing.version_of(context)
    if frame.asked_part(request) != standing.PANEL:
        given = {name: request.POST.get(name, "") for name in TYPED} if refusal else frame.typed(request)
        context |= _whole(visit, row, now) | {"refusal": refusal, "given": given}
    whole, part = "registry/proposal.html", "registry/standing.html"
    response = frame.live(request, whole, part, context, name=standing.PANEL, version=version)
    if refusal is not None:
        response.status_code = refusal.status
    return response


def _whole(visit: Visit, row: Proposal, now: quorum.Standing) -> dict[str, Any]:
    threads = comments.threads(row)
    return {
        "comparison": comparison.against_live(row.version, row.environment, discussion.placed(threads)),
        "threads": threads,
        "risk": now.risks[row.version_id],
        "concerned": {version.pk for version in now.concerned},
        "needs_of": {version.pk: now.open_roles(version)[0] for version in now.concerned},
        "approved_parts": _elsewhere(now),
        "past": past.fields(row),
        "records": past.recorded(row),
        "may_read_trail": bool(visit.roles_in(None) & READS_TRAIL),
        **known.of(now.concerned),
    }


def _elsewhere(now: quorum.Standing) -> dict[UUID, list[Approval]]:
    """Return, by part, who approved it for this environment: here or in an earlier proposal."""
    rows = Approval.objects.filter(
        version__in=now.parts, environment=now.proposal.environment, verdict="approve", withdrawn_at=None
    )
    found: dict[UUID, list[Approval]] = defaultdict(list)
    seen: set[tuple[UUID, UUID]] = set()
    for row in rows.select_related("approver").order_by("at"):
        if (row.version_id, row.approver_id) not in seen:
            seen.add((row.version_id, row.approver_id))
            found[row.version_id].append(row)
    return found
