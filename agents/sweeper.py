"""What time alone makes due. Every part may run any number of times, in any number of processes at once."""

import time
from collections.abc import Callable, Mapping
from datetime import datetime

import structlog
from django.conf import settings
from django.db import DatabaseError, OperationalError, connection, transaction

from agents import doorbell, progress, relief, runs
from agents.models import Run, Step
from audit import crash, inspections, jobs
from gateway import calls, tallies, trail
from registry import clock, upkeep

log = structlog.get_logger(__name__)
MOST = 500  # steps a round
RING_AGAIN = 5.0  # seconds after which a ring that nobody answered counts as lost
_WAITING = ("waiting", "compensating")
_WOKEN = """
SELECT s.id, s.run_id FROM agents_step s JOIN gateway_call c ON c.id = s.call_id
JOIN agents_run r ON r.id = s.run_id AND (r.state = 'waiting' OR r.state = 'compensating' AND s.undoes_id IS NOT NULL)
LEFT JOIN gateway_hold h ON h.id = s.hold
WHERE s.state = 'decided' AND (c.state <> 'parked' OR h.state <> 'open' OR h.expires_at <= now())
   OR s.state = 'indeterminate' AND c.state IN ('completed', 'failed', 'denied')
ORDER BY s.id LIMIT %s
"""


def ring_due() -> int:
    """Ring for steps that are due and that nobody seems to know of; return how many.

    Without a broker, and where one ring after the other leads to nothing, do them here.
    """
    again = min(RING_AGAIN, settings.PLACET_LEASE_SECONDS)
    due = doorbell.mark(again, limit=MOST)
    unheard = relief.unheard(due)
    unsent = set(doorbell.ring_all(due))
    relief.take([step for step in due if step in unsent or step in unheard])
    return len(due)


def wake_decided() -> int:
    """Wake the runs whose hold was decided, or whose lost call was settled; return how many."""
    with connection.cursor() as cursor:
        cursor.execute(_WOKEN, [MOST])
        found = cursor.fetchall()
    woken = 0
    for step_id, run_id in found:
        with transaction.atomic():
            run = Run.objects.select_for_update(skip_locked=True).filter(pk=run_id, state__in=_WAITING).first()
            if run is None:
                continue
            step = Step.objects.select_for_update().get(pk=step_id)
            if step.state in (Step.State.DECIDED, Step.State.INDETERMINATE):
                progress.wake(run, step, now=clock.read())
                woken += 1
        crash.point("agents.woken")
    return woken


def _gateway(now: datetime) -> int:
    return sum(calls.sweep(now).values())


def _registry(now: datetime) -> int:
    return sum(upkeep.run(now=now).values())


class Every:
    """A chore that is done at most every so many seconds in this process, the first time after as many."""

    def __init__(self, seconds: float, chore: Callable[[datetime], int]) -> None:
        self.seconds, self.chore, self.at = seconds, chore, time.monotonic()

    def __call__(self, now: datetime) -> int:
        """Do it if it is time; return how much was found to do."""
        if time.monotonic() - self.at < self.seconds:
            return 0
        self.at = time.monotonic()
        return self.chore(now)


CHORES: Mapping[str, Callable[[datetime], int]] = {
    "gateway": _gateway,
    "registry": _registry,
    "trail": Every(10, trail.alarm),
    "orphans": lambda now: runs.cancel_orphans(now=now),
    "woken": lambda now: wake_decided(),
    "rung": lambda now: ring_due(),
    "jobs": Every(5, lambda now: jobs.ring_due()),
    "tallies": Every(60, tallies.roll_up),
    "inspections": Every(300, inspections.request_due),
}


def sweep() -> dict[str, int]:
    """Do every chore once; return how much each found to do. One that fails holds up no other.

    :raises OperationalError: the database is gone.
    """
    return {name: _safely(name, chore) for name, chore in CHORES.items()}


def _safely(name: str, chore: Callable[[datetime], int]) -> int:
    try:
        return chore(clock.read())
    except OperationalError as error:
        log.warning("a chore failed", chore=name, error=str(error).strip())
        connection.close()
        # If the database is gone, so is every other chore: whoever calls us waits for it.
        connection.ensure_connection()
    except Exception as error:
        log.exception("a chore failed", chore=name)
        if isinstance(error, DatabaseError):
            connection.close()
    return 0
