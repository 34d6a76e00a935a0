"""What is known of versions beside their content: checks, provenance, who had a hand in them, who agreed to them."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from uuid import UUID

from registry import contributors, statements, versions
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

    rows: Sequence[Approval]

    @property
    def first(self) -> Approval:
        """Return one of the rows: they differ in their versions alone."""
        return self.rows[0]

    @property
    def versions(self) -> list[Version]:
        """Return what it was about."""
        return [row.version for row in self.rows]


def of(those: Sequence[Version]) -> dict[str, object]:
    """Return checks and provenance by version."""
    return {"checks": _checks(those), "provenance": _provenance(those)}


def voices(approvals: Iterable[Approval]) -> list[Voice]:
    """Return approvals, those that were given together as one, in the order in which they were given."""
    together: dict[tuple[object, ...], list[Approval]] = {}
    for row in approvals:
        key = (row.proposal_id, row.approver_id, row.verdict, row.role, row.comment, row.withdrawn_at is None)
        together.setdefault(key, []).append(row)
    return [Voice(rows) for rows in together.values()]


def _checks(those: Sequence[Version]) -> list[tuple[Version, list[Check]]]:
    found = versions.latest_checks(those)
    return [(version, sorted(found[version.pk], key=lambda check: (check.passed, check.name))) for version in those]


def _provenance(those: Sequence[Version]) -> list[tuple[Version, list[Provenance], list[statements.Told]]]:
    found: dict[UUID, list[Provenance]] = defaultdict(list)
    for row in Provenance.objects.filter(version__in=those).select_related("by").order_by("at"):
        found[row.version_id].append(row)
    told = statements.read(those)
    return [(version, found[version.pk], told.get(version.pk, [])) for version in those if found[version.pk]]


def hands(those: Sequence[Version]) -> list[Hand]:
    """Return who had a hand in any of them, the identities that nobody claimed first."""
    ids = [version.pk for version in those]
    open_ones = set(contributors.unmapped(ids).values_list("identity", flat=True))
    people: dict[UUID, tuple[Person, dict[str, None]]] = {}
    for row in Contributor.objects.filter(version__in=ids).select_related("person").order_by("at", "id"):
        if row.person is not None:
            people.setdefault(row.person.pk, (row.person, {}))[1][row.how] = None
    found = [Hand(None, identity, ["commit"], blocks=True) for identity in sorted(open_ones)]
    return found + [Hand(person, "", list(how), blocks=False) for person, how in people.values()]
