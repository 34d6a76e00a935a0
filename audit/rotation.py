"""Rotates the keys that the trail uses. Each rotation is a record; what is old still verifies and makes nothing new.

A file and a record cannot change in one transaction, so the record comes first: whoever dies between the two leaves a
rotation on record that never happened, which a second one puts right, and never one that nobody knows of.

A checkpoint's next key is announced in its own log, in a note that the present key signs: the publisher goes over to
it once a checkpoint by the present key holds the announcement. So who pinned the old key follows to the new one, and a
key that nobody announced proves nothing, whoever wrote the record.
"""

import contextlib
from datetime import datetime
from pathlib import Path
from uuid import UUID

from django.conf import settings
from django.db import connection, connections, transaction
from django.db.backends.utils import CursorWrapper

from audit import crash, keyfiles, keys, log, vault, verify
from audit.refusal import Refusal

ACTOR = "system:keys"
# What is an HMAC, a key that wraps others, or one that seals: file -> what it is for.
SECRETS = {
    "calls.hmac": "what a call's key stands for, and the key that its tool sees",
    "executor.hmac": "keys of steps, and what a run's key stands for",
    "tokens.hmac": "tokens that stand for values",
    "factors": "people's second factors, sealed",
    "values.kek": "wraps the keys of sealed values",
    "subjects.key": "finds the key of a data subject",
}
# An old one of these is never dropped: nothing says which rows still need it.
KEPT = frozenset({"subjects.key", "factors"})


def announce(workspace: UUID, *, now: datetime, correlation_id: str) -> keys.SigningKey:
    """Make the next checkpoint key of a log and announce it there under the present one. Idempotent until it is used.

    :raises keys.KeyMissing: the log has no key yet.
    """
    present = keys.checkpoint(workspace)
    path = next_path(workspace)
    if not path.exists():
        text, _ = keys.fresh_signing(present.name)
        keyfiles.write_once(path, text, mode=0o600)
    coming = keys.load(path)
    crash.point("audit.rotation.coming")
    with transaction.atomic(), connection.cursor() as cursor:
        if _announced(cursor, workspace, coming, present) is None:
            note = present.sign_note(f"{verify.ANNOUNCEMENT}\n{coming.public}\n")
            log.append(
                verify.ANNOUNCED,
                workspace=workspace,
                actor=ACTOR,
                correlation_id=correlation_id,
                now=now,
                subjects={"key": coming.id, "previous": present.id},
                data={"note": note},
            )
    crash.point("audit.rotation.announced")
    return coming


def promote(cursor: CursorWrapper, workspace: UUID) -> bool:
    """Let the publisher sign with the announced key from now on, if a checkpoint by the present one shows it.

    Safe to be killed anywhere: the public half is listed before the private one takes its place.
    """
    path = next_path(workspace)
    if not path.exists():
        return False
    coming, present = keys.load(path), keys.checkpoint(workspace)
    index = _announced(cursor, workspace, coming, present)
    if index is None or index < 0:
        return False
    cursor.execute(
        "SELECT 1 FROM audit_checkpoint WHERE workspace = %s AND size > %s AND key = %s LIMIT 1",
        [workspace, index, present.public],
    )
    if cursor.fetchone() is None:
        return False
    list_public(f"checkpoint-{workspace}", coming.public)
    crash.point("audit.rotation.promoting")
    path.replace(path.with_name(f"checkpoint-{workspace}.key"))
    crash.point("audit.rotation.promoted")
    return True


def next_path(workspace: UUID) -> Path:
    """Return where the announced key waits."""
    return Path(settings.PLACET_KEYS) / f"checkpoint-{workspace}.next"


def rotate_receipt(*, now: datetime, correlation_id: str) -> keys.SigningKey:
    """Sign receipts with a new key from now on; the old one's public half stays listed."""
    present = keys.receipt()
    text, coming = keys.fresh_signing(present.name)
    record("rotated", "receipt", coming.id, now=now, correlation_id=correlation_id, public=coming.public)
    crash.point("audit.rotation.receipt_recorded")
    list_public("receipt", coming.public)
    crash.point("audit.rotation.receipt_listed")
    keyfiles.replace(settings.PLACET_KEYS / "receipt.key", text, mode=0o600)
    crash.point("audit.rotation.receipt_rotated")
    return coming


def rotate_secret(name: str, *, now: datetime, correlation_id: str) -> str:
    """Put a new secret before the old ones; return what it is called."""
    known = keys.every_secret(name)
    fresh = keys.fresh_secret()
    text, new = "".join(raw.hex() + "\n" for raw in reversed(known)) + fresh, keys.secret_id(bytes.fromhex(fresh))
    record("rotated", name, new, now=now, correlation_id=correlation_id, previous=keys.secret_id(known[0]))
    crash.point("audit.rotation.secret_recorded")
    keyfiles.replace(settings.PLACET_KEYS / name, text, mode=0o600)
    crash.point("audit.rotation.secret_rotated")
    return new


def retire_secret(name: str, *, now: datetime, correlation_id: str) -> int:
    """Drop every secret but the newest; return how many.

    :raises Refusal: key_needed: there are values, or may be, that only an old one opens.
    """
    known = keys.every_secret(name)
    if name in KEPT:
        detail = f"Old secrets of {name} are kept: nothing tells which rows still need one."
        raise Refusal("key_needed", detail, status=409)
    if name == "values.kek" and (left := vault.wrapped_by_others()):
        detail = f"{left} data keys are wrapped by an older key; run `manage.py keys rewrap` first."
        raise Refusal("key_needed", detail, status=409)
    gone = [keys.secret_id(raw) for raw in known[1:]]
    if gone:
        record("retired", name, keys.secret_id(known[0]), now=now, correlation_id=correlation_id, gone=gone)
        crash.point("audit.rotation.secret_retiring")
        keyfiles.replace(settings.PLACET_KEYS / name, known[0].hex() + "\n", mode=0o600)
        crash.point("audit.rotation.secret_retired")
    return len(gone)


def rewrap(*, now: datetime, correlation_id: str) -> int:
    """Wrap every data key with the newest KEK; the values themselves stay as they are. Return how many were changed."""
    due = vault.wrapped_by_others()
    if not due:
        return 0
    new = keys.secret_id(keys.secret("values.kek"))
    record("rewrapped", "values.kek", new, now=now, correlation_id=correlation_id, count=due)
    crash.point("audit.rotation.rewrapping")
    count = vault.rewrap()
    crash.point("audit.rotation.rewrapped")
    return count


def record(what: str, name: str, key: str, *, now: datetime, correlation_id: str, **data: object) -> None:
    """Put it on record in every log: such a key belongs to all workspaces."""
    with transaction.atomic():
        for workspace in _workspaces():
            log.append(
                f"audit.key.{what}",
                workspace=workspace,
                actor=ACTOR,
                correlation_id=correlation_id,
                now=now,
                subjects={"key": key},
                data={"name": name, **data},
            )


def list_public(stem: str, public: str) -> None:
    """Add a public key to `<stem>.pub`, if it is not there."""
    listed = keys.public(stem)
    if public not in listed:
        text = "".join(f"{line}\n" for line in [*listed, public])
        keyfiles.replace(settings.PLACET_KEYS / f"{stem}.pub", text, mode=0o644)


def _announced(cursor: CursorWrapper, workspace: UUID, coming: keys.SigningKey, present: keys.SigningKey) -> int | None:
    """Return the index of the record in which the present key announces the next; -1 while pending, None for none."""
    wanted = (verify.read_key(present.public), verify.read_key(coming.public))
    for index, signer, key, _ in announcements(cursor, workspace):
        if (signer, key) == wanted:
            return -1 if index is None else index
    return None


def announcements(cursor: CursorWrapper, workspace: UUID) -> list[tuple[int | None, verify.Key, verify.Key, bytes]]:
    """Return (index, signer, announced key, body) of each announcement by one of the log's keys, in its order.

    A record of that name without such a signature, as a compromised process could write one, announces nothing.
    """
    cursor.execute(
        "SELECT l.index, r.body FROM audit_record r LEFT JOIN audit_leaf l ON l.record = r.id "
        "WHERE r.workspace = %s AND r.event = %s ORDER BY l.index",
        [workspace, verify.ANNOUNCED],
    )
    pinned, found = [verify.read_key(line) for line in keys.public(f"checkpoint-{workspace}")], []
    for index, raw in cursor.fetchall():
        with contextlib.suppress(verify.NotVerified):
            signer, key = verify.read_announcement(bytes(raw), str(workspace), pinned)
            found.append((index, signer, key, bytes(raw)))
    return found


def _workspaces() -> list[UUID]:
    with connections["default"].cursor() as cursor:
        cursor.execute("SELECT workspace FROM audit_head ORDER BY workspace")
        return [row[0] for row in cursor.fetchall()]
