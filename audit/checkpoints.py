"""Reads published checkpoints."""

from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from audit.models import Checkpoint
from audit.refusal import not_found


class Row(NamedTuple):
    """A published checkpoint as it is shown."""

    id: UUID
    workspace: UUID
    size: int
    root: bytes
    note: str
    key: str
    at: datetime


def get(checkpoint: UUID) -> Row:
    """Return one checkpoint. :raises Refusal: not_found. The caller checks its workspace."""
    row = Checkpoint.objects.filter(pk=checkpoint).first()
    if row is None:
        raise not_found("checkpoint")
    return _row(row)


def newest(workspace: UUID, *, before: UUID | None = None, limit: int = 50) -> list[Row]:
    """Return a page of checkpoints, the newest first; `before` is the last id of the page before it."""
    found = Checkpoint.objects.filter(workspace=workspace)
    if before:
        found = found.filter(pk__lt=before)
    return [_row(row) for row in found.order_by("-pk")[:limit]]


def _row(row: Checkpoint) -> Row:
    return Row(row.id, row.workspace, row.size, bytes(row.root), row.note, row.key, row.at)
