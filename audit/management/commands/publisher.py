"""Run the publisher: signs the heads of logs as checkpoints."""

import contextlib
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from audit import loop, publisher


class Command(BaseCommand):
    help = "Sign committed heads until stopped; refuse whatever does not continue what was published."
    # Needs no view and no page: starts in a third of the time, and whatever else may be broken.
    requires_system_checks = ()

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--once", action="store_true", help="publish what there is and stop; exit code 1 if refused"
        )
        parser.add_argument("--interval", type=float, default=0.5, help="seconds between looks")

    def handle(self, *args: Any, **options: Any) -> None:
        if options["once"]:
            try:
                self.stdout.write(f"{publisher.publish()} checkpoint(s) published")
            except publisher.Refused as error:
                raise CommandError(str(error)) from error
            return
        loop.until_stopped(self._publish, interval=options["interval"])

    def _publish(self) -> int:
        # A refusal was logged as critical where it was found, and every other log was served.
        with contextlib.suppress(publisher.Refused):
            publisher.publish()
        # Checkpoints are as frequent as the interval says, however busy a log is.
        return 0
