"""What granian serves: REST, console, health."""

import gc
import os
import signal
import threading

from django.conf import settings
from django.core.signals import request_finished
from django.core.wsgi import get_wsgi_application
from django.db import connections

from config import door
from config.database import idle
from config.embedded.processes import die_with_parent
from gateway import affinity

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
# A killed granian must not leave workers that go on serving.
if os.environ.get("PLACET_PROCESS"):
    die_with_parent(signal.SIGTERM)

_django = get_wsgi_application()
if os.environ.get("PLACET_PROCESS"):
    request_finished.connect(idle.put_away)
    affinity.settle(settings.PLACET_SOCKETS, workers=settings.PLACET_WEB_WORKERS, pin=settings.PLACET_PIN_CPUS)
_gates = door.gates()
door.watch(_gates)
_door = door.Door(_django, **_gates)
# What is loaded by now stays: the collector need not look at it again and again, nor after every 700 new objects.
gc.collect()
gc.freeze()
gc.set_threshold(10_000, 20, 20)
_thread = threading.local()


class _Closer:
    """Closes a thread's connections when the thread ends: an idle server thread would leak them otherwise."""

    def __del__(self) -> None:
        connections.close_all()


def application(environ, start_response):  # type: ignore[no-untyped-def]
    """Answer one request (PEP 3333)."""
    if not hasattr(_thread, "closer"):
        _thread.closer = _Closer()
    return _door(environ, start_response)
