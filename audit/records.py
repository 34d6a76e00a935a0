"""Reads records and the state of a log, for people: pages and REST. Evidence is an export, not this."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from django.db import connections

from audit import events, keys, proofs
from audit.refusal import not_found

_SELECT = (
    "SELECT r.id, r.workspace, r.event, r.actor, r.correlation_id, r.body, r.leaf_hash, l.index "
    "FROM audit_record r LEFT JOIN audit_leaf l ON l.record = r.id WHERE "
)


@dataclass(frozen=True, slots=True)
class Row:
    """A record as it is shown. `index`: its place in the log, None while it is pending; `at`: its own time."""

    id: UUID
    workspace: UUID
    event: str
    actor: str
    correlation_id: str
    at: datetime
    body: dict[str, Any]
    leaf_hash: bytes
    index: int | None
    text: str  # the body as it is hashed


@dataclass(frozen=True, slots=True)
class Filter:
    """Which records; a member that is None does not narrow. `since` and `until` compare when they were recorded."""

    event: str | None = None  # a name, or a prefix that ends in a dot
    actor: str | None = None
    correlation_id: str | None = None
    since: datetime | None = None
    until: datetime | None = None


@dataclass(frozen=True, slots=True)
class State:
    """Where a log stands: the tree, what waits for it, the newest checkpoint and the key that signs them."""

    size: int
    root: bytes
    pending: int
    oldest_pending: datetime | None
    checkpoint: proofs.Signed | None
    checkpoint_at: datetime | None
    key: str


def get(record: UUID, *, using: str = "default") -> Row:
    """Return one record. :raises Refusal: not_found. The caller checks its workspace."""
    rows = _read("r.id = %s", [record], using)
    if not rows:
        raise not_found("record")
    return rows[0]


def find(workspace: UUID, ids: Iterable[UUID], *, using: str = "default") -> list[Row]:
    """Return those of the records that are the workspace's, the oldest first."""
    return _read("r.workspace = %s AND r.id = ANY(%s) ORDER BY r.id", [workspace, list(ids)], using)


def of_correlation(workspace: UUID, correlation_id: str, *, limit: int = 200, using: str = "default") -> list[Row]:
    """Return what happened under one correlation id, the oldest first."""
    where = "r.workspace = %s AND r.correlation_id = %s ORDER BY r.id LIMIT %s"
    return _read(where, [workspace, correlation_id, limit], using)


def of_correlations(workspace: UUID, prefix: str, *, limit: int = 50, using: str = "default") -> list[Row]:
    """Return what happened under correlation ids that begin with `prefix`, the newest first.

    The bounds are for the index, in whatever order the database sorts texts: ids are made of digits, letters and "-".
    """
    where = (
        "r.workspace = %s AND r.correlation_id >= %s AND r.correlation_id < %s AND starts_with(r.correlation_id, %s) "
        "ORDER BY r.id DESC LIMIT %s"
    )
    return _read(where, [workspace, prefix, f"{prefix}zzz", prefix, limit], using)


def beginning(workspace: UUID, first: UUID, last: UUID, *, limit: int = 50, using: str = "default") -> list[Row]:
    """Return the records whose ids lie from `first` to `last`, the newest first."""
    where = "r.workspace = %s AND r.id >= %s AND r.id <= %s ORDER BY r.id DESC LIMIT %s"
    return _read(where, [workspace, first, last, limit], using)


def newest(
    workspace: UUID,
    *,
    before: UUID | None = None,
    event: str | None = None,
    narrow: Filter | None = None,
    limit: int = 50,
    using: str = "default",
) -> list[Row]:
    """Return a page of records, the newest first; `before` is the last id of the page before it."""
    narrow = narrow or Filter(event=event)
    clauses: dict[str, Any] = {
        "r.actor = %s": narrow.actor,
        "r.correlation_id = %s": narrow.correlation_id,
        "r.id < %s": before,
        # A second bound of the same form needs another text; the planner takes the tighter one.
        "r.id >= %s": narrow.since and floor(narrow.since),
        "%s > r.id": narrow.until and floor(narrow.until),
    }
    chosen = {clause: value for clause, value in clauses.items() if value is not None}
    where = " AND ".join(["r.workspace = %s", *chosen])
    if narrow.event is None:
        return _read(f"{where} ORDER BY r.id DESC LIMIT %s", [workspace, *chosen.values(), limit], using)
    # Event by event, each the newest by its index: a rare one is found without reading the others.
    newest_of_each = (
        "r.id IN (SELECT one.id FROM unnest(%s::text[]) AS wanted (event), LATERAL (SELECT r.id FROM audit_record r "  # noqa: S608 - constants
        f"WHERE r.event = wanted.event AND {where} ORDER BY r.id DESC LIMIT %s) AS one ORDER BY one.id DESC LIMIT %s)"
    )
    values = [_events(narrow.event), workspace, *chosen.values(), limit, limit]
    return _read(f"{newest_of_each} ORDER BY r.id DESC", values, using)


def _events(wanted: str) -> list[str]:
    """Return the events that a filter means: one, or all that begin with it."""
    return [name for name in events.registered() if name.startswith(wanted)] if wanted.endswith(".") else [wanted]


def state(workspace: UUID, *, using: str = "default") -> State:
    """Return where the log of `workspace` stands."""
    with connections[using].cursor() as cursor:
        cursor.execute("SELECT size, root FROM audit_head WHERE workspace = %s", [workspace])
        head = cursor.fetchone() or (0, b"")
        cursor.execute(
            "SELECT count(*), (SELECT record FROM audit_pending WHERE workspace = %s ORDER BY record LIMIT 1) "
            "FROM audit_pending WHERE workspace = %s",
            [workspace, workspace],
        )
        pending, oldest = cursor.fetchone()
        cursor.execute(
            "SELECT size, root, note, at, key FROM audit_checkpoint WHERE workspace = %s "
            "ORDER BY size DESC, at DESC LIMIT 1",
            [workspace],
        )
        row = cursor.fetchone()
    public = keys.public(f"checkpoint-{workspace}")
    return State(
        size=head[0],
        root=bytes(head[1]),
        pending=pending,
        oldest_pending=recorded_at(oldest) if oldest else None,
        checkpoint=proofs.Signed(row[0], bytes(row[1]), row[2]) if row else None,
        checkpoint_at=row[3] if row else None,
        key=row[4] if row else (public[-1] if public else ""),
    )


def recorded_at(record: UUID) -> datetime:
    """Return when a record was made: the first 48 bits of its id are Unix milliseconds."""
    return datetime.fromtimestamp((record.int >> 80) / 1000, UTC)


def floor(moment: datetime) -> UUID:
    """Return what no id of a record that was made at `moment` or later is smaller than."""
    return UUID(int=max(0, int(moment.timestamp() * 1000)) << 80)


def _read(where: str, parameters: Sequence[Any], using: str) -> list[Row]:
    with connections[using].cursor() as cursor:
        cursor.execute(_SELECT + where, parameters)
        rows = cursor.fetchall()
    return [_row(*row) for row in rows]


def _row(
    record: UUID,
    workspace: UUID,
    event: str,
    actor: str,
    correlation_id: str,
    body: bytes,
    leaf_hash: bytes,
    index: int | None,
) -> Row:
    text = bytes(body).decode()
    members = json.loads(text)
    at = datetime.fromisoformat(members["at"])
    return Row(record, workspace, event, actor, correlation_id, at, members, bytes(leaf_hash), index, text)
