"""Personal and secret values: open what is sealed, store what must be erasable, erase a data subject."""

from datetime import datetime
from typing import Any
from uuid import UUID

from django.db import connections, transaction

from audit import canonical, log, vault, verify
from audit.refusal import Refusal, not_found

JSON = Any


class Erased(Refusal):
    """The value was sealed for a data subject who has been erased since."""

    def __init__(self) -> None:
        super().__init__("value_erased", "The value was erased with its data subject; the record remains.", status=410)


def open_value(record: UUID, path: str, *, using: str = "default") -> JSON:
    """Return the value that `record` commits to at `path` (a JSON pointer into its body, such as /data/arguments).

    :raises Refusal: not_found if there is none. :raises Erased: if its subject was erased.
    """
    return canonical.loads(_committed(record, path, using)[vault.NONCE :], max_bytes=1 << 30, field="sealed value")


def disclose(record: UUID, path: str, *, using: str = "default") -> bytes:
    """Return the line of a VALUES file with which verify.py checks the value against its commitment."""
    plain = _committed(record, path, using)
    return canonical.dumps(
        {
            "format": verify.VALUE,
            "nonce": plain[: vault.NONCE].hex(),
            "path": path,
            "record": str(record),
            "value": plain[vault.NONCE :].decode(),
        }
    )


def seal_blob(value: JSON, *, workspace: UUID, subject: str, using: str = "default") -> UUID:
    """Keep `value`, encrypted and erasable with `subject`; return the id that opens it."""
    with connections[using].cursor() as cursor:
        return vault.put(cursor, workspace, vault.Value(None, "", subject, canonical.dumps(value)))


def open_blob(blob: UUID, *, using: str = "default") -> JSON:
    """Return what `seal_blob` kept. :raises Refusal: not_found. :raises Erased: if its subject was erased."""
    with connections[using].cursor() as cursor:
        found = vault.get(cursor, "v.id = %s AND v.record IS NULL", [blob])
    return canonical.loads(_plain(found), max_bytes=1 << 30, field="sealed value")


def erase(
    workspace: UUID, subject: str, *, actor: str, now: datetime, correlation_id: str, using: str = "default"
) -> log.Entry:
    """Destroy the key of `subject`: every value sealed for them becomes unreadable. The erasure is itself a record.

    The record names the destroyed key, not the person: who that was must not outlive the erasure here.
    """
    with transaction.atomic(using=using), connections[using].cursor() as cursor:
        key = vault.destroy(cursor, workspace, subject)
        return log.append(
            "audit.subject.erased",
            workspace=workspace,
            actor=actor,
            correlation_id=correlation_id,
            now=now,
            data={"key": key},
            using=using,
        )


def _committed(record: UUID, path: str, using: str) -> bytes:
    with connections[using].cursor() as cursor:
        return _plain(vault.get(cursor, "v.record = %s AND v.path = %s", [record, path]))


def _plain(found: tuple[UUID, bytes | None] | None) -> bytes:
    if found is None:
        raise not_found("value")
    if found[1] is None:
        raise Erased
    return found[1]
