"""Run the sequencer: puts records into the tree."""

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand

from audit import loop
from audit.sequencer import BATCH, drain, sequence


class Command(BaseCommand):
    help = "Move pending records into the tree until stopped. Any number of sequencers may run."
    # Needs no view and no page: starts in a third of the time, and whatever else may be broken.
    requires_system_checks = ()

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--once", action="store_true", help="stop when nothing is pending")
        parser.add_argument("--interval", type=float, default=0.35, help="seconds between looks")
        parser.add_argument("--batch", type=int, default=BATCH, help="records in one transaction")

    def handle(self, *args: Any, **options: Any) -> None:
        if options["once"]:
            self.stdout.write(f"{drain()} record(s) integrated")
            return
        loop.until_stopped(lambda: _step(options["batch"]), interval=options["interval"])


def _step(batch: int) -> int:
    """Integrate once; return 0 unless more is waiting: records that come one by one are taken together next time."""
    moved = sequence(batch=batch)
    return moved if moved >= batch else 0
