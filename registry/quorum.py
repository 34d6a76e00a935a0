"""Count what a proposal has against what the charter in force asks, and say in words what is missing."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID

from django.db.models import Q
from django.db.models.functions import Now

from audit.refusal import Refusal
from registry import charters, clock, contributors, memberships, statements, versions, workspaces
from registry.models import Approval, Environment, Evidence, Kind, Lifecycle, Person, Proposal, SlotHistory, Version


@dataclass(frozen=True)
class Missing:
    """One thing that a proposal lacks.

    :param code: snake_case word. :param version: digest of what it concerns. :param detail: a sentence for a person.
    """

    code: str
    version: str
    detail: str

    def __str__(self) -> str:
        return self.detail


@dataclass(frozen=True)
class Standing:
    """What a proposal is about, as it stands now: read it under the locks of `locks.versions`."""

    proposal: Proposal
    charter: Mapping[str, Any]
    concerned: tuple[Version, ...]
    parts: tuple[Version, ...]
    barred: frozenset[UUID]

    def requirements(self, version: Version) -> list[charters.Requirement]:
        """Return what `version` needs in the environment of the proposal."""
        return _requirements(self.charter, version, self.proposal.environment)

    def open_roles(self, version: Version) -> tuple[list[str], list[str]]:
        """Return the roles that `version` still lacks, and all roles that can approve it."""
        given = _given(self.proposal, version, self.barred)
        every = {role for requirement in self.requirements(version) for role in requirement.roles}
        lacking: set[str] = set()
        for requirement in self.requirements(version):
            count, unmet = charters.shortfall(requirement, given)
            lacking |= set(unmet) or (set(requirement.roles) if count else set())
        return sorted(lacking), sorted(every)


def standing(proposal: Proposal) -> Standing:
    """Read how a proposal stands. Parts that are approved in the environment already are no concern of it."""
    _, charter = workspaces.charter_in_force(proposal.workspace_id)
    parts = versions.parts_of(proposal.version)
    unapproved = [part for part in parts if not approved_there(part, proposal, charter)]
    concerned = (proposal.version, *unapproved)
    barred = contributors.people(version.pk for version in concerned) | {proposal.proposer_id}
    return Standing(proposal, charter, concerned, tuple(parts), barred)


def missing(proposal: Proposal) -> list[Missing]:
    """Return everything that keeps `proposal` from being activated; empty if nothing does."""
    now = standing(proposal)
    found = _ended([proposal.version, *now.parts])
    for version in now.concerned:
        found += _unmapped(version)
        found += _failing(version)
        given = _given(proposal, version, now.barred)
        for requirement in now.requirements(version):
            found += _short(version, requirement, given, _uncounted(proposal, version))
    return found + _gates(proposal, now.charter)


def usable_roles(person: Person, proposal: Proposal) -> frozenset[str]:
    """Return the roles in which `person` may approve `proposal`.

    Where the environment is protected, and for a charter, only grants that a second admin had confirmed before the
    proposal was opened: nobody is made a reviewer for the occasion, nor lent to one by a reset of factors.
    """
    environment = proposal.environment
    if _guarded(proposal):
        return memberships.confirmed_roles(person, proposal.workspace_id, environment, before=proposal.opened_at)
    return memberships.roles_of(person, proposal.workspace_id, environment)


def require_settled(person: Person, proposal: Proposal) -> None:
    """Do nothing unless somebody reset the person's second factors too lately for `proposal`.

    :raises Refusal: factors_reset.
    """
    if _guarded(proposal) and memberships.reset_since(person, proposal.opened_at):
        detail = (
            "Your second factors were reset after this proposal was opened, or no second admin has confirmed the "
            "reset: in a protected environment you can decide about later proposals only."
        )
        raise Refusal("factors_reset", detail, status=403)


def approved_there(part: Version, proposal: Proposal, charter: Mapping[str, Any]) -> bool:
    """Say whether `part` is approved in the environment by something else than `proposal`."""
    live = Q(version=part) | Q(version__pins__part=part)
    if SlotHistory.objects.filter(live, environment=proposal.environment, kind="activate").exists():
        return True
    others = (
        Proposal.objects.filter(environment=proposal.environment, state="approved", approvals__version=part)
        .exclude(pk=proposal.pk)
        .distinct()
    )
    for other in others.select_related("environment"):
        barred = contributors.people([part.pk, other.version_id]) | {other.proposer_id}
        given = _given(other, part, barred)
        requirements = _requirements(charter, part, other.environment)
        if all(charters.shortfall(requirement, given)[0] == 0 for requirement in requirements):
            return True
    return False


def risk(version: Version) -> str:
    """Return the risk of a version: a tool's own, the highest among its tools for a release, else low."""
    if version.kind == Kind.TOOL:
        return str(versions.content_of(version)["risk"])
    tools = Version.objects.filter(pinned_by__version=version, kind=Kind.TOOL)
    return max((str(versions.content_of(tool)["risk"]) for tool in tools), key=charters.RISKS.index, default="low")


def label(version: Version) -> str:
    """Return how a version is called in a sentence."""
    return f"{version.kind}/{version.name} ({version.digest[:15]}…)"


def _guarded(proposal: Proposal) -> bool:
    """Say whether only what was settled before the proposal counts: in a protected environment, and for a charter."""
    return proposal.environment is None or proposal.environment.protected


def _requirements(
    charter: Mapping[str, Any], version: Version, environment: Environment | None
) -> list[charters.Requirement]:
    name = environment.name if environment else None
    return charters.requirements(charter, kind=version.kind, risk=risk(version), environment=name)


def _given(proposal: Proposal, version: Version, barred: frozenset[UUID]) -> list[str]:
    """Return the role of each person whose approval of `version` in `proposal` counts at this moment."""
    rows = Approval.objects.filter(
        proposal=proposal,
        version=version,
        digest=version.digest,
        verdict="approve",
        withdrawn_at=None,
        expires_at__gt=Now(),
    ).select_related("approver")
    by_person = {row.approver_id: row for row in rows if row.approver_id not in barred}
    return [row.role for row in by_person.values() if row.role in usable_roles(row.approver, proposal)]


def _uncounted(proposal: Proposal, version: Version) -> str:
    """Return a sentence about each approval that a reset of its approver's second factors has voided."""
    rows = Approval.objects.filter(proposal=proposal, version=version, verdict="approve", withdrawn_at=None)
    people = {row.approver_id: row.approver for row in rows.select_related("approver")}.values()
    names = [
        person.username
        for person in people
        if _guarded(proposal) and memberships.reset_since(person, proposal.opened_at)
    ]
    if not names:
        return ""
    return f" What {' and '.join(sorted(names))} approved does not count: second factors were reset since."


def _short(version: Version, requirement: charters.Requirement, given: Iterable[str], uncounted: str) -> list[Missing]:
    count, unmet = charters.shortfall(requirement, given)
    if not count:
        return []
    who = f"at least one each by {' and '.join(unmet)}" if len(unmet) > 1 else ""
    who = who or (f"one by {unmet[0]}" if unmet and count > 1 else "")
    who = who or f"by {' or '.join(unmet or requirement.roles)}"
    noun = "approval" if count == 1 else "approvals"
    detail = f"{label(version)} needs {count} more {noun}, {who}.{uncounted}"
    return [Missing("approval_missing", version.digest, detail)]


def _ended(concerned: Iterable[Version]) -> list[Missing]:
    by_id = {version.pk: version for version in concerned}
    rows = Lifecycle.objects.filter(version__in=by_id, state__in=["retired", "revoked"])
    return [
        Missing(
            f"version_{row.state}",
            by_id[row.version_id].digest,
            f"{label(by_id[row.version_id])} is {row.state}; propose a version without it.",
        )
        for row in rows
    ]


def _unmapped(version: Version) -> list[Missing]:
    return [
        Missing(
            "contributor_unmapped",
            version.digest,
            f"The commit identity {row.identity} of {label(version)} belongs to no member; have an admin identify it.",
        )
        for row in contributors.unmapped([version.pk]).order_by("identity")
    ]


def _failing(version: Version) -> list[Missing]:
    if not version.checks.exists():
        return [Missing("checks_missing", version.digest, f"{label(version)} has not been checked; run its checks.")]
    return [
        Missing("check_failed", version.digest, f"The check {check.name} of {label(version)} failed.")
        for check in versions.failing_checks(version)
    ]


def _gates(proposal: Proposal, charter: Mapping[str, Any]) -> list[Missing]:
    version, environment = proposal.version, proposal.environment
    name = environment.name if environment else None
    found = []
    for gate in charters.gates(charter, kind=version.kind, environment=name):
        since = clock.read() - timedelta(hours=gate.max_age_hours)
        if gate.kind == statements.EVIDENCE:
            if not statements.vouched(version, environment, since=since):
                detail = (
                    f"{label(version)} needs a signed statement about its digest, at most {gate.max_age_hours} h old, "
                    "by a key that the workspace believes."
                )
                found.append(Missing("evidence_missing", version.digest, detail))
            continue
        rows = Evidence.objects.filter(version=version, environment=environment, kind=gate.kind, at__gt=since)
        if not rows.exists():
            detail = f"{label(version)} needs {gate.kind} evidence that is at most {gate.max_age_hours} h old."
            found.append(Missing("evidence_missing", version.digest, detail))
    return found
