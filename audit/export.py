"""Exports of the trail: NDJSON that verify.py checks offline. docs/reference/trail.md has the format.

Rows are read in slices by index, each its own short query: an export of any size needs the memory of one slice, and
holds no transaction open while a slow client reads. What it holds was fixed by the checkpoint before it began.
"""

import base64
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from django.db import connections

from audit import canonical, proofs, records, rotation, tiles, tree, verify

SLICE = 500


@dataclass(frozen=True, slots=True)
class Selection:
    """Which records an excerpt holds; a member that is None does not narrow. `event` also takes a prefix, `app.`.

    :param recorded_since: made then or later; :param recorded_until: made earlier. ISO 8601 with a zone.
    """

    event: str | None = None
    actor: str | None = None
    correlation_id: str | None = None
    records: Sequence[UUID] | None = None
    recorded_since: str | None = None
    recorded_until: str | None = None


def stream(
    workspace: UUID,
    *,
    size: int | None = None,
    first: int = 0,
    selection: Selection | None = None,
    since: Sequence[int] = (),
    using: str = "default",
) -> Iterator[bytes]:
    """Yield an export, some lines at a time.

    :param size: end with the checkpoint of this many records; default: the newest.
    :param first: begin a whole export here, with the frontier before it; 0 is the beginning of the log.
    :param selection: make an excerpt, each record with its inclusion proof, instead of a whole export.
    :param since: for an excerpt: sizes of earlier checkpoints that it shall prove the log to continue.
    :raises Refusal: no_checkpoint, or first_out_of_range.
    """
    signed = proofs.checkpoint(workspace, size, using=using)
    header: dict[str, Any] = {"format": verify.EXPORT, "checkpoint": signed.note, "workspace": str(workspace)}
    read = tiles.reader(workspace, using=using)
    if chain := _chain(workspace, signed, read, using):
        header["chain"] = chain
    if selection is None:
        first = min(first, signed.size)
        edge = tree.frontier(read, first)
        header |= {"kind": "log", "first": first, "frontier": _base64(edge.hashes)}
        return _log(header, workspace, first, signed.size, using)
    earlier = [_earlier(read, old, signed.size) for old in sorted(set(since)) if old <= signed.size]
    header |= {"kind": "excerpt", "consistency": earlier}
    return _excerpt(header, workspace, selection, signed.size, read, using)


def _chain(workspace: UUID, signed: proofs.Signed, read: tree.Read, using: str) -> list[dict[str, Any]]:
    """Return how each later key was announced, so that who pinned an earlier one can follow (verify.follow).

    Keys of another epoch of the log lead nowhere here: nobody follows from one epoch to the next by a proof.
    """
    links, size, origin = [], signed.size, signed.note.partition("\n")[0]
    with connections[using].cursor() as cursor:
        for index, signer, _, body in rotation.announcements(cursor, workspace):
            if index is None or index >= size or signer.name != origin:
                continue
            cursor.execute(
                "SELECT size, note FROM audit_checkpoint WHERE workspace = %s AND size > %s AND size <= %s "
                "AND key LIKE %s ORDER BY size LIMIT 1",
                [workspace, index, size, f"%+{signer.id.hex()}+%"],
            )
            row = cursor.fetchone()
            if row is not None:
                proof, path = tree.inclusion(read, index, row[0]), tree.consistency(read, row[0], size)
                link = {"checkpoint": row[1], "consistency": _base64(path), "index": index, "proof": _base64(proof)}
                links.append({**link, "record": body.decode()})
    return links


def _log(header: dict[str, Any], workspace: UUID, first: int, size: int, using: str) -> Iterator[bytes]:
    yield canonical.dumps(header) + b"\n"
    for begin in range(first, size, SLICE):
        with connections[using].cursor() as cursor:
            cursor.execute(
                "SELECT r.body FROM audit_leaf l JOIN audit_record r ON r.id = l.record "
                "WHERE l.workspace = %s AND l.index >= %s AND l.index < %s ORDER BY l.index",
                [workspace, begin, min(begin + SLICE, size)],
            )
            yield b"".join(bytes(body) + b"\n" for (body,) in cursor.fetchall())


def _excerpt(
    header: dict[str, Any], workspace: UUID, selection: Selection, size: int, read: tree.Read, using: str
) -> Iterator[bytes]:
    yield canonical.dumps(header) + b"\n"
    where, values = _where(selection)
    next_index = count = 0
    while True:
        with connections[using].cursor() as cursor:
            cursor.execute(
                "SELECT l.index, r.body FROM audit_leaf l JOIN audit_record r ON r.id = l.record "  # noqa: S608 - constants
                f"WHERE l.workspace = %s AND l.index >= %s AND l.index < %s{where} ORDER BY l.index LIMIT %s",
                [workspace, next_index, size, *values, SLICE],
            )
            rows = cursor.fetchall()
        lines = []
        for index, body in rows:
            proof = {"index": index, "proof": _base64(tree.inclusion(read, index, size))}
            lines.append(canonical.dumps(proof) + b"\n" + bytes(body) + b"\n")
        count += len(rows)
        yield b"".join(lines)
        if len(rows) < SLICE:
            break
        next_index = rows[-1][0] + 1
    yield canonical.dumps({"records": count}) + b"\n"


def rows(
    workspace: UUID, *, size: int, first: int = 0, selection: Selection | None = None, using: str = "default"
) -> Iterator[tuple[int, bytes]]:
    """Yield (index, body) of the records that an export holds, for formats that carry no proofs."""
    where, values = _where(selection or Selection())
    next_index = first if selection is None else 0
    while True:
        with connections[using].cursor() as cursor:
            cursor.execute(
                "SELECT l.index, r.body FROM audit_leaf l JOIN audit_record r ON r.id = l.record "  # noqa: S608 - constants
                f"WHERE l.workspace = %s AND l.index >= %s AND l.index < %s{where} ORDER BY l.index LIMIT %s",
                [workspace, next_index, size, *values, SLICE],
            )
            found = cursor.fetchall()
        yield from ((index, bytes(body)) for index, body in found)
        if len(found) < SLICE:
            return
        next_index = found[-1][0] + 1


def _earlier(read: tree.Read, old: int, size: int) -> dict[str, Any]:
    proof = _base64(tree.consistency(read, old, size))
    return {"size": old, "root": _base64([tree.root(read, old)])[0], "proof": proof}


def _where(selection: Selection) -> tuple[str, list[str | list[UUID]]]:
    clauses = ""
    values: list[str | list[UUID]] = []
    if selection.event is not None:
        if selection.event.endswith("."):
            clauses, values = clauses + " AND starts_with(r.event, %s)", [*values, selection.event]
        else:
            clauses, values = clauses + " AND r.event = %s", [*values, selection.event]
    for column in ("actor", "correlation_id"):
        value = getattr(selection, column)
        if value is not None:
            clauses, values = clauses + f" AND r.{column} = %s", [*values, value]
    if selection.records is not None:
        clauses, values = clauses + " AND r.id = ANY(%s)", [*values, list(selection.records)]
    # Ids begin with their time.
    for text, clause in ((selection.recorded_since, " AND r.id >= %s"), (selection.recorded_until, " AND r.id < %s")):
        if text is not None:
            clauses, values = clauses + clause, [*values, str(records.floor(datetime.fromisoformat(text)))]
    return clauses, values


def _base64(hashes: Sequence[bytes]) -> list[str]:
    return [base64.b64encode(one).decode() for one in hashes]
