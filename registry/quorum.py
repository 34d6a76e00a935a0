"""Count what a proposal has against what the charter in force asks, and say in words what is missing."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID

from django.db.models import Q
from django.db.models.functions import Now

from audit import canonical
from audit.refusal import Refusal
from registry import (
    charters,
    clock,
    contributors,
    holdings,
    memberships,
    precedents,
    statements,
    versions,
    workspaces,
)
from registry.holdings import Holding
from registry.models import Approval, Environment, Evidence, Kind, Lifecycle, Person, Proposal, Version

# What a proposal may lack while people agree to it: it comes later. Everything else has to be mended first.
COMES = frozenset({"approval_missing", "evidence_missing", "changes_requested"})


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
    """What a proposal is about, as it stands now: read it under the locks of `locks.versions`.

    :param concerned: the version, and the parts that nothing else approved in the environment.
    :param barred: who contributed to those. :param risks: by version.
    :param given: by version, the approvals of it that count at this moment, one for each person.
    :param voided: approvals that a reset of their approver's second factors has voided.
    :param objections: the requests for changes that stand.
    """

    proposal: Proposal
    charter: Mapping[str, Any]
    concerned: tuple[Version, ...]
    parts: tuple[Version, ...]
    barred: frozenset[UUID]
    risks: Mapping[UUID, str]
    given: Mapping[UUID, Sequence[Approval]]
    voided: Sequence[Approval]
    objections: Sequence[Approval]

    def requirements(self, version: Version) -> list[charters.Requirement]:
        """Return what `version` needs in the environment of the proposal."""
        return _requirements(self.charter, version, self.risks[version.pk], self.proposal.environment)

    def open_roles(self, version: Version) -> tuple[list[str], list[str]]:
        """Return the roles that `version` still lacks, and all roles that can approve it."""
        every = {role for requirement in self.requirements(version) for role in requirement.roles}
        lacking: set[str] = set()
        for requirement in self.requirements(version):
            count, unmet = charters.shortfall(requirement, [row.role for row in self.given[version.pk]])
            lacking |= set(unmet) or (set(requirement.roles) if count else set())
        return sorted(lacking), sorted(every)

    def missing(self) -> list[Missing]:
        """Return everything that keeps the proposal from being activated; empty if nothing does."""
        found = _ended([self.proposal.version, *self.parts])
        unmapped, failing = _unmapped(self.concerned), _failing(self.concerned)
        for version in self.concerned:
            found += unmapped[version.pk] + failing[version.pk]
            for requirement in self.requirements(version):
                roles = [row.role for row in self.given[version.pk]]
                found += _short(version, requirement, roles, _uncounted(self, version))
        found += [_objection(row, self.proposal.version) for row in self.objections]
        return found + _gates(self.proposal, self.charter)


def standing(proposal: Proposal) -> Standing:
    """Read how a proposal stands, in a constant number of queries."""
    _, charter = workspaces.charter_in_force(proposal.workspace_id)
    version, parts = proposal.version, versions.parts_of(proposal.version)
    risks = _risks(version, parts)

    def requirements(part: Version) -> list[charters.Requirement]:
        return _requirements(charter, part, risks[part.pk], proposal.environment)

    agreed = precedents.approved(parts, proposal, requirements) if parts else frozenset()
    concerned = (version, *(part for part in parts if part.pk not in agreed))
    barred = contributors.people(each.pk for each in concerned) | {proposal.proposer_id}
    standing_now = Q(verdict=Approval.Verdict.APPROVE, expires_at__gt=Now()) | Q(
        verdict=Approval.Verdict.REQUEST_CHANGES
    )
    rows = list(
        Approval.objects.filter(standing_now, proposal=proposal, withdrawn_at=None)
        .select_related("approver")
        .order_by("at", "id")
    )
    said = [row for row in rows if row.verdict == Approval.Verdict.APPROVE]
    held = holdings.of({row.approver_id for row in said}, proposal.workspace_id)
    given = _given(said, held, proposal, concerned, barred)
    since = proposal.opened_at
    voided = [row for row in said if precedents.guarded(proposal) and held[row.approver_id].reset_since(since)]
    objections = [row for row in rows if row.verdict == Approval.Verdict.REQUEST_CHANGES]
    return Standing(proposal, charter, concerned, tuple(parts), barred, risks, given, voided, objections)


def missing(proposal: Proposal) -> list[Missing]:
    """Return everything that keeps `proposal` from being activated; empty if nothing does."""
    return standing(proposal).missing()


def usable_roles(person: Person, proposal: Proposal) -> frozenset[str]:
    """Return the roles in which `person` may approve `proposal`."""
    return precedents.usable(holdings.of([person.pk], proposal.workspace_id)[person.pk], proposal)


def require_settled(person: Person, proposal: Proposal) -> None:
    """Do nothing unless somebody reset the person's second factors too lately for `proposal`.

    :raises Refusal: factors_reset.
    """
    if precedents.guarded(proposal) and memberships.reset_since(person, proposal.opened_at):
        detail = (
            "Your second factors were reset after this proposal was opened, or no second admin has confirmed the "
            "reset: in a protected environment you can decide about later proposals only."
        )
        raise Refusal("factors_reset", detail, status=403)


def label(version: Version) -> str:
    """Return how a version is called in a sentence."""
    return f"{version.kind}/{version.name} ({version.digest[:15]}…)"


def _risks(version: Version, parts: Sequence[Version]) -> dict[UUID, str]:
    """Return the risk of each: a tool's own, the highest among its tools for a release, else low."""
    tools = [each.pk for each in (version, *parts) if each.kind == Kind.TOOL]
    contents = Version.objects.filter(pk__in=tools).values_list("pk", "content") if tools else ()
    risks = {pk: str(canonical.loads(bytes(content))["risk"]) for pk, content in contents}
    highest = max(risks.values(), key=charters.RISKS.index, default="low")
    others = {each.pk: "low" for each in parts} | {version.pk: highest if version.kind == Kind.AGENT else "low"}
    return others | risks


def _requirements(
    charter: Mapping[str, Any], version: Version, risk: str, environment: Environment | None
) -> list[charters.Requirement]:
    name = environment.name if environment else None
    return charters.requirements(charter, kind=version.kind, risk=risk, environment=name)


def _given(
    rows: Sequence[Approval],
    held: Mapping[UUID, Holding],
    proposal: Proposal,
    concerned: Sequence[Version],
    barred: frozenset[UUID],
) -> dict[UUID, list[Approval]]:
    given: dict[UUID, list[Approval]] = {version.pk: [] for version in concerned}
    digests = {version.pk: version.digest for version in concerned}
    for row in rows:
        # The database lets a person say yes once to each version of a proposal, so each row is another person.
        if (
            row.digest == digests.get(row.version_id)
            and row.approver_id not in barred
            and row.role in precedents.usable(held[row.approver_id], proposal)
        ):
            given[row.version_id].append(row)
    return given


def _objection(row: Approval, version: Version) -> Missing:
    who = row.approver.get_full_name()
    detail = f"{who} asked for changes in {label(version)}; propose a new version, or {who} withdraws the request."
    return Missing("changes_requested", version.digest, detail)


def _uncounted(standing: Standing, version: Version) -> str:
    """Return a sentence about each approval that a reset of its approver's second factors has voided."""
    names = sorted(row.approver.username for row in standing.voided if row.version_id == version.pk)
    return f" What {' and '.join(names)} approved does not count: second factors were reset since." if names else ""


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


def _unmapped(concerned: Iterable[Version]) -> dict[UUID, list[Missing]]:
    by_id = {version.pk: version for version in concerned}
    found: dict[UUID, list[Missing]] = {pk: [] for pk in by_id}
    for row in contributors.unmapped(by_id).order_by("identity"):
        version = by_id[row.version_id]
        detail = (
            f"The commit identity {row.identity} of {label(version)} belongs to no member; have an admin identify it."
        )
        found[version.pk].append(Missing("contributor_unmapped", version.digest, detail))
    return found


def _failing(concerned: Iterable[Version]) -> dict[UUID, list[Missing]]:
    latest = versions.latest_checks(concerned)
    found: dict[UUID, list[Missing]] = {}
    for version in concerned:
        found[version.pk] = [
            Missing("check_failed", version.digest, f"The check {check.name} of {label(version)} failed.")
            for check in latest[version.pk]
            if not check.passed
        ]
        if not latest[version.pk]:
            detail = f"{label(version)} has not been checked; run its checks."
            found[version.pk] = [Missing("checks_missing", version.digest, detail)]
    return found


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
