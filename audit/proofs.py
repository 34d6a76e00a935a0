"""Inclusion and consistency proofs, made from tiles and checkpoints."""

import base64
from dataclasses import dataclass
from typing import NamedTuple
from uuid import UUID

from django.db import connections

from audit import tiles, tree
from audit.refusal import Refusal, not_found


class Signed(NamedTuple):
    """A published checkpoint."""

    size: int
    root: bytes
    note: str


@dataclass(frozen=True, slots=True)
class Inclusion:
    """That a record is in the log at `index`: `path` leads from its leaf hash to the checkpoint's root."""

    record: UUID
    index: int
    leaf_hash: bytes
    path: list[bytes]
    checkpoint: Signed

    def text(self) -> str:
        """Return the proof in the form of c2sp.org/tlog-proof."""
        hashes = "".join(f"{base64.b64encode(one).decode()}\n" for one in self.path)
        return f"c2sp.org/tlog-proof@v1\nindex {self.index}\n{hashes}\n{self.checkpoint.note}"


def checkpoint(workspace: UUID, size: int | None = None, *, using: str = "default") -> Signed:
    """Return the newest checkpoint, or the one of `size`. :raises Refusal: no_checkpoint if there is none."""
    with connections[using].cursor() as cursor:
        cursor.execute(
            "SELECT size, root, note FROM audit_checkpoint WHERE workspace = %s AND (%s::bigint IS NULL OR size = %s) "
            "ORDER BY size DESC, at DESC LIMIT 1",
            [workspace, size, size],
        )
        row = cursor.fetchone()
    if row is None:
        which = "yet" if size is None else f"of {size} records"
        raise Refusal("no_checkpoint", f"The log has no checkpoint {which}; one follows within seconds.", status=409)
    return Signed(row[0], bytes(row[1]), row[2])


def inclusion(workspace: UUID, record: UUID, size: int | None = None, *, using: str = "default") -> Inclusion:
    """Prove that `record` is in the tree of the newest checkpoint, or of the one of `size`.

    :raises Refusal: not_found; not_integrated if the record is newer than the checkpoint; no_checkpoint.
    """
    with connections[using].cursor() as cursor:
        cursor.execute("SELECT 1 FROM audit_record WHERE workspace = %s AND id = %s", [workspace, record])
        if cursor.fetchone() is None:
            raise not_found("record")
        cursor.execute(
            "SELECT index, leaf_hash FROM audit_leaf WHERE workspace = %s AND record = %s", [workspace, record]
        )
        row = cursor.fetchone()
    signed = checkpoint(workspace, size, using=using)
    if row is None or row[0] >= signed.size:
        detail = "The record is not under this checkpoint yet; ask again within seconds, or for a later checkpoint."
        raise Refusal("not_integrated", detail, status=409)
    path = tree.inclusion(tiles.reader(workspace, using=using), row[0], signed.size)
    return Inclusion(record, row[0], bytes(row[1]), path, signed)


def consistency(workspace: UUID, old: int, new: int, *, using: str = "default") -> list[bytes]:
    """Prove that the log's first `new` records begin with its first `old` ones, neither more than are in the tree.

    :raises Refusal: size_out_of_range.
    """
    with connections[using].cursor() as cursor:
        cursor.execute("SELECT size FROM audit_head WHERE workspace = %s", [workspace])
        row = cursor.fetchone()
    size = row[0] if row else 0
    if not 0 <= old <= new <= size:
        raise Refusal("size_out_of_range", f"Sizes must be ordered and lie between 0 and {size}.", field="from")
    return tree.consistency(tiles.reader(workspace, using=using), old, new)
