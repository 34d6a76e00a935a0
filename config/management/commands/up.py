"""Start Placet in the foreground: `python manage.py up`."""

import signal
import time
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from config import stack
from config.embedded.processes import StartFailed
from config.supervisor import write


class Command(BaseCommand):
    help = "Start the embedded servers and every process of Placet; Ctrl-C stops them cleanly."
    requires_system_checks = ()

    def handle(self, *args: Any, **options: Any) -> None:
        began = time.monotonic()
        whole = stack.Stack(settings.ENV, write=write)
        signal.signal(signal.SIGINT, whole.supervisor.end)
        signal.signal(signal.SIGTERM, whole.supervisor.end)
        try:
            try:
                whole.start()
            except StartFailed as error:
                raise CommandError(str(error)) from error
            if whole.wait_until_ready():
                write(
                    "placet", f"ready at {settings.PLACET_URL} after {time.monotonic() - began:.1f} s; Ctrl-C stops it"
                )
            elif not whole.supervisor.ended.is_set():
                write("placet", "not ready after 60 s; the lines above say why")
            whole.supervisor.watch(also=whole.keep)
            write("placet", "stopping")
        finally:
            whole.stop()
        write("placet", "stopped")
