"""Receipts: the promise, signed, that a record is in the log or soon will be. Hand one out only after the commit."""

import base64
from collections.abc import Sequence
from uuid import UUID

import orjson
from django.db import DatabaseError, connections

from audit import canonical, keys, log, verify
from audit.prepared import Prepared
from audit.refusal import not_found

_FIND = Prepared("SELECT id, body, leaf_hash FROM audit_record WHERE id = ANY (%s::uuid[])")


class NotCommitted(DatabaseError):
    """The record is not there: its transaction was rolled back, or is not over."""


def issue(entry: log.Entry) -> str:
    """Return the receipt of a committed record: `placet-receipt-1.<key id>.<payload>.<signature>` in base64url.

    :raises NotCommitted: a block that ended without an error proves no commit. Django rolls back in silence where a
        savepoint could not be rolled back to because the connection was lost, and nobody asked the database since.
    """
    if not entry.commit.done:
        raise NotCommitted(f"The record {entry.id} was not committed, so nothing is promised of it.")
    return _sign(log.moment(entry.at), str(entry.id), entry.leaf_hash, str(entry.workspace))


def reissue(record: UUID, *, using: str = "default") -> str:
    """Return the receipt of a record that was committed earlier; the same as `issue` gave, while the key is the same.

    :raises Refusal: not_found.
    """
    return reissue_all([record], using=using)[0]


def reissue_all(records: Sequence[UUID], *, using: str = "default") -> list[str]:
    """Return the receipts of `records`, in their order. :raises Refusal: not_found, if any is not there."""
    with connections[using].cursor() as cursor:
        cursor.execute(_FIND, [list(records)])
        rows = cursor.fetchall()
    if len(rows) < len(set(records)):
        raise not_found("record")
    found = {record: _sign_again(body, leaf_hash) for record, body, leaf_hash in rows}
    return [found[record] for record in records]


def _sign_again(body: bytes, leaf_hash: bytes) -> str:
    told = orjson.loads(body)
    return _sign(told["at"], told["id"], bytes(leaf_hash), told["workspace"])


def _sign(at: str, record: str, leaf_hash: bytes, workspace: str) -> str:
    key = keys.receipt()
    payload = canonical.dumps({"at": at, "id": record, "leaf": leaf_hash.hex(), "workspace": workspace})
    signed = f"{verify.RECEIPT}.{key.id}.{_base64(payload)}"
    return f"{signed}.{_base64(key.sign(signed.encode()))}"


def _base64(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()
