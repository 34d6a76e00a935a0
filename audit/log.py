"""The only writer of the trail."""

import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, NamedTuple
from uuid import UUID

from django.db import connections
from django.db.backends.utils import CursorWrapper

from audit import canonical, events, prepared, tree, vault, verify
from audit.prepared import Prepared
from audit.uuid7 import uuid7

LONGEST_BODY = 65_535  # an entry of c2sp.org/tlog-tiles has a 16-bit length
_ACTOR = re.compile(r"(person|credential|system):[A-Za-z0-9._-]{1,100}")
PARAMETERS = 11  # of a draft, as the functions of migration 0009 take them; in its order
_APPEND = Prepared(f"SELECT audit_append({', '.join(['%s'] * PARAMETERS)})")


@dataclass(frozen=True, slots=True)
class Sealed:
    """A personal or secret value in `data`: the record only commits to it; the value is kept encrypted, apart.

    :param value: JSON.
    :param subject: whose it is; erasing that subject erases the value.
    """

    value: Any
    subject: str


class Commit:
    """Whether the transaction of a record was committed. Only the connection knows: a block can end without it."""

    __slots__ = ("done",)

    def __init__(self) -> None:
        self.done = False

    def note(self) -> None:
        """It was."""
        self.done = True


class Entry(NamedTuple):
    """What was appended. It counts once the transaction is committed."""

    id: UUID
    event: str
    body: bytes
    leaf_hash: bytes
    at: datetime
    workspace: UUID
    commit: Commit


_PLAIN = frozenset({str, int, bool, type(None)})
# A place in `data`: (where its parent stands, name or index); joined to a JSON pointer only where a value is sealed.
_Path = tuple[Any, ...]


class _Committed(NamedTuple):
    path: str
    subject: str
    nonce: bytes
    value: bytes


class Draft(NamedTuple):
    """A record that is made but not appended. What it commits to is sealed when it is."""

    entry: Entry
    actor: str
    correlation_id: str
    values: tuple[vault.Value, ...]

    def parameters(self, cursor: CursorWrapper) -> list[Any]:
        """Return the PARAMETERS of audit_insert and audit_append, the values sealed with the keys of this moment.

        A function of the database that calls audit_insert, together with the change that the record tells of, is a
        transaction of its own. It first asks audit_kept, and if that says no, `forget` and seal again. Once it is
        done, say that it is `appended`.
        """
        entry = self.entry
        row = [entry.id, entry.workspace, entry.event, self.actor, self.correlation_id, entry.body, entry.leaf_hash]
        sealed = vault.seal(cursor, entry.workspace, self.values)
        boxes = prepared.blobs(sealed.boxes)
        return [*row, prepared.ids(sealed.ids), prepared.texts(sealed.paths), prepared.ids(sealed.keys), boxes]

    def appended(self, *, using: str = "default") -> None:
        """Note the commit: of the caller's transaction once it comes, or of the statement that has just succeeded."""
        connections[using].on_commit(self.entry.commit.note)

    def forget(self) -> None:
        """Forget the keys of the values: a subject was erased meanwhile."""
        vault.forget(self.entry.workspace, self.values)


def append(
    event: str,
    *,
    workspace: UUID,
    actor: str,
    correlation_id: str,
    now: datetime,
    subjects: Mapping[str, str] | None = None,
    data: Mapping[str, Any] | None = None,
    using: str = "default",
) -> Entry:
    """Append a record in the caller's transaction: it is there if, and only if, what it tells of is there.

    :param event: `<app>.<noun>.<past participle>`, registered by its app.
    :param actor: `person:<uuid>`, `credential:<uuid>` or `system:<process>`.
    :param now: aware; when it happened.
    :param subjects: what it is about, name -> digest or id; no personal data.
    :param data: JSON, in which `Sealed` may stand for values.
    :raises RuntimeError: outside a transaction.
    :raises ValueError: unknown event, malformed actor, data without canonical form, or a body past 65,535 bytes.
    """
    connection = connections[using]
    if not connection.in_atomic_block:
        raise RuntimeError("A record is appended in the transaction of the change that it records.")
    made = draft(
        event, workspace=workspace, actor=actor, correlation_id=correlation_id, now=now, subjects=subjects, data=data
    )
    with connection.cursor() as cursor:
        for _ in range(vault.TRIES):
            cursor.execute(_APPEND, made.parameters(cursor))
            if cursor.fetchone()[0] is True:
                made.appended(using=using)
                return made.entry
            made.forget()
    raise RuntimeError(vault.BEING_ERASED)


def draft(
    event: str,
    *,
    workspace: UUID,
    actor: str,
    correlation_id: str,
    now: datetime,
    subjects: Mapping[str, str] | None = None,
    data: Mapping[str, Any] | None = None,
) -> Draft:
    """Make a record for a statement of the caller's that appends it. As `append`; nothing is written."""
    events.require(event)
    if not _ACTOR.fullmatch(actor):
        raise ValueError(f"{actor!r} is no actor: expected person:, credential: or system:.")
    record_id = uuid7()
    values: list[_Committed] = []
    body = canonical.dumps(
        {
            "actor": actor,
            "at": moment(now),
            "correlation_id": correlation_id,
            "data": _commit(data or {}, ((), "data"), str(record_id), values),
            "event": event,
            "format": verify.RECORD,
            "id": str(record_id),
            "subjects": dict(subjects or {}),
            "workspace": str(workspace),
        }
    )
    if len(body) > LONGEST_BODY:
        raise ValueError(
            f"The record of {event} has {len(body)} bytes; at most {LONGEST_BODY} fit. Seal what is large."
        )
    kept = tuple(vault.Value(record_id, one.path, one.subject, one.nonce + one.value) for one in values)
    entry = Entry(record_id, event, body, tree.leaf(body), now, workspace, Commit())
    return Draft(entry, actor, correlation_id, kept)


def moment(at: datetime) -> str:
    """Return a time as records tell it: UTC, microseconds, `Z`."""
    return at.astimezone(UTC).isoformat(timespec="microseconds").removesuffix("+00:00") + "Z"


def _commit(value: Any, path: _Path, record: str, values: list[_Committed]) -> Any:
    """Return `value` with each `Sealed` in it replaced by its commitment, and collect what was sealed."""
    kind = type(value)
    if kind in _PLAIN:
        return value
    if kind is Sealed:
        one = _Committed(_pointer(path), value.subject, secrets.token_bytes(vault.NONCE), canonical.dumps(value.value))
        values.append(one)
        return {"$sealed": verify.commitment(record, one.path, one.nonce, one.value)}
    if kind is dict or isinstance(value, Mapping):
        if "$sealed" in value:
            raise ValueError("The member $sealed is reserved for commitments.")
        return {name: _commit(member, (path, name), record, values) for name, member in value.items()}
    if isinstance(value, (list, tuple)):
        return [_commit(member, (path, at), record, values) for at, member in enumerate(value)]
    return str(value) if kind is UUID else value


def _pointer(path: _Path) -> str:
    parts = []
    while path:
        path, name = path
        parts.append(str(name).replace("~", "~0").replace("/", "~1"))
    return "".join(f"/{part}" for part in reversed(parts))
