"""Tell a worker that a step may be due. A lost, doubled or forged ring is harmless: the database says what is due."""

from collections.abc import Sequence
from uuid import UUID

import structlog
from celery import current_app
from django.db import connection, transaction

from audit import crash

log = structlog.get_logger(__name__)
TASK = "agents.advance_step"
_MARK = """
UPDATE agents_step SET rung_at = clock_timestamp() WHERE id IN (
    SELECT s.id FROM agents_step s, (SELECT now() - %s * interval '1 s' AS lost) l
    WHERE s.state = 'ready' AND s.rung_at <= l.lost
       OR s.state = 'retry_at' AND s.not_before <= now() AND (s.rung_at <= s.not_before OR s.rung_at <= l.lost)
       OR s.state = 'leased' AND s.lease_until <= now() AND (s.rung_at <= s.lease_until OR s.rung_at <= l.lost)
    ORDER BY s.rung_at LIMIT %s FOR UPDATE OF s SKIP LOCKED)
RETURNING id
"""


def ring(step: UUID) -> None:
    """Ring for `step` once the current transaction is committed, or now if there is none."""
    transaction.on_commit(lambda: _send(step))


def ring_all(steps: Sequence[UUID]) -> Sequence[UUID]:
    """Ring for each step; return those for which it could not be done, because the broker is away."""
    for number, step in enumerate(steps):
        if not _send(step):
            return steps[number:]
    return ()


def mark(seconds: float, *, limit: int) -> list[UUID]:
    """Return the due steps that nobody seems to know of, and note that somebody rings now.

    A ring is lost if it led to nothing for `seconds`. For a step whose timer or lease has just run out nobody has rung
    before.
    """
    with connection.cursor() as cursor:
        cursor.execute(_MARK, [seconds, limit])
        return [pk for (pk,) in cursor.fetchall()]


def _send(step: UUID) -> bool:
    crash.point("agents.ringing")
    try:
        current_app.send_task(TASK, args=[str(step)], ignore_result=True, retry=False)
    except Exception as error:  # noqa: BLE001 - what was committed stands, whether or not somebody hears of it
        log.warning("the doorbell is out of order; the sweeper will ring again", error=str(error)[:200])
        return False
    return True
