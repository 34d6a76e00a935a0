"""While the broker is away, or nobody hears what it carries, the sweeper's process works on due steps itself.

A broker that loses, garbles or withholds messages, and a worker that does not come up, cost time and never a run.
"""

import threading
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from uuid import UUID

import structlog
from django.db import connections

from agents import executor

log = structlog.get_logger(__name__)
AT_ONCE = 2
WAITING = 20  # steps that wait here, at most: each is looked at again before it is claimed
REMEMBERED = 60.0  # seconds for which a ring is remembered
_room = threading.BoundedSemaphore(AT_ONCE + WAITING)
_pool = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="relief")
_rung: dict[UUID, float] = {}


def unheard(due: Iterable[UUID]) -> set[UUID]:
    """Return those of `due` for which this process has rung before, to no avail; remember that it rings now."""
    now = time.monotonic()
    for step in [step for step, at in _rung.items() if now - at > REMEMBERED]:
        del _rung[step]
    due = set(due)
    found = due & _rung.keys()
    _rung.update(dict.fromkeys(due, now))
    return found


def take(steps: Iterable[UUID]) -> int:
    """Advance as many of `steps` as there is room for, in the background; return how many.

    The others stay due. Whoever else comes to the same step is told apart by its lease, as always.
    """
    taken = 0
    for step in steps:
        if not _room.acquire(blocking=False):
            break
        _pool.submit(_advance, step)
        taken += 1
    return taken


def end() -> None:
    """Finish what is under way; what only waits here stays due."""
    _pool.shutdown(cancel_futures=True)


def _advance(step: UUID) -> None:
    try:
        executor.advance(step)
    except Exception:
        log.exception("a step could not be advanced", step=str(step))
    finally:
        connections.close_all()
        _room.release()
