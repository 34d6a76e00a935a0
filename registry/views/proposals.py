"""Review: what waits for whom, and the one page that shows what is asked before somebody agrees to it."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.contrib import messages
from django.db.models import Count, Q
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse

from audit.refusal import Refusal
from registry import approvals, authentication, charters, memberships, proposals, quorum, slots, workspaces
from registry.models import Activation, Approval, Check, Contributor, FactorReset, Grant, Person, Pin, Proposal, Version
from registry.views import catalogue, comparison, frame, known
from registry.views.frame import Visit, live, page

MOST = 200


@dataclass(frozen=True, slots=True)
class Need:
    """What some of the concerned versions need, in the domain's words; "" if they have all that they need."""

    versions: Sequence[Version]
    lacks: str


@page()
def queue(request: HttpRequest, visit: Visit) -> HttpResponse:
    """List the proposals that wait for the visitor, those that wait for others, and those that have ended."""
    state = request.GET.get("state", "open")
    those = Proposal.objects.filter(workspace=visit.workspace).select_related("version", "environment", "proposer")
    if visit.environment is not None:
        those = those.filter(environment=visit.environment)
    if state == "open":
        listed = list(those.filter(state="open").order_by("expires_at", "id")[:MOST])
    else:
        state = "ended"
        listed = list(those.exclude(state="open").order_by("-concluded_at")[:MOST])
    found = groups(visit, listed) if state == "open" else [("", _rows(listed))]
    context = {"state": state, "groups": found}
    version = [state, [(title, [_moving(one) for one in rows]) for title, rows in found]]
    whole, part = "registry/proposals.html", "registry/queue.html"
    return live(request, whole, part, context, name="queue", version=version)


@page()
def proposal(request: HttpRequest, visit: Visit, pk: UUID) -> HttpResponse:
    """Show one proposal with everything that a decision about it needs."""
    return show(request, visit, find(visit, pk))


@page("POST")
def verdict(request: HttpRequest, visit: Visit, pk: UUID) -> HttpResponse:
    """Approve or reject, bound to the digest that the page showed."""
    row = find(visit, pk)
    decide = approvals.reject if request.POST.get("verdict") == "reject" else approvals.approve
    if request.POST.get("verdict") not in ("approve", "reject"):
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
    done = "You rejected this proposal." if decide is approvals.reject else "You approved this proposal."
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
    messages.success(request, "Your approval is withdrawn.")
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
    """Return the page of a proposal, with what was refused there."""
    row = find(visit, row.pk)
    standing = quorum.standing(row)
    lacking = approvals.missing(row)
    given = list(row.approvals.select_related("approver", "version").order_by("at", "id"))
    asked = frozenset(
        role for version in standing.concerned for needed in standing.requirements(version) for role in needed.roles
    )
    mine = quorum.usable_roles(visit.person, row) & asked
    context = {
        "proposal": row,
        "version": row.version,
        "state": _state(visit, row),
        "comparison": comparison.against_live(row.version, row.environment),
        "needs": _needs(standing, lacking),
        "blocking": [one for one in lacking if one.code not in ("approval_missing", "evidence_missing")],
        "evidence": [one for one in lacking if one.code == "evidence_missing"],
        "missing": lacking,
        "voices": known.voices(given),
        "approved_parts": _elsewhere(standing),
        "who_may": _who_may(standing, asked),
        "may_decide": _may_decide(visit, row, standing, given, mine),
        "my_roles": sorted(mine),
        "is_barred": visit.person.pk in standing.barred,
        "asked_roles": sorted(asked),
        "decided": any(_counts(one, visit.person) for one in given),
        "can_withdraw": _state(visit, row) in ("open", "approved"),
        "can_withdraw_proposal": row.state == "open"
        and (row.proposer_id == visit.person.pk or "admin" in visit.roles_in(None)),
        "activations": Activation.objects.filter(proposal=row).select_related("requested_by").order_by("-requested_at"),
        "has_slot": _has_slot(row),
        "may_activate": row.state == "approved"
        and bool(visit.roles_in(row.environment) & ({"operator"} if row.environment else {"operator", "admin"})),
        "refusal": refusal,
        "given": {name: request.POST.get(name, "") for name in frame.KEPT} if refusal else frame.typed(request),
        **known.of(standing.concerned),
    }
    return render(request, "registry/proposal.html", context, status=refusal.status if refusal else 200)


def _state(visit: Visit, row: Proposal) -> str:
    """Return the state that a person would name: an open proposal past its time is expired, swept or not."""
    return "expired" if row.state == "open" and row.expires_at <= visit.now else row.state


def _has_slot(row: Proposal) -> bool:
    """Say whether the version goes live by itself; other kinds do as parts of a release."""
    try:
        slots.require_slot(row.version, row.environment)
    except Refusal:
        return False
    return True


def _counts(approval: Approval, person: Person) -> bool:
    return approval.approver_id == person.pk and approval.withdrawn_at is None


def _may_decide(
    visit: Visit, row: Proposal, standing: quorum.Standing, given: Iterable[Approval], mine: frozenset[str]
) -> bool:
    if _state(visit, row) not in ("open", "approved") or visit.person.pk in standing.barred or not mine:
        return False
    done = {one.version_id for one in given if _counts(one, visit.person)}
    return any(version.pk not in done and mine & set(standing.open_roles(version)[1]) for version in standing.concerned)


def _needs(standing: quorum.Standing, lacking: Iterable[quorum.Missing]) -> list[Need]:
    """Return what is missing, versions that lack the same as one."""
    by_digest: dict[str, list[str]] = defaultdict(list)
    for one in lacking:
        if one.code == "approval_missing":
            by_digest[one.version].append(one.detail)
    groups: dict[str, list[Version]] = {}
    for version in standing.concerned:
        name = f"{quorum.label(version)} "
        lacks = " ".join(detail.removeprefix(name) for detail in by_digest[version.digest])
        groups.setdefault(lacks, []).append(version)
    return [Need(versions, lacks) for lacks, versions in groups.items()]


def _elsewhere(standing: quorum.Standing) -> dict[UUID, list[Approval]]:
    """Return, by part, who approved it for this environment: here or in an earlier proposal."""
    rows = Approval.objects.filter(
        version__in=standing.parts, environment=standing.proposal.environment, verdict="approve", withdrawn_at=None
    )
    found: dict[UUID, list[Approval]] = defaultdict(list)
    seen: set[tuple[UUID, UUID]] = set()
    for row in rows.select_related("approver").order_by("at"):
        if (row.version_id, row.approver_id) not in seen:
            seen.add((row.version_id, row.approver_id))
            found[row.version_id].append(row)
    return found


def _who_may(standing: quorum.Standing, roles: Iterable[str]) -> list[tuple[str, list[Person]]]:
    """Return, by role, whom one could ask. For the eye alone: who may approve is decided by quorum.usable_roles."""
    row = standing.proposal
    grants = Grant.objects.filter(
        Q(environment=None) | Q(environment=row.environment),
        membership__workspace_id=row.workspace_id,
        membership__active=True,
        membership__person__is_active=True,
        revoked_at=None,
        role__in=list(roles),
    ).exclude(membership__person__in=standing.barred)
    if row.environment is None or row.environment.protected:
        unsettled = FactorReset.objects.filter(Q(confirmed_at=None) | Q(confirmed_at__gte=row.opened_at))
        grants = grants.filter(confirmed_at__lt=row.opened_at).exclude(
            membership__person__in=unsettled.values("person")
        )
    found: dict[str, dict[UUID, Person]] = {role: {} for role in sorted(roles)}
    for grant in grants.select_related("membership__person").order_by("membership__person__name"):
        found[grant.role][grant.membership.person.pk] = grant.membership.person
    return [(role, list(people.values())) for role, people in found.items()]


def groups(visit: Visit, listed: Sequence[Proposal]) -> list[tuple[str, list[dict[str, Any]]]]:
    """Sort into: waits for me, waits for others, mine. Wider than the truth at the edges, never narrower."""
    _, charter = workspaces.charter_in_force(visit.workspace.pk)
    held: dict[UUID | None, frozenset[str]] = {}
    contributed = _contributed(visit.person, listed)
    decided = set(
        Approval.objects.filter(proposal__in=listed, approver=visit.person, withdrawn_at=None).values_list(
            "proposal_id", flat=True
        )
    )
    found: dict[str, list[Proposal]] = {"Waits for you": [], "Waits for others": [], "Yours": []}
    for row in listed:
        if row.environment_id not in held:
            held[row.environment_id] = memberships.roles_of(visit.person, visit.workspace.pk, row.environment)
        if row.proposer_id == visit.person.pk or row.version_id in contributed:
            found["Yours"].append(row)
        elif row.pk in decided or not held[row.environment_id] & _asked(charter, row):
            found["Waits for others"].append(row)
        else:
            found["Waits for you"].append(row)
    return [(title, _rows(rows)) for title, rows in found.items() if rows or title == "Waits for you"]


def _moving(row: dict[str, Any]) -> tuple[object, ...]:
    """Return what of a row of the queue can change while somebody looks at it."""
    said = [(approval.pk, approval.withdrawn_at) for approval in row["approvals"]]
    return row["proposal"].pk, row["proposal"].state, said, row["passed"], row["failed"]


def _asked(charter: dict[str, Any], row: Proposal) -> frozenset[str]:
    name = row.environment.name if row.environment else None
    # A rule for a risk holds for higher ones too: at the highest, every rule that could match does.
    rules = charters.requirements(charter, kind=row.version.kind, risk=charters.RISKS[-1], environment=name)
    rules += charters.requirements(charter, kind=row.version.kind, risk=charters.RISKS[0], environment=name)
    return frozenset(role for rule in rules for role in rule.roles)


def _contributed(person: Person, listed: Iterable[Proposal]) -> set[UUID]:
    rows = Contributor.objects.filter(person=person, version__in=[row.version_id for row in listed])
    return set(rows.values_list("version_id", flat=True))


def _rows(listed: Sequence[Proposal]) -> list[dict[str, Any]]:
    """Return each proposal with its approvals so far and the outcome of its checks, in two queries for all."""
    given: dict[UUID, dict[UUID, Approval]] = defaultdict(dict)
    rows = Approval.objects.filter(proposal__in=listed, withdrawn_at=None).select_related("approver").order_by("at")
    for approval in rows:
        given[approval.proposal_id].setdefault(approval.approver_id, approval)
    latest = Check.objects.filter(version__in=[row.version_id for row in listed])
    outcomes: dict[UUID, Counter[bool]] = defaultdict(Counter)
    for check in latest.order_by("version_id", "name", "-at", "-id").distinct("version_id", "name"):
        outcomes[check.version_id][check.passed] += 1
    pinned = dict(
        Pin.objects.filter(version__in=[row.version_id for row in listed])
        .values_list("version_id")
        .annotate(Count("id"))
    )
    return [
        {
            "proposal": row,
            "approvals": list(given[row.pk].values()),
            "passed": outcomes[row.version_id][True],
            "failed": outcomes[row.version_id][False],
            "parts": pinned.get(row.version_id, 0),
        }
        for row in listed
    ]
