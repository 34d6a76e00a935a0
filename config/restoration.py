"""Bring a backup back into a new place, shut, until a person has accepted what it lacks.

`PLACET_HOME/restored.json` remembers, until then, what was restored and which checkpoints came out of the backup
itself: these prove nothing about what came after it.
"""

import json
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from uuid import UUID

from django.conf import settings
from django.core.management import call_command
from django.db import connections

from audit import crash, keyfiles, keys, publisher
from config import backups, dump, entrance, keyring, schema


class Refused(Exception):
    """The backup will not be restored here; the text says why and what to do."""


@dataclass(frozen=True)
class Restored:
    """A database that was restored and not accepted yet. `at`: when the backup was taken; None: nobody knows.

    `own`: logs of which nothing is known but the backup's own checkpoint. `whole`: whether the restore came to its end.
    `keys`: which key each log had when somebody first set about accepting; empty: nobody has.
    """

    at: datetime | None
    own: frozenset[UUID]
    logs: dict[UUID, int]
    whole: bool = True
    keys: dict[UUID, str] = field(default_factory=dict)


def restore(directory: Path, *, without_keys: bool = False, using: str = "default") -> Restored:
    """Restore a backup into the empty database of this installation, and shut it. What was cut short is gone on with.

    :param without_keys: although keys that it needs are not here: what they protect is lost.
    :raises Refused: keys are missing, the database is not empty, or a newer Placet made the backup.
    :raises backups.Unusable: :raises dump.Failed:
    """
    backup = backups.read(directory)
    if unknown := schema.unknown(set(backup.migrations)):
        raise Refused(f"A newer Placet made this backup ({schema.listed(unknown)}). Restore it with that version.")
    absent = keyring.missing(backup.keys)
    if absent and not without_keys:
        raise Refused(
            f"The keys {', '.join(absent)} of this backup are not under {settings.PLACET_KEYS}. Put them back from "
            "their own backup first. Only if they exist nowhere any more: --without-keys (what each costs: "
            "docs/operations/keys.md)."
        )
    if _empty(using):
        entrance.close(using=using)
        crash.point("config.restore.shut")
        if not entrance.shut(using=using):
            raise Refused("The database cannot be shut to the runtime roles: DATABASE_URL has to name its owner.")
        _fill(backup, using)
        crash.point("config.restore.filled")
    elif not _cut_short(backup, using):
        raise Refused("The database is not empty, and nothing is restored over another one. Use a new database.")
    _compare(backup, using)
    if schema.missing(using=using):
        call_command("migrate", database=using, verbosity=0, skip_checks=True)
    crash.point("config.restore.migrated")
    _remember(replace(_told(), whole=True))
    return _told()


def _empty(using: str) -> bool:
    with connections[using].cursor() as cursor:
        cursor.execute("SELECT to_regclass('public.django_migrations') IS NULL")
        return bool(cursor.fetchone()[0])


def _cut_short(backup: backups.Backup, using: str) -> bool:
    """Whether what is in the database is this backup, of whose restore nobody has seen the end."""
    if not _path().exists() or not entrance.shut(using=using):
        return False
    told = _told()
    return not told.whole and (told.at, told.logs) == (backup.at, dict(backup.logs))


def _fill(backup: backups.Backup, using: str) -> None:
    """Fill the database. What has to be known of it is written down first: from the commit on it counts as restored."""
    path = dump.program("pg_restore", using=using, at_least=backup.postgres)
    kept = [workspace for workspace in backup.logs if _keep_note(backup, workspace)]
    crash.point("config.restore.noted")
    own = frozenset(workspace for workspace in backup.logs if _is_own(backup, workspace))
    _remember(Restored(backup.at, own, dict(backup.logs), whole=False))
    crash.point("config.restore.remembered")
    arguments = ["--no-owner", "--single-transaction", "--exit-on-error", "--dbname"]
    file = str(backup.directory / backups.DUMP)
    try:
        dump.run(path, [*arguments, connections[using].settings_dict["NAME"], file], using=using)
    except dump.Failed as failure:
        if not _empty(using):
            # The commit was in doubt, and is there: so it stays shut.
            raise Refused(f"{failure}. The database was filled all the same: run the same command again.") from failure
        # One transaction: nothing is there. So it is as before, and can be tried again.
        for workspace in kept:
            publisher.copy_path(workspace).unlink(missing_ok=True)
        forget()
        entrance.open(using=using)
        raise


def pending(*, using: str = "default") -> Restored | None:
    """Return the database that was restored and that nobody has accepted yet.

    One that is shut, and of which nothing is written down here, was restored elsewhere, or by somebody who was cut
    short: of its logs nothing is known but what they say of themselves.
    """
    if not entrance.shut(using=using):
        return None  # it is opened last: what is still written down then is of somebody who was cut short
    if _path().exists():
        return _told()
    with connections[using].cursor() as cursor:
        cursor.execute("SELECT workspace, size FROM audit_head")
        logs = dict(cursor.fetchall())
    return Restored(None, frozenset(logs), logs)


def _told() -> Restored:
    told = json.loads(_path().read_text())
    return Restored(
        datetime.fromisoformat(told["at"]) if told["at"] else None,
        frozenset(map(UUID, told["own"])),
        {UUID(log): int(size) for log, size in told["logs"].items()},
        told.get("whole", True),
        {UUID(log): key for log, key in told.get("keys", {}).items()},
    )


def take_up(restored: Restored) -> Restored:
    """Write down what somebody goes by who sets about accepting it: who tries again goes by the same. Return it."""
    if not restored.keys:
        restored = replace(restored, keys={log: _signing(log) for log in restored.logs})
        _remember(restored)
    return restored


def _signing(workspace: UUID) -> str:
    """Return the id of the key of a log; nothing if it has none."""
    try:
        return keys.checkpoint(workspace).id
    except keys.KeyMissing:
        return ""


def forget() -> None:
    """Forget it: a person has accepted the database."""
    _path().unlink(missing_ok=True)


def _compare(backup: backups.Backup, using: str) -> None:
    with connections[using].cursor() as cursor:
        cursor.execute("SELECT workspace, size FROM audit_head")
        found = dict(cursor.fetchall())
    if found != dict(backup.logs):
        raise Refused("What was restored is not what the manifest says. The database stays shut; take another backup.")


def _keep_note(backup: backups.Backup, workspace: UUID) -> bool:
    """Put the backup's checkpoint where the publisher looks, unless one is there, which may be newer; say whether."""
    note, place = backup.note(workspace), publisher.copy_path(workspace)
    if note is None or place.exists():
        return False
    keyfiles.write_once(place, note, mode=0o644)
    return True


def _is_own(backup: backups.Backup, workspace: UUID) -> bool:
    """Say whether nothing is kept here of a log but what came out of the backup."""
    place = publisher.copy_path(workspace)
    return not place.exists() or place.read_text(encoding="utf-8") == backup.note(workspace)


def _remember(restored: Restored) -> None:
    told = {
        "at": restored.at.isoformat() if restored.at else None,
        "own": sorted(map(str, restored.own)),
        "logs": {str(log): size for log, size in restored.logs.items()},
        "keys": {str(log): key for log, key in restored.keys.items()},
        "whole": restored.whole,
    }
    keyfiles.replace(_path(), json.dumps(told, indent=1) + "\n", mode=0o600)


def _path() -> Path:
    return Path(settings.PLACET_HOME) / "restored.json"
