"""While the broker is away, the sweeper's process works on due steps itself: a few at a time, beside its chores."""

import threading
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from uuid import UUID

import structlog
from django.db import connections

from agents import executor

log = structlog.get_logger(__name__)
AT_ONCE = 2
_free = threading.BoundedSemaphore(AT_ONCE)
_pool = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="relief")


def take(steps: Iterable[UUID]) -> int:
    """Advance as many of `steps` as there is room for, in the background; return how many.

    The others stay due. Whoever else comes to the same step is told apart by its lease, as always.
    """
    taken = 0
    for step in steps:
        if not _free.acquire(blocking=False):
            break
        _pool.submit(_advance, step)
        taken += 1
    return taken


def _advance(step: UUID) -> None:
    try:
        executor.advance(step)
    except Exception:
        log.exception("a step could not be advanced", step=str(step))
    finally:
        connections.close_all()
        _free.release()
