"""Where sealed values lie: boxed under a key of their data subject, which itself lies wrapped.

Each data subject of a workspace has a data key, wrapped by the KEK (file `values.kek`). Boxes are AES-256-GCM, bound
to their place, so that none can be put in another's stead. Destroying the data key erases all its values at once.
"""

import contextlib
import hmac
import secrets
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from threading import Lock
from typing import NamedTuple
from uuid import UUID

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from django.db import connections, transaction
from django.db.backends.utils import CursorWrapper

from audit import keys
from audit.prepared import Prepared
from audit.uuid7 import uuid7

NONCE = 32
_IV = 12
_MOST_CACHED = 10_000
KEPT_SECONDS = 60.0
_FIND_KEY = Prepared("SELECT id, wrapped FROM audit_valuekey WHERE workspace = %s AND subject = ANY (%s::bytea[])")
TRIES = 3
BEING_ERASED = "A value could not be sealed: its subject is being erased."
_KEEP = Prepared(
    "INSERT INTO audit_sealedvalue (id, workspace, record, path, key, box) "
    "SELECT %s, %s, NULL, '', k.id, %s FROM audit_valuekey k WHERE k.id = %s"
)


class DataKey(NamedTuple):
    """The key of one data subject in one workspace."""

    id: UUID
    cipher: AESGCM
    until: float  # of the monotonic clock: kept in memory no longer


@dataclass(frozen=True, slots=True)
class Value:
    """A value to keep. `record` and `path`: where a record commits to it, or None and ''; `plain`: its bytes."""

    record: UUID | None
    path: str
    subject: str
    plain: bytes


# What this process has unwrapped, the oldest first. A value goes in only while its key is in the table, and none is
# opened by what is here, so an erasure counts at once; that the key is gone from every memory too takes KEPT_SECONDS.
_cache: dict[tuple[UUID, bytes], DataKey] = {}
_lock = Lock()


class Sealing(NamedTuple):
    """Sealed values, column by column."""

    ids: list[UUID]
    paths: list[str]
    keys: list[UUID]
    boxes: list[bytes]


def seal(cursor: CursorWrapper, workspace: UUID, values: Sequence[Value]) -> Sealing:
    """Seal `values` with the keys of their subjects. Nothing is kept yet."""
    sealed = Sealing([], [], [], [])
    tags = {subject: _tags(workspace, subject) for subject in {value.subject for value in values}}
    ivs = secrets.token_bytes(_IV * len(values))
    for at, value in enumerate(values):
        key = _data_key(cursor, workspace, tags[value.subject])
        value_id, iv = uuid7(), ivs[at * _IV : (at + 1) * _IV]
        box = iv + key.cipher.encrypt(iv, value.plain, _place(value_id, workspace, value.record, value.path))
        sealed.ids.append(value_id)
        sealed.paths.append(value.path)
        sealed.keys.append(key.id)
        sealed.boxes.append(box)
    return sealed


def forget(workspace: UUID, values: Sequence[Value]) -> None:
    """Forget the keys of the subjects of `values`: one of them was erased."""
    for subject in {value.subject for value in values}:
        _forget(workspace, _tags(workspace, subject))


def put(cursor: CursorWrapper, workspace: UUID, value: Value) -> UUID:
    """Keep a value that belongs to no record; return its id.

    :raises RuntimeError: if its subject is erased again and again meanwhile.
    """
    for _ in range(TRIES):
        ids, _paths, keys_used, boxes = seal(cursor, workspace, [value])
        cursor.execute(_KEEP, [ids[0], workspace, boxes[0], keys_used[0]])
        if cursor.rowcount:
            return ids[0]
        forget(workspace, [value])
    raise RuntimeError(BEING_ERASED)


@cache
def _find(where: str) -> Prepared:
    return Prepared(
        "SELECT v.id, v.workspace, v.record, v.path, v.box, k.id, k.wrapped "  # noqa: S608 - `where` is a constant of ours
        f"FROM audit_sealedvalue v LEFT JOIN audit_valuekey k ON k.id = v.key WHERE {where}"
    )


def get(cursor: CursorWrapper, where: str, parameters: Sequence[UUID | str]) -> tuple[UUID, bytes | None] | None:
    """Return workspace and plain bytes of the one value that `where` names; None for what is erased, or not there.

    :param where: a constant text; each is prepared once.
    """
    cursor.execute(_find(where), parameters)
    row = cursor.fetchone()
    if row is None:
        return None
    value_id, workspace, record, path, box, key_id, wrapped = row
    if wrapped is None:
        return workspace, None
    box = bytes(box)
    key = _unwrap(key_id, workspace, bytes(wrapped))
    return workspace, AESGCM(key).decrypt(box[:_IV], box[_IV:], _place(value_id, workspace, record, path))


def destroy(cursor: CursorWrapper, workspace: UUID, subject: str) -> UUID | None:
    """Delete the key of `subject`; return its id, or None if nothing was held."""
    tags = _tags(workspace, subject)
    _forget(workspace, tags)
    cursor.execute(
        "DELETE FROM audit_valuekey WHERE workspace = %s AND subject = ANY (%s) RETURNING id", [workspace, tags]
    )
    row = cursor.fetchone()
    return row[0] if row else None


def rewrap(*, batch: int = 500, using: str = "default") -> int:
    """Wrap every data key with the newest KEK; return how many were wrapped by another. Erasure may go on beside it."""
    done = 0
    newest = keys.secret("values.kek")
    while True:
        with transaction.atomic(using=using), connections[using].cursor() as cursor:
            cursor.execute(
                "SELECT id, workspace, wrapped FROM audit_valuekey WHERE kek <> %s LIMIT %s FOR UPDATE SKIP LOCKED",
                [keys.secret_id(newest), batch],
            )
            rows = cursor.fetchall()
            for key_id, workspace, wrapped in rows:
                raw = _unwrap(key_id, workspace, bytes(wrapped))
                cursor.execute(
                    "UPDATE audit_valuekey SET wrapped = %s, kek = %s WHERE id = %s",
                    [_wrap(newest, raw, key_id, workspace), keys.secret_id(newest), key_id],
                )
        done += len(rows)
        if len(rows) < batch:
            return done


def wrapped_by_others(*, using: str = "default") -> int:
    """Return how many data keys need another KEK than the newest."""
    with connections[using].cursor() as cursor:
        cursor.execute(
            "SELECT count(*) FROM audit_valuekey WHERE kek <> %s", [keys.secret_id(keys.secret("values.kek"))]
        )
        count: int = cursor.fetchone()[0]
    return count


def _data_key(cursor: CursorWrapper, workspace: UUID, tags: list[bytes]) -> DataKey:
    tag = tags[0]
    cached = _cache.get((workspace, tag))
    if cached and cached.until > time.monotonic():
        return cached
    for _ in range(3):
        cursor.execute(_FIND_KEY, [workspace, tags])
        row = cursor.fetchone()
        if row:
            return _keep(workspace, tag, row[0], _unwrap(row[0], workspace, bytes(row[1])))
        key_id, kek, raw = uuid7(), keys.secret("values.kek"), secrets.token_bytes(32)
        wrapped = _wrap(kek, raw, key_id, workspace)
        cursor.execute(
            "INSERT INTO audit_valuekey (id, workspace, subject, wrapped, kek) VALUES (%s, %s, %s, %s, %s) "
            "ON CONFLICT (workspace, subject) DO NOTHING",
            [key_id, workspace, tag, wrapped, keys.secret_id(kek)],
        )
        if cursor.rowcount:  # else another process was quicker
            return _keep(workspace, tag, key_id, raw)
    raise RuntimeError(BEING_ERASED)


def _keep(workspace: UUID, tag: bytes, key_id: UUID, raw: bytes) -> DataKey:
    now = time.monotonic()
    key = DataKey(key_id, AESGCM(raw), now + KEPT_SECONDS)
    with _lock:
        _cache.pop((workspace, tag), None)  # to the end
        _cache[workspace, tag] = key
        while (oldest := next(iter(_cache.items())))[1].until <= now or len(_cache) > _MOST_CACHED:
            del _cache[oldest[0]]
    return key


def _forget(workspace: UUID, tags: list[bytes]) -> None:
    with _lock:
        for tag in tags:
            _cache.pop((workspace, tag), None)


def _wrap(kek: bytes, raw: bytes, key_id: UUID, workspace: UUID) -> bytes:
    iv = secrets.token_bytes(_IV)
    return iv + AESGCM(kek).encrypt(iv, raw, _key_place(key_id, workspace))


def _unwrap(key_id: UUID, workspace: UUID, wrapped: bytes) -> bytes:
    """Open a data key with the KEK that it was wrapped by. :raises InvalidTag: none of ours."""
    for kek in keys.every_secret("values.kek"):
        with contextlib.suppress(InvalidTag):
            return AESGCM(kek).decrypt(wrapped[:_IV], wrapped[_IV:], _key_place(key_id, workspace))
    raise InvalidTag


def _tags(workspace: UUID, subject: str) -> list[bytes]:
    # With a key of its own, so that the KEK can be changed and a copy of the table does not tell who is in it.
    told = workspace.bytes + subject.encode()
    return [hmac.digest(secret, told, "sha256") for secret in keys.every_secret("subjects.key")]


def _key_place(key_id: UUID, workspace: UUID) -> bytes:
    return b"placet.data-key/1" + key_id.bytes + workspace.bytes


def _place(value_id: UUID, workspace: UUID, record: UUID | None, path: str) -> bytes:
    return (
        b"placet.value/1" + value_id.bytes + workspace.bytes + (record.bytes if record else bytes(16)) + path.encode()
    )
