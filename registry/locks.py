"""The rows that approvals, activations and revocation lock, always in this order: versions, proposal, slot."""

from collections.abc import Iterable
from uuid import UUID

from registry.models import Lifecycle, Pin, Workspace


def versions(ids: Iterable[UUID]) -> dict[UUID, Lifecycle]:
    """Lock versions (their lifecycle rows) until the transaction ends, in the order of their ids."""
    rows = Lifecycle.objects.select_for_update().filter(version__in=set(ids)).order_by("version_id")
    return {row.version_id: row for row in rows}


def with_parts(version_id: UUID) -> list[UUID]:
    """Return the ids of a version and of every part that it pins."""
    return [version_id, *Pin.objects.filter(version_id=version_id).values_list("part_id", flat=True)]


def workspace(workspace_id: UUID) -> Workspace:
    """Lock the workspace against deciding calls, which hold it FOR SHARE: a stop or a revocation is coming."""
    return Workspace.objects.select_for_update().get(pk=workspace_id)
