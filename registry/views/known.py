"""What is known of versions beside their content: checks, provenance, who had a hand in them, who agreed to them."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from uuid import UUID

from registry import contributors, statements
from registry.models import Approval, Check, Contributor, Person, Provenance, Version


@dataclass(frozen=True, slots=True)
class Hand:
    """Somebody who had a hand in a version. Without a person it is a commit identity.

    :param blocks: nobody claimed the identity, so nobody can approve.
    """

    person: Person | None
    identity: str
    how: Sequence[str]
    blocks: bool


@dataclass(frozen=True, slots=True)
class Voice:
    """What one person said at one time, about one version or, with a release, about several."""

    first: Approval
    versions: Sequence[Version]


def of(versions: Sequence[Version]) -> dict[str, object]:
    """Return checks and provenance by version, and the contributors of all of them."""
    return {"checks": _checks(versions), "provenance": _provenance(versions), "hands": _hands(versions)}


def voices(approvals: Iterable[Approval]) -> list[Voice]:
    """Return approvals, those that were given together as one, in the order in which they were given."""
    together: dict[tuple[object, ...], list[Approval]] = {}
    for row in approvals:
        key = (row.proposal_id, row.approver_id, row.verdict, row.role, row.comment, row.withdrawn_at is None)
        together.setdefault(key, []).append(row)
    return [Voice(rows[0], [row.version for row in rows]) for rows in together.values()]


def _checks(versions: Sequence[Version]) -> list[tuple[Version, list[Check]]]:
    found: dict[UUID, list[Check]] = defaultdict(list)
    latest = Check.objects.filter(version__in=versions).order_by("version_id", "name", "-at", "-id")
    for check in latest.distinct("version_id", "name"):
        found[check.version_id].append(check)
    return [(version, sorted(found[version.pk], key=lambda check: (check.passed, check.name))) for version in versions]


def _provenance(versions: Sequence[Version]) -> list[tuple[Version, list[Provenance], list[statements.Told]]]:
    found: dict[UUID, list[Provenance]] = defaultdict(list)
    for row in Provenance.objects.filter(version__in=versions).select_related("by").order_by("at"):
        found[row.version_id].append(row)
    told = statements.read(versions)
    return [(version, found[version.pk], told.get(version.pk, [])) for version in versions if found[version.pk]]


def _hands(versions: Sequence[Version]) -> list[Hand]:
    ids = [version.pk for version in versions]
    open_ones = set(contributors.unmapped(ids).values_list("identity", flat=True))
    people: dict[UUID, tuple[Person, dict[str, None]]] = {}
    for row in Contributor.objects.filter(version__in=ids).select_related("person").order_by("at", "id"):
        if row.person is not None:
            people.setdefault(row.person.pk, (row.person, {}))[1][row.how] = None
    hands = [Hand(None, identity, ["commit"], blocks=True) for identity in sorted(open_ones)]
    return hands + [Hand(person, "", list(how), blocks=False) for person, how in people.values()]
