"""How a proposal stands, for people: who has agreed in which role, who can, who cannot and why, what is missing."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from django.db.models import Q

from audit.refusal import Refusal
from registry import charters, holdings, precedents, quorum, slots
from registry.models import Activation, Approval, Grant, Person, Proposal, Slot, Version
from registry.views import known, moving
from registry.views.frame import Visit

PANEL = "standing"
CANNOT = {
    "contributed": "contributed to it",
    "unconfirmed": "no second admin has confirmed the role",
    "reset": "their second factors were reset",
    "late": "the role was confirmed after this was proposed",
}


@dataclass(frozen=True, slots=True)
class Progress:
    """One requirement of the charter: `have` of `want` approvals; by role, who gave one; roles still without any."""

    want: int
    have: int
    roles: tuple[tuple[str, tuple[Person, ...]], ...]
    unmet: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Need:
    """What some of the concerned versions need alike."""

    versions: Sequence[Version]
    progress: Sequence[Progress]

    @property
    def met(self) -> bool:
        """Say whether they have all of it."""
        return all(one.have >= one.want for one in self.progress)


def state(visit: Visit, row: Proposal) -> str:
    """Return the state that a person would name: an open proposal past its time is expired, swept or not."""
    return "expired" if row.state == "open" and row.expires_at <= visit.now else row.state


def context(visit: Visit, row: Proposal, now: quorum.Standing) -> dict[str, Any]:
    """Return what the panel beside a proposal shows, and what the visitor may do about it."""
    lacking = now.missing()
    said = list(row.approvals.select_related("approver", "version").defer("version__content").order_by("at", "id"))
    roles = {role for version in now.concerned for needed in now.requirements(version) for role in needed.roles}
    mine = precedents.usable(visit.held, row) & roles
    may, cannot = _people(now, roles)
    shown = state(visit, row)
    there = visit.roles_in(row.environment)
    # A break-glass ends by itself: what it put there may still be activated.
    is_live = Slot.objects.filter(version=row.version, environment=row.environment, expires_at=None).exists()
    return {
        "proposal": row,
        "version": row.version,
        "state": shown,
        "needs": _needs(now),
        "missing": lacking,
        "short": _short(now, lacking),
        "blocking": [one for one in lacking if one.code not in quorum.COMES],
        "objections": now.objections,
        "evidence": [one for one in lacking if one.code == "evidence_missing"],
        "voices": known.voices(said),
        "who_may": may,
        "who_cannot": cannot,
        "may_decide": _may_decide(visit, shown, now, said, mine),
        "may_object": shown in ("open", "approved") and visit.person.pk not in now.barred and bool(mine),
        "my_roles": sorted(mine),
        "is_barred": visit.person.pk in now.barred,
        "asked_roles": sorted(roles),
        "decided": any(_stands(one, visit.person) for one in said),
        "objects": any(one.approver_id == visit.person.pk for one in now.objections),
        "can_withdraw": shown in ("open", "approved"),
        "can_withdraw_proposal": row.state == "open"
        and (row.proposer_id == visit.person.pk or "admin" in visit.roles_in(None)),
        "activations": moving.of(
            Activation.objects.filter(proposal=row).select_related("requested_by").order_by("-requested_at"), visit.now
        ),
        "has_slot": _has_slot(row),
        "is_live": is_live,
        "may_activate": row.state == "approved"
        and not is_live
        and bool(there & ({"operator"} if row.environment else {"operator", "admin"})),
    }


def version_of(context: dict[str, Any]) -> object:
    """Return what of the panel can change while somebody looks at it."""
    voices = [(one.pk, one.withdrawn_at) for voice in context["voices"] for one in voice.rows]
    activations = [(one.activation.pk, one.activation.state, len(one.behind)) for one in context["activations"]]
    people = [(role, [person.pk for person in those]) for role, those in context["who_may"]]
    lacks = [(one.code, one.version, one.detail) for one in context["missing"]]
    return context["state"], lacks, voices, activations, people


def _needs(now: quorum.Standing) -> list[Need]:
    groups: dict[tuple[Progress, ...], list[Version]] = {}
    for version in now.concerned:
        rows = now.given[version.pk]
        key = tuple(_progress(requirement, rows) for requirement in now.requirements(version))
        groups.setdefault(key, []).append(version)
    needs = [Need(those, progress) for progress, those in groups.items()]
    return sorted(needs, key=lambda need: need.met)


def _progress(requirement: charters.Requirement, rows: Sequence[Approval]) -> Progress:
    count, unmet = charters.shortfall(requirement, [row.role for row in rows])
    by_role = tuple((role, tuple(row.approver for row in rows if row.role == role)) for role in requirement.roles)
    return Progress(requirement.approvals, requirement.approvals - count, by_role, unmet)


def _short(now: quorum.Standing, lacking: Iterable[quorum.Missing]) -> list[str]:
    """Return what is missing in few words, for the head of the page."""
    counts: dict[str, int] = defaultdict(int)
    for version in now.concerned:
        for role in now.open_roles(version)[0]:
            counts[role] += 1
    several = len(now.concerned) > 1
    words = [
        f"approval by {role}" + (f" ({count} of {len(now.concerned)} versions)" if several else "")
        for role, count in sorted(counts.items())
    ]
    words += [f"changes asked for by {row.approver.get_full_name()}" for row in now.objections]
    words += [one.detail for one in lacking if one.code == "evidence_missing"]
    failed = sum(one.code in ("check_failed", "checks_missing") for one in lacking)
    return words + ([f"{failed} failed check{'s' if failed > 1 else ''}"] if failed else [])


def _people(
    now: quorum.Standing, roles: Iterable[str]
) -> tuple[list[tuple[str, list[Person]]], list[tuple[Person, str]]]:
    """Return, by role, whom one could ask; and who holds such a role and cannot, with the reason. For the eye alone."""
    row = now.proposal
    grants = Grant.objects.filter(
        Q(environment=None) | Q(environment=row.environment),
        membership__workspace_id=row.workspace_id,
        membership__active=True,
        membership__person__is_active=True,
        revoked_at=None,
        role__in=list(roles),
    )
    people = {
        grant.membership.person_id: grant.membership.person
        for grant in grants.select_related("membership__person").order_by("membership__person__name")
    }
    held = holdings.of(people, row.workspace_id)
    may: dict[str, list[Person]] = {role: [] for role in sorted(roles)}
    cannot: list[tuple[Person, str]] = []
    for pk, person in people.items():
        usable = precedents.usable(held[pk], row) & set(may)
        if pk in now.barred:
            cannot.append((person, CANNOT["contributed"]))
        elif not usable:
            there = [grant for grant in held[pk].grants if grant.role in may]
            late = "late" if any(grant.confirmed_at is not None for grant in there) else "unconfirmed"
            cannot.append((person, CANNOT["reset" if held[pk].reset_since(row.opened_at) else late]))
        for role in usable if pk not in now.barred else ():
            may[role].append(person)
    return list(may.items()), cannot


def _may_decide(visit: Visit, shown: str, now: quorum.Standing, said: Iterable[Approval], mine: frozenset[str]) -> bool:
    if shown not in ("open", "approved") or visit.person.pk in now.barred or not mine:
        return False
    yes = Approval.Verdict.APPROVE
    done = {one.version_id for one in said if _stands(one, visit.person) and one.verdict == yes}
    return any(version.pk not in done and mine & set(now.open_roles(version)[1]) for version in now.concerned)


def _stands(approval: Approval, person: Person) -> bool:
    return approval.approver_id == person.pk and approval.withdrawn_at is None


def _has_slot(row: Proposal) -> bool:
    """Say whether the version goes live by itself; other kinds do as parts of a release."""
    try:
        slots.require_slot(row.version, row.environment)
    except Refusal:
        return False
    return True
