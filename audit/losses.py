"""A log that cannot go on as it was begins a new epoch: a new key, a new origin, and a record that says why.

Records that were published and are lost, or a signing key that is: under the old name the log would have to sign a
second history, or could sign nothing. So it never does. What it signed before stays as it is and verifies with the old
key; what comes is of another origin, and its first checkpoint covers the record that names the break and holds the old
checkpoint as it was published.
"""

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import orjson
from django.conf import settings
from django.db import connections, transaction

from audit import crash, keyfiles, keys, log, publisher, rotation, sequencer, verify
from audit.refusal import Refusal

ACKNOWLEDGED = "audit.loss.acknowledged"


@dataclass(frozen=True)
class Loss:
    """What is acknowledged. `what`: records, key, or unproven: nobody knows whether records are lost.

    `note`: the largest checkpoint that was published, if one was.
    """

    what: str
    note: str
    reason: str


def acknowledged(workspace: UUID, *, using: str = "default") -> set[str]:
    """Return the checkpoints whose records were acknowledged to be lost: the log is not held to them any more.

    Only those of an earlier epoch: a record alone, which a compromised process could write, excuses nothing.
    """
    try:
        origin = keys.checkpoint(workspace).name
    except keys.KeyMissing:
        return set()
    told = [body["data"] for body in _told(workspace, using)]
    return {data["note"] for data in told if data["what"] == "records" and data["note"].partition("\n")[0] != origin}


def begin_epoch(
    workspace: UUID, loss: Loss, *, actor: str, now: datetime, correlation_id: str, using: str = "default"
) -> keys.SigningKey:
    """Acknowledge a loss and let the log go on under a new key. Return it. Safe to be repeated when it was cut short.

    :raises Refusal: reason_missing. :raises verify.NotVerified: the note is by none of the log's keys.
    """
    if not loss.reason.strip():
        raise Refusal("reason_missing", "Say what happened and why it cannot be restored.", field="reason")
    size = verify.open_checkpoint(loss.note, publisher.pinned(workspace)).size if loss.note else 0
    coming = _coming(workspace)
    crash.point("audit.losses.coming")
    with transaction.atomic(using=using):
        _record(workspace, loss, size, coming, actor, now, correlation_id, using)
    crash.point("audit.losses.recorded")
    # The first checkpoint of the new key has to cover the record: so it is in the tree before the key is in its place.
    sequencer.drain(workspace, using=using)
    crash.point("audit.losses.drained")
    with publisher.alone(workspace, using=using):
        _change_over(workspace, coming)
    # Only now: as long as the old key is there, the publisher has to go on refusing.
    settle_copy(workspace, using=using)
    return coming


def begun(workspace: UUID, *, instead_of: str = "", using: str = "default") -> bool:
    """Say whether the log's present key is one that an acknowledged loss has put in its place.

    :param instead_of: the id of the key that was there before, which is none.
    """
    try:
        present = keys.checkpoint(workspace).id
    except keys.KeyMissing:
        return False
    return present != instead_of and any(body["subjects"]["key"] == present for body in _told(workspace, using))


def relist(workspace: UUID, *, using: str = "default") -> None:
    """Where the public halves were lost with the key, take them from the checkpoints; the new key vouches for none."""
    stem = f"checkpoint-{workspace}"
    if keys.public(stem):
        return
    with connections[using].cursor() as cursor:
        cursor.execute(
            "SELECT key FROM audit_checkpoint WHERE workspace = %s GROUP BY key ORDER BY min(size)", [workspace]
        )
        for (key,) in cursor.fetchall():
            rotation.list_public(stem, key)


def _coming(workspace: UUID) -> keys.SigningKey:
    path = Path(settings.PLACET_KEYS) / f"checkpoint-{workspace}.epoch"
    if not path.exists():
        names = {line.split("+")[0] for line in keys.public(f"checkpoint-{workspace}")}
        text, _ = keys.fresh_signing(keys.log_name(workspace, epoch=len(names) + 1))
        keyfiles.write_once(path, text, mode=0o600)
    return keys.load(path)


def _record(
    workspace: UUID,
    loss: Loss,
    size: int,
    coming: keys.SigningKey,
    actor: str,
    now: datetime,
    correlation_id: str,
    using: str,
) -> None:
    """Append the record, unless an attempt that was cut short did it already."""
    with connections[using].cursor() as cursor:
        cursor.execute("SELECT coalesce((SELECT size FROM audit_head WHERE workspace = %s), 0)", [workspace])
        kept = cursor.fetchone()[0]
    if any(body["subjects"]["key"] == coming.id for body in _told(workspace, using)):
        return
    known = keys.public(f"checkpoint-{workspace}")
    log.append(
        ACKNOWLEDGED,
        workspace=workspace,
        actor=actor,
        correlation_id=correlation_id,
        now=now,
        subjects={"key": coming.id, "previous": known[-1].split("+")[1] if known else ""},
        data={
            "what": loss.what,
            "published": size,
            "database": kept,
            "note": loss.note,
            "origin": coming.name,
            "reason": log.Sealed(loss.reason, subject=actor),
        },
        using=using,
    )


def _told(workspace: UUID, using: str) -> list[dict[str, Any]]:
    """Return every acknowledgement in the log, pending ones too."""
    with connections[using].cursor() as cursor:
        cursor.execute("SELECT body FROM audit_record WHERE workspace = %s AND event = %s", [workspace, ACKNOWLEDGED])
        return [orjson.loads(bytes(body)) for (body,) in cursor.fetchall()]


def settle_copy(workspace: UUID, *, using: str = "default") -> None:
    """Lay a copy aside whose records were acknowledged to be lost, and compare with the database's last one instead.

    The copy stays beside, as evidence. Does nothing unless the log is in a later epoch.
    """
    place = publisher.copy_path(workspace)
    note = place.read_text(encoding="utf-8") if place.exists() else ""
    if note not in acknowledged(workspace, using=using):
        return
    with publisher.alone(workspace, using=using):
        keyfiles.write_once(place.with_name(f"{workspace}.lost-{note.splitlines()[1]}.note"), note, mode=0o644)
        crash.point("audit.losses.kept")
        last = publisher.last_row(workspace, using=using)
        if last is None:
            place.unlink()
        else:
            keyfiles.replace(place, last, mode=0o644)
    crash.point("audit.losses.settled")


def _change_over(workspace: UUID, coming: keys.SigningKey) -> None:
    """Put the new key in its place. The old one signs nothing from here on."""
    rotation.next_path(workspace).unlink(missing_ok=True)
    rotation.list_public(f"checkpoint-{workspace}", coming.public)
    keys.note_fresh(workspace, coming)
    crash.point("audit.losses.listed")
    waiting = Path(settings.PLACET_KEYS) / f"checkpoint-{workspace}.epoch"
    waiting.replace(waiting.with_suffix(".key"))
    keyfiles.sync(waiting.parent)  # or a power cut brings the old key back
    crash.point("audit.losses.changed")
