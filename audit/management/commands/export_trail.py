"""Write an export of the trail to a file or to standard output."""

import os
import sys
from argparse import ArgumentParser
from pathlib import Path
from typing import Any
from uuid import UUID

from django.core.management.base import BaseCommand, CommandError

from audit import export
from audit.refusal import Refusal


class Command(BaseCommand):
    help = "Export the trail of a workspace as NDJSON that audit/verify.py checks offline."
    # Needs no view and no page: starts in a third of the time, and whatever else may be broken.
    requires_system_checks = ()

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("workspace", type=UUID, help="id of the workspace")
        parser.add_argument("-o", "--output", type=Path, help="file; default: standard output")
        parser.add_argument(
            "--size", type=int, help="end with the checkpoint of this many records; default: the newest"
        )
        parser.add_argument("--first", type=int, default=0, help="begin here: what an earlier export ended with")
        parser.add_argument("--event", help="an excerpt: this event, or a prefix that ends in a dot")
        parser.add_argument("--actor", help="an excerpt: this actor")
        parser.add_argument("--correlation-id", help="an excerpt: this correlation id")
        parser.add_argument(
            "--since", type=int, action="append", default=[], help="prove an excerpt to continue this earlier size"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        narrowed = export.Selection(options["event"], options["actor"], options["correlation_id"])
        selection = None if narrowed == export.Selection() else narrowed
        try:
            chunks = export.stream(
                options["workspace"],
                size=options["size"],
                first=options["first"],
                selection=selection,
                since=options["since"],
            )
        except Refusal as refusal:
            raise CommandError(refusal.detail) from refusal
        if options["output"] is None:
            for chunk in chunks:
                sys.stdout.buffer.write(chunk)
            return
        # Whole or not at all: a file under the final name is never a torn one.
        aside = options["output"].with_name(options["output"].name + ".part")
        try:
            with aside.open("wb") as file:
                for chunk in chunks:
                    file.write(chunk)
                file.flush()
                os.fsync(file.fileno())
            aside.replace(options["output"])
        except OSError as error:
            aside.unlink(missing_ok=True)
            raise CommandError(f"{options['output']} cannot be written: {error.strerror}") from error
        self.stderr.write(f"{options['output']} written")
