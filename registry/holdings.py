"""What persons hold in a workspace, read at once for any number of them; `memberships` answers the same for one."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from registry.models import Environment, FactorReset, Grant


@dataclass(frozen=True, slots=True)
class Holding:
    """What one person holds: the grants that stand, and when each reset of their second factors was confirmed."""

    grants: tuple[Grant, ...] = ()
    resets: tuple[datetime | None, ...] = ()

    def everywhere(self) -> frozenset[str]:
        """Return `memberships.roles_anywhere`: enough to look, never to decide."""
        return frozenset(grant.role for grant in self.grants)

    def roles(self, environment: Environment | None) -> frozenset[str]:
        """Return `memberships.roles_of` there."""
        there = self._there(environment)
        if environment is not None and environment.protected:
            if None in self.resets:
                return frozenset()
            there = [grant for grant in there if grant.confirmed_at is not None]
        return frozenset(grant.role for grant in there)

    def confirmed(self, environment: Environment | None, *, before: datetime) -> frozenset[str]:
        """Return `memberships.confirmed_roles` there."""
        if self.reset_since(before):
            return frozenset()
        return frozenset(
            grant.role
            for grant in self._there(environment)
            if grant.confirmed_at is not None and grant.confirmed_at < before
        )

    def reset_since(self, at: datetime) -> bool:
        """Return `memberships.reset_since`."""
        return any(confirmed is None or confirmed >= at for confirmed in self.resets)

    def _there(self, environment: Environment | None) -> list[Grant]:
        place = environment.pk if environment is not None else None
        return [grant for grant in self.grants if grant.environment_id in (None, place)]


NONE = Holding()


def of(persons: Iterable[UUID], workspace_id: UUID) -> dict[UUID, Holding]:
    """Return what each of `persons` holds, in two queries."""
    wanted = set(persons)
    if not wanted:
        return {}
    grants: dict[UUID, list[Grant]] = {person: [] for person in wanted}
    rows = Grant.objects.filter(
        membership__workspace_id=workspace_id,
        membership__person__in=wanted,
        membership__person__is_active=True,
        membership__active=True,
        revoked_at=None,
    )
    for row in rows.select_related("membership").order_by("at", "id"):
        grants[row.membership.person_id].append(row)
    resets: dict[UUID, list[datetime | None]] = {person: [] for person in wanted}
    for person, at in FactorReset.objects.filter(person__in=wanted).values_list("person_id", "confirmed_at"):
        resets[person].append(at)
    return {person: Holding(tuple(grants[person]), tuple(resets[person])) for person in wanted}
