"""The loop of a process that does one small thing again and again, and stops cleanly."""

import signal
import threading
from collections.abc import Callable
from types import FrameType

import structlog
from django.db import Error, connections

log = structlog.get_logger(__name__)


def until_stopped(step: Callable[[], int], *, interval: float, stop: threading.Event | None = None) -> None:
    """Call `step` until SIGTERM or SIGINT; what is under way is finished first.

    :param step: returns how much it did; as long as that is not 0 it is called again at once.
    :param interval: seconds to wait when there was nothing to do.
    :param stop: ends the loop when set, for callers that are not the main thread.
    """
    stop = stop or _on_signal()
    while not stop.is_set():
        try:
            done = step()
        except Error as error:
            # The database went away or is read-only: nothing is lost, it is all still pending.
            log.warning("database error", error=str(error).strip())
            connections.close_all()
            stop.wait(1.0)
            continue
        if not done:
            stop.wait(interval)


def _on_signal() -> threading.Event:
    stop = threading.Event()

    def handle(number: int, frame: FrameType | None) -> None:
        stop.set()

    signal.signal(signal.SIGTERM, handle)
    signal.signal(signal.SIGINT, handle)
    return stop
