"""Signs committed heads as checkpoints, and refuses whatever does not continue what was signed before.

Apart from the sequencer on purpose: a signature is released only for a head that is committed already. The last
checkpoint is also kept as a file outside the database, so that a database that was set back, or rewritten together
with its checkpoints, is noticed: the publisher then stops for that log until a person has looked.
"""

import base64
import contextlib
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple
from uuid import UUID

import structlog
from django.conf import settings
from django.db import connections, transaction
from django.db.backends.utils import CursorWrapper

from audit import crash, halts, keyfiles, keys, rotation, tiles, tree, verify
from audit.uuid7 import uuid7

log = structlog.get_logger(__name__)
SAID_AGAIN = 60.0  # seconds after which a refusal that stands is said again
_said: dict[UUID, tuple[str, float]] = {}


class Refused(Exception):
    """A head will not be signed. `code`: tree_shrunk, history_rewritten, head_wrong, checkpoint_forged,
    checkpoints_gone, key_missing, copy_missing or copy_unwritable: the disk is full or failing.
    """

    def __init__(self, code: str, workspace: UUID, detail: str) -> None:
        super().__init__(f"{code}: log {workspace}: {detail}")
        self.code = code
        self.workspace = workspace


class _Known(NamedTuple):
    """What was published last: `row` in the database and `copy` in the file, as notes; None where there is none."""

    row: str | None
    copy: str | None


def publish(workspace: UUID | None = None, *, using: str = "default") -> int:
    """Sign the head of the workspace's log, or of each log that has grown; return how many were signed.

    :raises Refused: if a head does not continue what was published. Every other log is served first.
    """
    published, refused, logs = 0, dict[UUID, Refused](), [workspace] if workspace else _logs(using)
    for log_id in logs:
        try:
            published += _publish(log_id, using)
        except (Refused, OSError) as failure:
            refusal = failure if isinstance(failure, Refused) else Refused("copy_unwritable", log_id, str(failure))
            _say(refusal)
            refused[log_id] = refusal
    halts.keep({log_id: (one.code, str(one)) for log_id, one in refused.items()}, logs, using=using)
    if refused:
        raise next(iter(refused.values()))
    return published


def copy_path(workspace: UUID) -> Path:
    """Return where the last published checkpoint lies outside the database."""
    return Path(settings.PLACET_HOME) / "checkpoints" / f"{workspace}.note"


def copies() -> dict[UUID, Path]:
    """Return the copy of each log of which a checkpoint was published here."""
    found = copy_path(UUID(int=0)).parent.glob("????????-????-????-????-????????????.note")
    return {UUID(path.stem): path for path in sorted(found)}


def last_row(workspace: UUID, *, using: str = "default") -> str | None:
    """Return the note of the newest checkpoint that the database has of a log."""
    with connections[using].cursor() as cursor:
        cursor.execute(
            "SELECT note FROM audit_checkpoint WHERE workspace = %s ORDER BY size DESC, at DESC LIMIT 1", [workspace]
        )
        row = cursor.fetchone()
    return row[0] if row else None


def forgotten(workspace: UUID, *, using: str = "default") -> bool:
    """Say whether nothing is known of what a log's key has signed: neither here nor in the database."""
    here = copy_path(workspace).exists() or last_row(workspace, using=using) is not None
    return not here and keys.signed(workspace)


def adopt(workspace: UUID, note: str, *, using: str = "default") -> None:
    """Take a checkpoint for the last one that was published, unless there is a copy of one."""
    with alone(workspace, using=using):
        if not copy_path(workspace).exists():
            _write(copy_path(workspace), note)


@contextlib.contextmanager
def alone(workspace: UUID, *, using: str = "default") -> Iterator[CursorWrapper]:
    """Run the block in a transaction during which nobody publishes the log."""
    with transaction.atomic(using=using), connections[using].cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", [f"audit.publisher {workspace}"])
        yield cursor


def pinned(workspace: UUID) -> list[verify.Key]:
    """Return the public keys of a log, retired ones included."""
    return [verify.read_key(line) for line in keys.public(f"checkpoint-{workspace}")]


def _logs(using: str) -> list[UUID]:
    """Return the logs that have a record, and those that once had: a database may have lost a log altogether."""
    with connections[using].cursor() as cursor:
        cursor.execute("SELECT workspace FROM audit_head WHERE size > 0 ORDER BY workspace")
        logs = [row[0] for row in cursor.fetchall()]
    return [*logs, *(log_id for log_id in copies() if log_id not in logs)]


def _say(refusal: Refused) -> None:
    """Say a refusal loudly when it is new, and now and then while it stands."""
    code, at = _said.get(refusal.workspace, ("", 0.0))
    if code != refusal.code or time.monotonic() - at > SAID_AGAIN:
        _said[refusal.workspace] = (refusal.code, time.monotonic())
        log.critical("checkpoint refused", workspace=str(refusal.workspace), code=refusal.code, error=str(refusal))


def _publish(workspace: UUID, using: str) -> int:
    with alone(workspace, using=using) as cursor:
        cursor.execute("SELECT size, root FROM audit_head WHERE workspace = %s", [workspace])
        head = cursor.fetchone()
        if head is None or head[0] == 0:
            _nothing_published(workspace)
            return 0
        size, root = head[0], bytes(head[1])
        known, unchanged = _known(cursor, workspace, size, root)
        if rotation.promote(cursor, workspace):
            log.info("checkpoint key rotated", workspace=str(workspace), key=keys.checkpoint(workspace).id)
        if unchanged:
            return 0
        key = _key(workspace, known)
        note = _continue(workspace, size, root, known, using) or key.sign_note(_text(key.name, size, root))
        crash.point("audit.publisher.signed")
        _write(copy_path(workspace), note)
        crash.point("audit.publisher.copied")
        keys.note_used(workspace)
        cursor.execute(
            "INSERT INTO audit_checkpoint (id, workspace, size, root, note, key) "
            "VALUES (%s, %s, %s, %s, %s, %s) ON CONFLICT (workspace, size, key) DO NOTHING",
            [uuid7(), workspace, size, root, note, key.public],
        )
    crash.point("audit.publisher.committed")
    return 1


def _nothing_published(workspace: UUID) -> None:
    """:raises Refused: the database has no record of a log of which a checkpoint was published."""
    path = copy_path(workspace)
    if path.exists():
        raise Refused("tree_shrunk", workspace, f"{path} is a checkpoint of it, and the database has no such log.")


def _known(cursor: CursorWrapper, workspace: UUID, size: int, root: bytes) -> tuple[_Known, bool]:
    """Return what was published last, and whether it is this very head, in both places."""
    cursor.execute(
        "SELECT size, root, note FROM audit_checkpoint WHERE workspace = %s ORDER BY size DESC, at DESC LIMIT 1",
        [workspace],
    )
    row = cursor.fetchone()
    path = copy_path(workspace)
    known = _Known(row[2] if row else None, path.read_text(encoding="utf-8") if path.exists() else None)
    return known, bool(row) and (row[0], bytes(row[1]), row[2]) == (size, root, known.copy)


def _key(workspace: UUID, known: _Known) -> keys.SigningKey:
    try:
        if known.copy:
            return keys.checkpoint(workspace)
        if known.row is None:
            return keys.begin(workspace)
    except keys.KeyMissing as error:
        raise Refused("key_missing", workspace, str(error)) from error
    except keys.KeyUsed as error:
        # Set back to before its first checkpoint: whatever that was, it is in somebody's hands.
        lost = f"{error} Neither {copy_path(workspace)} nor the database has a checkpoint: look for the newer database."
        raise Refused("checkpoints_gone", workspace, lost) from error
    raise Refused(
        "copy_missing",
        workspace,
        f"{copy_path(workspace)} is missing. Restore it, or compare the last checkpoint with one held elsewhere and go "
        f"on from it: `manage.py recovery accept --adopt {workspace}`.",
    )


def _continue(workspace: UUID, size: int, root: bytes, known: _Known, using: str) -> str | None:
    """Check the head against both last checkpoints; return the note if one is already of this head."""
    read, same = tiles.reader(workspace, using=using), None
    try:
        if tree.root(read, size) != root:
            raise Refused("head_wrong", workspace, f"its tiles do not give the root of the head at size {size}.")
        for note in dict.fromkeys(filter(None, known)):  # mostly one and the same
            old = verify.open_checkpoint(note, pinned(workspace))
            if old.size > size:
                raise Refused("tree_shrunk", workspace, f"{old.size} records were published, the head has {size}.")
            proof = tree.consistency(read, old.size, size)
            if not verify.consistent(old.size, old.root, size, root, proof):
                raise Refused("history_rewritten", workspace, f"the head does not continue the one of size {old.size}.")
            same = note if old.size == size else same
    except LookupError as error:
        raise Refused("head_wrong", workspace, str(error)) from error
    except verify.NotVerified as error:
        raise Refused("checkpoint_forged", workspace, str(error)) from error
    return same


def _text(origin: str, size: int, root: bytes) -> str:
    return f"{origin}\n{size}\n{base64.b64encode(root).decode()}\n"


def _write(path: Path, text: str) -> None:
    """Replace the file as a whole and durably."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    aside = path.with_suffix(".new")
    with aside.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    crash.point("audit.publisher.written")
    aside.replace(path)
    keyfiles.sync(path.parent)
