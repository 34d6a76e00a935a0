"""Restore a backup: `python manage.py restore DIR`."""

from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError
from django.db import DatabaseError

from audit import keys
from config import backups, dump, restoration, server
from config.embedded.processes import StartFailed


class Command(BaseCommand):
    help = "Restore a backup into an empty database. It stays shut until `manage.py recovery accept`."
    requires_system_checks = ()

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("directory", type=Path, help="what `manage.py backup` wrote")
        parser.add_argument(
            "--without-keys", action="store_true", help="although keys are missing: what they protect is lost"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            with server.running(settings.ENV, new=True):
                restored = restoration.restore(options["directory"].absolute(), without_keys=options["without_keys"])
        except (backups.Unusable, dump.Failed, restoration.Refused, StartFailed, keys.KeyMissing) as error:
            raise CommandError(str(error)) from error
        except (OSError, DatabaseError) as error:
            raise CommandError(f"The backup was not restored: {error}") from error
        records = sum(restored.logs.values())
        self.stdout.write(f"Restored: {len(restored.logs)} logs, {records} records, as of {restored.at:%F %T} UTC.")
        self.stdout.write(
            "The database is shut. See what it lacks with `manage.py recovery check --checkpoint FILE`, then let "
            "Placet in with `manage.py recovery accept`."
        )
