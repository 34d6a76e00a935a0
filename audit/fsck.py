"""The monitor: recomputes everything the trail claims and compares it with the source rows.

A tree can be perfectly valid and still lack a record; only a count against the source shows that. So records are
matched with leaves both ways, every leaf hash is made anew from its body, every tile, head and checkpoint from the
leaves. It reads in one snapshot, in the order of the log, in bounded memory.
"""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from django.db import connections, transaction
from django.db.backends.utils import CursorWrapper

from audit import publisher, tree, verify

MOST_PROBLEMS = 100
SLICE = 1000


@dataclass
class Report:
    """What was found. `problems` is empty if, and only if, the trail is whole; at most MOST_PROBLEMS are listed."""

    workspace: UUID
    records: int = 0
    leaves: int = 0
    pending: int = 0
    checkpoints: int = 0
    problems: list[str] = field(default_factory=list)

    def found(self, problem: str) -> None:
        """Add a problem to the list."""
        if len(self.problems) < MOST_PROBLEMS:
            self.problems.append(problem)


def workspaces(*, using: str = "default") -> list[UUID]:
    """Return every workspace that has a record or a tree."""
    with connections[using].cursor() as cursor:
        cursor.execute("SELECT workspace FROM audit_head UNION SELECT DISTINCT workspace FROM audit_record")
        return [row[0] for row in cursor.fetchall()]


def check(
    workspace: UUID, *, using: str = "default", tell: Callable[[int], None] | None = None, outside: bool = True
) -> Report:
    """Check the log of `workspace` from its source rows up.

    :param outside: whether the publisher's copy of its last checkpoint is compared, too.
    :param tell: is told now and then how many leaves were checked, between two reads; it has a
        connection of its own, for this one only reads.
    """
    report = Report(workspace)
    # Read before the snapshot: what it was signed for is then in the snapshot.
    path = publisher.copy_path(workspace)
    copy = path.read_text(encoding="utf-8") if outside and path.exists() else None
    with transaction.atomic(using=using, durable=True), connections[using].cursor() as cursor:
        cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        checkpoints = _checkpoints(cursor, workspace, copy, report)
        edge = _leaves(cursor, workspace, checkpoints, report, tell or (lambda done: None))
        _lost(cursor, workspace, report)
        _head(cursor, workspace, edge, report)
    return report


def _leaves(
    cursor: CursorWrapper,
    workspace: UUID,
    checkpoints: dict[int, set[bytes]],
    report: Report,
    tell: Callable[[int], None],
) -> tree.Frontier:
    """Walk the leaves; compare each with its record, the tiles with what they must be, checkpoints on the way."""
    edge, row_hashes = tree.Frontier(), list[bytes]()
    levels: dict[tuple[int, int], bytes] = {}
    for index, record, leaf_hash, body, columns in _rows(cursor, workspace):
        if index != edge.size:
            report.found(f"leaf {edge.size} is missing: the next index is {index}")
            return edge
        report.leaves += 1
        if not report.leaves % SLICE:
            tell(report.leaves)
        if body is None:
            report.found(f"leaf {index} has no record {record}")
        else:
            if tree.leaf(body) != leaf_hash:
                report.found(f"record {record} is not what leaf {index} was made of")
            _projections(workspace, record, body, columns, report)
        edge.append(leaf_hash)
        row_hashes.append(leaf_hash)
        if len(row_hashes) == tree.WIDTH:
            _grow(cursor, workspace, edge.size - tree.WIDTH, row_hashes, levels, report)
            row_hashes = []
        if edge.size in checkpoints and checkpoints.pop(edge.size) != {edge.root()}:
            report.found(f"the checkpoint of {edge.size} records is not of these leaves")
    if row_hashes:
        _grow(cursor, workspace, edge.size - len(row_hashes), row_hashes, levels, report)
    for size in checkpoints:
        report.found(f"a checkpoint of {size} records was published, the log has {edge.size}")
    _tiles(cursor, workspace, levels, report)
    return edge


def _rows(cursor: CursorWrapper, workspace: UUID) -> Iterator[tuple[int, UUID, bytes, bytes | None, tuple[Any, ...]]]:
    after = -1
    while True:
        cursor.execute(
            "SELECT l.index, l.record, l.leaf_hash, r.body, r.workspace, r.event, r.actor, r.correlation_id "
            "FROM audit_leaf l LEFT JOIN audit_record r ON r.id = l.record "
            "WHERE l.workspace = %s AND l.index > %s ORDER BY l.index LIMIT %s",
            [workspace, after, SLICE],
        )
        rows = cursor.fetchall()
        for index, record, leaf_hash, body, *columns in rows:
            yield index, record, bytes(leaf_hash), None if body is None else bytes(body), tuple(columns)
        if len(rows) < SLICE:
            return
        after = rows[-1][0]


def _projections(workspace: UUID, record: UUID, body: bytes, columns: tuple[Any, ...], report: Report) -> None:
    try:
        members = json.loads(body)
        said = tuple(members[name] for name in ("workspace", "event", "actor", "correlation_id"))
        told = (members["format"], members["id"], members["workspace"])
    except (ValueError, KeyError, TypeError):
        report.found(f"record {record} is not a {verify.RECORD}")
        return
    if told != (verify.RECORD, str(record), str(workspace)) or said != (str(columns[0]), *columns[1:]):
        report.found(f"the columns of record {record} are not those of its body")


def _grow(
    cursor: CursorWrapper,
    workspace: UUID,
    start: int,
    hashes: list[bytes],
    levels: dict[tuple[int, int], bytes],
    report: Report,
) -> None:
    """Compute the tiles that these leaves complete; compare what became full, keep the rest in `levels`."""
    for tile in tree.grow(start, hashes, lambda level, n: levels.get((level, n), b"")):
        levels[tile.level, tile.n] = tile.hashes
    full = {place: joined for place, joined in levels.items() if len(joined) == tree.WIDTH * tree.HASH}
    _tiles(cursor, workspace, full, report)
    for place in full:
        del levels[place]


def _tiles(cursor: CursorWrapper, workspace: UUID, expected: dict[tuple[int, int], bytes], report: Report) -> None:
    for (level, n), joined in expected.items():
        cursor.execute(
            "SELECT hashes FROM audit_tile WHERE workspace = %s AND level = %s AND n = %s", [workspace, level, n]
        )
        row = cursor.fetchone()
        if row is None or bytes(row[0]) != joined:
            report.found(f"tile {level}/{n} is {'wrong' if row else 'missing'}")


def _lost(cursor: CursorWrapper, workspace: UUID, report: Report) -> None:
    cursor.execute("SELECT count(*) FROM audit_record WHERE workspace = %s", [workspace])
    report.records = cursor.fetchone()[0]
    cursor.execute("SELECT count(*) FROM audit_pending WHERE workspace = %s", [workspace])
    report.pending = cursor.fetchone()[0]
    cursor.execute(
        "SELECT r.id FROM audit_record r WHERE r.workspace = %s "
        "AND NOT EXISTS (SELECT 1 FROM audit_leaf l WHERE l.record = r.id AND l.workspace = r.workspace) "
        "AND NOT EXISTS (SELECT 1 FROM audit_pending p WHERE p.record = r.id AND p.workspace = r.workspace) LIMIT %s",
        [workspace, MOST_PROBLEMS],
    )
    for (record,) in cursor.fetchall():
        report.found(f"record {record} is neither in the tree nor pending: it was lost")
    cursor.execute(
        "SELECT p.record FROM audit_pending p "
        "LEFT JOIN audit_record r ON r.id = p.record AND r.workspace = p.workspace "
        "WHERE p.workspace = %s AND (r.id IS NULL OR r.leaf_hash <> p.leaf_hash "
        "OR EXISTS (SELECT 1 FROM audit_leaf l WHERE l.record = p.record)) LIMIT %s",
        [workspace, MOST_PROBLEMS],
    )
    for (record,) in cursor.fetchall():
        report.found(f"{record} is pending, and is no record or is in the tree already")


def _head(cursor: CursorWrapper, workspace: UUID, edge: tree.Frontier, report: Report) -> None:
    cursor.execute("SELECT size, root, frontier FROM audit_head WHERE workspace = %s", [workspace])
    row = cursor.fetchone()
    head = (row[0], bytes(row[1]), bytes(row[2])) if row else (0, tree.EMPTY, b"")
    if head != (edge.size, edge.root(), edge.joined()):
        report.found(f"the head of {head[0]} records is not that of the {edge.size} leaves")
    cursor.execute("SELECT count(*) FROM audit_tile WHERE workspace = %s", [workspace])
    tiles, wanted, span = cursor.fetchone()[0], 0, 1
    while edge.size >= span:
        wanted += -(-(edge.size // span) // tree.WIDTH)
        span *= tree.WIDTH
    if tiles != wanted:
        report.found(f"the log has {tiles} tiles, {wanted} belong to {edge.size} leaves")


def _checkpoints(cursor: CursorWrapper, workspace: UUID, copy: str | None, report: Report) -> dict[int, set[bytes]]:
    """Return the root of every checkpoint by size, the copy outside the database included; check their signatures."""
    cursor.execute("SELECT size, root, note FROM audit_checkpoint WHERE workspace = %s ORDER BY size", [workspace])
    keys, roots = publisher.pinned(workspace), dict[int, set[bytes]]()
    rows = cursor.fetchall()
    for size, root, note in [*rows, *([(None, None, copy)] if copy else [])]:
        report.checkpoints += size is not None
        try:
            checkpoint = verify.open_checkpoint(note, keys)
        except verify.NotVerified as error:
            report.found(f"the checkpoint of {size or 'the copy outside'} does not verify: {error}")
            continue
        if size is not None and (checkpoint.size, checkpoint.root) != (size, bytes(root)):
            report.found(f"the columns of the checkpoint of {size} records are not those of its note")
        roots.setdefault(checkpoint.size, set()).add(checkpoint.root)
    return roots
