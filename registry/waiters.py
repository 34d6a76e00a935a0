"""Long polls: decision points that wait for the next bundle, each for a bounded time, a bounded number at once.

The bundler notifies in the transaction that publishes. A waiter also looks once a second by itself: a connection
pool between us and the database may swallow the notification.
"""

import time
from threading import Lock
from uuid import UUID

from django.conf import settings
from django.db import connection

from registry import bundles

_LOOK_SECONDS = 1.0
_lock = Lock()
_waiting = 0


def full() -> bool:
    """Say whether as many wait in this process as may: another one would keep a thread from calls."""
    return _waiting >= settings.PLACET_OPA_WAITERS


def wait(environment: UUID, known: str | None, *, seconds: float) -> str | None:
    """Return the newest revision once it is another than `known`, or when the time is over.

    :param seconds: what the client asks for; at most PLACET_OPA_WAIT_SECONDS are given.
    """
    global _waiting
    with _lock:
        if full():
            return bundles.newest_revision(environment)
        _waiting += 1
    try:
        return _wait(environment, known, min(seconds, settings.PLACET_OPA_WAIT_SECONDS))
    finally:
        with _lock:
            _waiting -= 1


def _wait(environment: UUID, known: str | None, seconds: float) -> str | None:
    until = time.monotonic() + seconds
    with connection.cursor() as cursor:
        cursor.execute(f"LISTEN {bundles.CHANNEL}")
        try:
            # Looked at after we listen: what is published in between is not missed.
            while (newest := bundles.newest_revision(environment)) == known:
                left = until - time.monotonic()
                if left <= 0:
                    break
                _hear(min(left, _LOOK_SECONDS), str(environment))
        finally:
            cursor.execute("UNLISTEN *")
    return newest


def _hear(seconds: float, environment: str) -> None:
    """Return when the environment has a new bundle, or after `seconds`."""
    until = time.monotonic() + seconds
    while (left := until - time.monotonic()) > 0:
        for heard in connection.connection.notifies(timeout=left, stop_after=1):
            if heard.payload == environment:
                return
