"""Precedents: which parts of a release are approved in an environment already, by something else than a proposal."""

from collections import defaultdict
from collections.abc import Callable, Collection, Sequence
from uuid import UUID

from django.db.models import Exists, OuterRef, QuerySet
from django.db.models.functions import Now

from registry import charters, holdings
from registry.holdings import Holding
from registry.models import Approval, Contributor, Environment, Pin, Proposal, SlotHistory, Version

Requirements = Callable[[Version], Sequence[charters.Requirement]]


def approved(parts: Collection[Version], proposal: Proposal, requirements: Requirements) -> frozenset[UUID]:
    """Return the ids of those `parts` that the environment of `proposal` has agreed to without it.

    They were activated there, alone or in a release; or another approved proposal has a quorum for them that still
    counts. In a constant number of queries.

    :param requirements: what a part needs there by the charter in force.
    """
    live = _activated([part.pk for part in parts], proposal.environment)
    left = {part.pk: part for part in parts if part.pk not in live}
    given: dict[tuple[UUID, UUID], list[Approval]] = defaultdict(list)
    rows = list(_elsewhere(left, proposal)) if left else []
    for row in rows:
        given[row.version_id, row.proposal_id].append(row)
    hands = _hands({*left, *(row.proposal.version_id for row in rows)}) if rows else {}
    held = holdings.of({row.approver_id for row in rows}, proposal.workspace_id)
    found = set(live)
    for (part, _), voices in given.items():
        other = voices[0].proposal
        barred = hands.get(part, set()) | hands.get(other.version_id, set()) | {other.proposer_id}
        roles = [
            row.role
            for row in voices
            if row.approver_id not in barred
            and row.digest == left[part].digest
            and row.role in usable(held[row.approver_id], other)
        ]
        if all(charters.shortfall(requirement, roles)[0] == 0 for requirement in requirements(left[part])):
            found.add(part)
    return frozenset(found)


def usable(held: Holding, proposal: Proposal) -> frozenset[str]:
    """Return the roles in which who holds `held` may approve `proposal`.

    Where the environment is protected, and for a charter, only grants that a second admin had confirmed before the
    proposal was opened: nobody is made a reviewer for the occasion, nor lent to one by a reset of factors.
    """
    if guarded(proposal):
        return held.confirmed(proposal.environment, before=proposal.opened_at)
    return held.roles(proposal.environment)


def guarded(proposal: Proposal) -> bool:
    """Say whether only what was settled before the proposal counts: in a protected environment, and for a charter."""
    return proposal.environment is None or proposal.environment.protected


def _activated(ids: Collection[UUID], environment: Environment | None) -> set[UUID]:
    history = SlotHistory.objects.filter(environment=environment, kind="activate")
    alone = set(history.filter(version__in=ids).values_list("version_id", flat=True))
    pins = Pin.objects.filter(part__in=ids, version__in=history.values("version"))
    return {pk for pk in alone if pk is not None} | set(pins.values_list("part_id", flat=True))


def _elsewhere(ids: Collection[UUID], proposal: Proposal) -> QuerySet[Approval]:
    """Return the approvals of those versions that stand in other proposals which went through there."""
    objections = Approval.objects.filter(
        proposal=OuterRef("proposal"), verdict=Approval.Verdict.REQUEST_CHANGES, withdrawn_at=None
    )
    rows = Approval.objects.filter(
        ~Exists(objections),
        version__in=ids,
        verdict=Approval.Verdict.APPROVE,
        withdrawn_at=None,
        expires_at__gt=Now(),
        proposal__environment=proposal.environment,
        proposal__state="approved",
    )
    return rows.exclude(proposal=proposal.pk).select_related("proposal__environment").order_by("at", "id")


def _hands(ids: Collection[UUID]) -> dict[UUID, set[UUID]]:
    """Return the contributors of each version."""
    found: dict[UUID, set[UUID]] = defaultdict(set)
    rows = Contributor.objects.filter(version__in=ids, person__isnull=False)
    for version, person in rows.values_list("version_id", "person_id"):
        found[version].add(person)
    return found
