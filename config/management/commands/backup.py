"""Take a backup: `python manage.py backup DIR`."""

from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError
from django.db import DatabaseError
from django.utils import timezone

from audit import keys
from config import backups, dump, server
from config.embedded.processes import StartFailed


class Command(BaseCommand):
    help = "Write one snapshot of the database into a new directory, with its newest checkpoints. Keys are not in it."
    requires_system_checks = ()

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("directory", type=Path, help="a directory that does not exist yet")
        parser.add_argument("--check", action="store_true", help="take none: see whether the one there is whole")

    def handle(self, *args: Any, **options: Any) -> None:
        directory: Path = options["directory"].absolute()
        try:
            if options["check"]:
                backup = backups.read(directory)
            else:
                with server.running(settings.ENV):
                    backup = backups.create(directory, now=timezone.now())
        except (backups.Unusable, dump.Failed, StartFailed, keys.KeyMissing) as error:
            raise CommandError(str(error)) from error
        except (OSError, DatabaseError) as error:
            raise CommandError(f"No backup was taken: {error}") from error
        size = sum(path.stat().st_size for path in directory.rglob("*") if path.is_file())
        records = sum(backup.logs.values())
        self.stdout.write(
            f"{directory}  {size} bytes, {len(backup.logs)} logs, {records} records, {backup.at:%F %T} UTC"
        )
        self.stdout.write(
            f"Not in it, and needed to restore it: all of {settings.PLACET_KEYS}, the public halves (*.pub) too. "
            f"Back it up apart, encrypted. Private in it: {', '.join(backup.keys)}"
        )
