"""`manage.py sweeper`: ring again for lost doorbells, and do what time alone makes due."""

from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from agents import relief, sweeper
from audit import loop


class Command(BaseCommand):
    help = "Sweep until SIGTERM: expired leases and timers, decided holds, lost calls, activations, expiries."
    requires_system_checks = ()

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--pause", type=float, default=0.5, help="Seconds between two rounds.")

    def handle(self, *args: Any, **options: Any) -> None:
        loop.until_stopped(_round, interval=options["pause"])
        relief.end()


def _round() -> int:
    sweeper.sweep()
    # What was found due was done; what is not due yet is not found sooner by looking again at once.
    return 0
