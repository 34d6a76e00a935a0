"""A backup: one snapshot of the database in a directory, with what is needed to see later whether it is the right one.

The directory has `database.dump` (pg_dump's custom format), the newest checkpoint of each log in that snapshot under
`checkpoints/`, and `manifest.json`, which names every file with its digest, the migrations, the size of each log, and
the keys that the database needs, by their ids. No key is in it.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

from django.db import connections, transaction
from django.db.backends.utils import CursorWrapper

from audit import keyfiles
from config import dump, keyring

FORMAT = "placet.backup/1"
DUMP, MANIFEST, NOTES = "database.dump", "manifest.json", "checkpoints"
CHUNK = 1 << 20


class Unusable(Exception):
    """A backup cannot be made there, or is none, is damaged or incomplete; the text says which."""


@dataclass(frozen=True)
class Backup:
    """What a backup says of itself. `logs`: workspace -> records in the tree; `keys`: file -> ids of what is in it."""

    directory: Path
    at: datetime
    postgres: int
    migrations: frozenset[tuple[str, str]]
    logs: Mapping[UUID, int]
    keys: Mapping[str, list[str]]

    def note(self, workspace: UUID) -> str | None:
        """Return the newest checkpoint of a log in this backup."""
        path = self.directory / NOTES / f"{workspace}.note"
        return path.read_text(encoding="utf-8") if path.exists() else None


def create(directory: Path, *, now: datetime, using: str = "default") -> Backup:
    """Write a backup of the database into `directory`, which must not exist; whole, or not at all.

    :raises Unusable: the directory is there already. :raises dump.Failed:
    """
    aside = directory.with_name(f"{directory.name}.part")
    if directory.exists() or aside.exists():
        raise Unusable(f"{directory if directory.exists() else aside} is there already; name another directory.")
    (aside / NOTES).mkdir(mode=0o700, parents=True)
    aside.chmod(0o700)
    try:
        needed = keyring.inventory()  # first: a damaged key is found before the work is done
        told = _write(aside, using)
        files = {str(path.relative_to(aside)): _digest(path) for path in sorted(aside.rglob("*")) if path.is_file()}
        told |= {"format": FORMAT, "at": now.astimezone(UTC).isoformat(), "keys": needed, "files": files}
        _put(aside / MANIFEST, json.dumps(told, indent=1, sort_keys=True).encode())
        for path in (aside / DUMP, aside / NOTES, aside):
            keyfiles.sync(path)
        aside.rename(directory)
        keyfiles.sync(directory.parent)
    except BaseException:
        shutil.rmtree(aside, ignore_errors=True)
        raise
    return read(directory)


def read(directory: Path) -> Backup:
    """Return what a backup says, after every file of it was compared with its digest. :raises Unusable:"""
    try:
        told = json.loads((directory / MANIFEST).read_bytes())
        if told["format"] != FORMAT:
            raise Unusable(f"{directory} has the form {told['format']!r}; this Placet reads {FORMAT}.")
        for name, digest in told["files"].items():
            if _digest(directory / name) != digest:
                raise Unusable(f"{directory / name} is damaged: its digest is another. Take another backup.")
        return Backup(
            directory,
            datetime.fromisoformat(told["at"]),
            int(told["postgres"]),
            frozenset((app, name) for app, name in told["migrations"]),
            {UUID(log): int(size) for log, size in told["logs"].items()},
            told["keys"],
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise Unusable(f"{directory} is no whole backup: {error}.") from error


def _write(aside: Path, using: str) -> dict[str, Any]:
    """Dump the database and write the checkpoints of that very snapshot; return what the manifest says of it."""
    path = dump.program("pg_dump", using=using)
    with transaction.atomic(using=using, durable=True), connections[using].cursor() as cursor:
        cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        cursor.execute("SET LOCAL idle_in_transaction_session_timeout = 0")
        cursor.execute("SELECT pg_export_snapshot()")
        snapshot = cursor.fetchone()[0]
        cursor.execute("SELECT app, name FROM django_migrations ORDER BY app, name")
        migrations = [list(row) for row in cursor.fetchall()]
        logs = _logs(cursor, aside / NOTES)
        (aside / DUMP).touch(mode=0o600)
        dump.run(path, ["--format=custom", f"--snapshot={snapshot}", f"--file={aside / DUMP}"], using=using)
    return {"postgres": dump.major(path), "migrations": migrations, "logs": logs}


def _logs(cursor: CursorWrapper, notes: Path) -> dict[str, int]:
    cursor.execute(
        "SELECT h.workspace, h.size, c.note FROM audit_head h LEFT JOIN LATERAL (SELECT note FROM audit_checkpoint "
        "WHERE workspace = h.workspace ORDER BY size DESC, at DESC LIMIT 1) c ON true ORDER BY h.workspace"
    )
    sizes = {}
    for workspace, size, note in cursor.fetchall():
        sizes[str(workspace)] = size
        if note:
            _put(notes / f"{workspace}.note", note.encode())
    return sizes


def _put(path: Path, content: bytes) -> None:
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _digest(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            digest.update(chunk)
    return f"sha256:{digest.hexdigest()}"
