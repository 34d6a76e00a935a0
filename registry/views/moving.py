"""What is on its way to be live: activations, and which decision points have their bundle already."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from registry import pdps
from registry.models import Activation, Bundle, Pdp

UNDER_WAY = ("requested", "published")


@dataclass(frozen=True, slots=True)
class Moving:
    """An activation. `reached`, `behind`: decision points heard of lately that have its bundle, and that lack it."""

    activation: Activation
    reached: Sequence[Pdp] = ()
    behind: Sequence[Pdp] = ()

    @property
    def under_way(self) -> bool:
        """Say whether it has not ended."""
        return self.activation.state in UNDER_WAY


def of(rows: Iterable[Activation], now: datetime) -> list[Moving]:
    """Return the activations with how far they have come, in two queries for all that are under way."""
    listed = list(rows)
    places = {row.environment_id for row in listed if row.state in UNDER_WAY and row.environment_id is not None}
    if not places:
        return [Moving(row) for row in listed]
    points = list(Pdp.objects.filter(environment__in=places, last_seen__gt=now - pdps.FRESH).order_by("name"))
    bundles = Bundle.objects.filter(environment__in=places).values_list("environment_id", "revision", "created_at")
    made: dict[tuple[object, str], datetime] = {(place, revision): at for place, revision, at in bundles}

    def has(point: Pdp, row: Activation) -> bool:
        since = made.get((row.environment_id, row.revision))
        at = made.get((row.environment_id, point.revision))
        return bool(row.revision) and (
            point.revision == row.revision or (since is not None and at is not None and at >= since)
        )

    found = []
    for row in listed:
        moves = row.state in UNDER_WAY
        there = [point for point in points if moves and point.environment_id == row.environment_id]
        reached = [point for point in there if has(point, row)]
        found.append(Moving(row, reached, [point for point in there if point not in reached]))
    return found
