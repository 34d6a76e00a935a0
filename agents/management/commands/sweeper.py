"""`manage.py sweeper`: ring again for lost doorbells, and do what time alone makes due."""

import signal
import threading
from typing import Any

import structlog
from django.core.management.base import BaseCommand, CommandParser

from agents import sweeper

log = structlog.get_logger(__name__)


class Command(BaseCommand):
    help = "Sweep until SIGTERM: expired leases and timers, decided holds, lost calls, activations, expiries."
    requires_system_checks = ()

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--pause", type=float, default=0.5, help="Seconds between two rounds.")
        parser.add_argument("--once", action="store_true", help="One round, then end.")

    def handle(self, *args: Any, **options: Any) -> None:
        ended = threading.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: ended.set())
        while True:
            found = sweeper.sweep()
            if any(found.values()):
                log.debug("swept", **found)
            if options["once"] or ended.wait(options["pause"]):
                return
