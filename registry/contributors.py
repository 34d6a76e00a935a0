"""Who had a hand in a version: they can never approve it, and an identity that nobody claims blocks it."""

from collections.abc import Iterable, Mapping
from datetime import datetime
from email.utils import parseaddr
from uuid import UUID

from django.db import transaction
from django.db.models import Exists, OuterRef, QuerySet

from audit import log
from audit.refusal import Refusal, not_found
from registry import locks, memberships
from registry.models import Contributor, Membership, Person, Role, Version


def add(version: Version, person: Person, *, how: str, now: datetime) -> None:
    """Write down that `person` contributed. Idempotent."""
    identity = (person.email or person.username).lower()
    Contributor.objects.get_or_create(version=version, person=person, identity=identity, how=how, defaults={"at": now})


def add_commits(version: Version, identities: Iterable[str], *, now: datetime) -> None:
    """Write down commit identities ("Name <address>" or the address), each mapped to the member with that address."""
    addresses = sorted({address_of(identity) for identity in identities})
    known = _members(version.workspace_id, addresses)
    for address in addresses:
        person = Person.objects.get(pk=known[address]) if address in known else None
        Contributor.objects.get_or_create(
            version=version, person=person, identity=address, how="commit", defaults={"at": now}
        )


def map_again(version: Version, *, now: datetime) -> None:
    """Look once more for members with the addresses that nobody had claimed: people join, and add their address."""
    open_ones = list(unmapped([version.pk]).values_list("identity", flat=True))
    for address, person in _members(version.workspace_id, open_ones).items():
        Contributor.objects.get_or_create(
            version=version, person_id=person, identity=address, how="commit", defaults={"at": now}
        )


def unmapped(versions: Iterable[UUID]) -> QuerySet[Contributor]:
    """Return the rows of `versions` whose identity no row maps to a person."""
    named = Contributor.objects.filter(version=OuterRef("version"), identity=OuterRef("identity"), person__isnull=False)
    return Contributor.objects.filter(~Exists(named), version__in=list(versions), person=None)


def strangers(workspace_id: UUID, identities: Iterable[str]) -> list[str]:
    """Return the addresses among commit identities that belong to no member."""
    addresses = {address_of(identity) for identity in identities}
    return sorted(addresses - _members(workspace_id, addresses).keys())


def people(versions: Iterable[UUID]) -> frozenset[UUID]:
    """Return the ids of all persons who contributed to any of `versions`."""
    rows = Contributor.objects.filter(version__in=list(versions), person__isnull=False)
    return frozenset(rows.values_list("person_id", flat=True))


def identify(
    version: Version, identity: str, person: Person, *, actor: Person, now: datetime, correlation_id: str
) -> Contributor:
    """Say who an unmapped identity is. They are a contributor from then on, whatever they have approved.

    So is who says it: else an admin could name somebody else for their own commits and then approve them.

    :raises Refusal: role_missing, not_found, not_a_member.
    """
    address = address_of(identity)
    with transaction.atomic():
        # The lock that approvals and activation take too: they count before or after this, never across it.
        locks.versions([version.pk])
        memberships.require(actor, version.workspace_id, [Role.ADMIN])
        if not Contributor.objects.filter(version=version, identity=address).exists():
            raise not_found("contributor")
        if not Membership.objects.filter(workspace_id=version.workspace_id, person=person).exists():
            detail = "An identity is mapped to a member of the workspace; add the person first."
            raise Refusal("not_a_member", detail, field="person")
        row, created = Contributor.objects.get_or_create(
            version=version, person=person, identity=address, how="identified", defaults={"at": now}
        )
        if created:
            add(version, actor, how="mapper", now=now)
            log.append(
                "registry.contributor.identified",
                workspace=version.workspace_id,
                actor=actor.actor,
                correlation_id=correlation_id,
                now=now,
                subjects={"version": version.digest, "person": str(person.pk)},
                data={"identity": log.Sealed(address, subject=person.actor)},
            )
    return row


def address_of(identity: str) -> str:
    """Return the address in "Name <address>", lower case; the whole text where there is none."""
    address = parseaddr(identity)[1] or identity
    return address.strip().lower()[:320]


def records(version: Version) -> Mapping[str, object]:
    """Return what the trail says about the contributors of a version: persons by id, unmapped identities by number."""
    return {
        "contributors": sorted(str(person) for person in people([version.pk])),
        "unmapped_identities": unmapped([version.pk]).count(),
    }


def _members(workspace_id: UUID, addresses: Iterable[str]) -> dict[str, UUID]:
    wanted = set(addresses)
    if not wanted:
        return {}
    rows = Membership.objects.filter(workspace_id=workspace_id).exclude(person__email="")
    pairs = rows.values_list("person__email", "person_id")
    return {email.lower(): person for email, person in pairs if email.lower() in wanted}
