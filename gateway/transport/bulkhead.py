"""Bulkheads: of the threads of one process, one upstream never gets them all, however it hangs."""

import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from django.conf import settings

from gateway.transport.outcome import TransportFailed

# A place is free again in milliseconds if the upstream is well; longer waits would take the thread all the same.
WAIT_SECONDS = 0.25
_under_way: Counter[str] = Counter()
_changed = threading.Condition()


@contextmanager
def place(upstream: str, *, deadline: float) -> Iterator[None]:
    """Keep one of the upstream's places of this process while the block runs.

    :param upstream: see gateway.upstreams. :param deadline: time.monotonic() seconds.
    :raises TransportFailed: bulkhead_full: all of them are taken, and none became free.
    """
    most = settings.PLACET_UPSTREAM_CALLS_PER_PROCESS
    with _changed:
        until = min(deadline, time.monotonic() + WAIT_SECONDS)
        if not _changed.wait_for(lambda: _under_way[upstream] < most, max(0.0, until - time.monotonic())):
            raise TransportFailed("bulkhead_full", "no", f"{most} calls of this process are under way at {upstream}")
        _under_way[upstream] += 1
    try:
        yield
    finally:
        with _changed:
            _under_way[upstream] -= 1
            if not _under_way[upstream]:
                del _under_way[upstream]
            _changed.notify_all()
