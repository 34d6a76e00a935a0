"""Receipts: the promise, signed, that a record is in the log or soon will be. Hand one out only after the commit."""

import base64
from uuid import UUID

import orjson
from django.db import DatabaseError, connections

from audit import canonical, keys, verify
from audit.log import Entry
from audit.refusal import not_found


class NotCommitted(DatabaseError):
    """The record is not there: its transaction was rolled back, or is not over."""


def issue(entry: Entry) -> str:
    """Return the receipt of a committed record: `placet-receipt-1.<key id>.<payload>.<signature>` in base64url.

    :raises NotCommitted: a block that ended without an error proves no commit. Django rolls back in silence where a
        savepoint could not be rolled back to because the connection was lost, and nobody asked the database since.
    """
    if not entry.commit.done:
        raise NotCommitted(f"The record {entry.id} was not committed, so nothing is promised of it.")
    return _sign(entry.body, entry.leaf_hash)


def reissue(record: UUID, *, using: str = "default") -> str:
    """Return the receipt of a record that was committed earlier; the same as `issue` gave, while the key is the same.

    :raises Refusal: not_found.
    """
    with connections[using].cursor() as cursor:
        cursor.execute("SELECT body, leaf_hash FROM audit_record WHERE id = %s", [record])
        row = cursor.fetchone()
    if row is None:
        raise not_found("record")
    return _sign(bytes(row[0]), bytes(row[1]))


def _sign(body: bytes, leaf_hash: bytes) -> str:
    key, record = keys.receipt(), orjson.loads(body)
    payload = canonical.dumps(
        {"at": record["at"], "id": record["id"], "leaf": leaf_hash.hex(), "workspace": record["workspace"]}
    )
    signed = f"{verify.RECEIPT}.{key.id}.{_base64(payload)}"
    return f"{signed}.{_base64(key.sign(signed.encode()))}"


def _base64(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()
