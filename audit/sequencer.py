"""Moves records from `pending` into the tree: dense index, tiles and head, in one transaction.

`pending` is a set, not a cursor: what is in it is not in the tree, what was taken out of it is. No reasoning about
ids, clocks or transaction numbers, which lose records that commit out of order. The head row is the lock, so any
number of sequencers are harmless. The order in the log is the order of integration; a record carries its own time.
"""

from datetime import datetime
from uuid import UUID

from django.db import connections, transaction
from django.db.backends.utils import CursorWrapper

from audit import crash, tree

BATCH = 1000


def sequence(workspace: UUID | None = None, *, batch: int = BATCH, using: str = "default") -> int:
    """Integrate up to `batch` pending records of the workspace, or of each one; return how many."""
    logs = [workspace] if workspace else waiting(using=using)
    return sum(_sequence(log, batch, using) for log in logs)


def drain(workspace: UUID | None = None, *, using: str = "default") -> int:
    """Integrate until nothing is pending; return how many."""
    total = 0
    while moved := sequence(workspace, using=using):
        total += moved
    return total


def waiting(*, using: str = "default") -> list[UUID]:
    """Return the workspaces that have pending records."""
    with connections[using].cursor() as cursor:
        cursor.execute("SELECT DISTINCT workspace FROM audit_pending")
        return [row[0] for row in cursor.fetchall()]


def lag(*, now: datetime, using: str = "default") -> float:
    """Return the age in seconds of the oldest pending record; 0 if none waits."""
    with connections[using].cursor() as cursor:
        cursor.execute("SELECT record FROM audit_pending ORDER BY record LIMIT 1")
        row = cursor.fetchone()
    # The first 48 bits of a version 7 UUID are Unix milliseconds.
    return max(0.0, now.timestamp() - (row[0].int >> 80) / 1000) if row else 0.0


def _sequence(workspace: UUID, batch: int, using: str) -> int:
    with transaction.atomic(using=using), connections[using].cursor() as cursor:
        edge = _lock(cursor, workspace)
        taken = _take(cursor, workspace, batch)
        if not taken:
            return 0
        hashes = [leaf_hash for _, leaf_hash in taken]
        tiles = tree.grow(edge.size, hashes, lambda level, n: _tile(cursor, workspace, level, n))
        _insert(cursor, workspace, edge.size, taken)
        for tile in tiles:
            cursor.execute(
                "INSERT INTO audit_tile (workspace, level, n, hashes) VALUES (%s, %s, %s, %s) "
                "ON CONFLICT (workspace, level, n) DO UPDATE SET hashes = EXCLUDED.hashes",
                [workspace, *tile],
            )
        for leaf_hash in hashes:
            edge.append(leaf_hash)
        cursor.execute(
            "UPDATE audit_head SET size = %s, root = %s, frontier = %s WHERE workspace = %s",
            [edge.size, edge.root(), edge.joined(), workspace],
        )
        crash.point("audit.sequencer.integrated")
    crash.point("audit.sequencer.committed")
    return len(taken)


def _lock(cursor: CursorWrapper, workspace: UUID) -> tree.Frontier:
    """Return the log's right edge, locked against every other sequencer until the transaction ends."""
    select = "SELECT size, frontier FROM audit_head WHERE workspace = %s FOR UPDATE"
    cursor.execute(select, [workspace])
    row = cursor.fetchone()
    if row is None:
        cursor.execute(
            "INSERT INTO audit_head (workspace, size, root, frontier) VALUES (%s, 0, %s, %s) "
            "ON CONFLICT (workspace) DO NOTHING",
            [workspace, tree.EMPTY, b""],
        )
        cursor.execute(select, [workspace])
        row = cursor.fetchone()
    return tree.Frontier(row[0], bytes(row[1]))


def _take(cursor: CursorWrapper, workspace: UUID, batch: int) -> list[tuple[UUID, bytes]]:
    cursor.execute(
        "DELETE FROM audit_pending WHERE (workspace, record) IN (SELECT workspace, record FROM audit_pending "
        "WHERE workspace = %s ORDER BY record LIMIT %s) RETURNING record, leaf_hash",
        [workspace, batch],
    )
    return sorted((record, bytes(leaf_hash)) for record, leaf_hash in cursor.fetchall())


def _tile(cursor: CursorWrapper, workspace: UUID, level: int, n: int) -> bytes:
    cursor.execute(
        "SELECT hashes FROM audit_tile WHERE workspace = %s AND level = %s AND n = %s", [workspace, level, n]
    )
    return bytes(cursor.fetchone()[0])


def _insert(cursor: CursorWrapper, workspace: UUID, start: int, taken: list[tuple[UUID, bytes]]) -> None:
    records, hashes = [record for record, _ in taken], [leaf_hash for _, leaf_hash in taken]
    cursor.execute(
        "INSERT INTO audit_leaf (workspace, index, record, leaf_hash) "
        "SELECT %s, %s + n - 1, record, leaf_hash "
        "FROM unnest(%s::uuid[], %s::bytea[]) WITH ORDINALITY AS t (record, leaf_hash, n)",
        [workspace, start, records, hashes],
    )
