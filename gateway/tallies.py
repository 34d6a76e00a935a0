"""Counts decisions, five minutes at a time, so that a chart reads some hundred rows however many calls there were.

The sweeper does it for stretches that are over; those of the last LATE are counted again, for attempts that ended late.
A count can be made anew at any time; evidence is the trail.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from uuid import UUID

from django.db import connection

from gateway.listing import floor
from gateway.models import Hold

STRETCH = timedelta(minutes=5)
LATE = timedelta(minutes=20)  # longer than any call takes
A_TURN = timedelta(days=1)  # of what was never counted
EDGES = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10_000, 20_000, 60_000)  # ms; the last is open
MOST_HOLDS = 2000
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_LIST = ", ".join(map(str, EDGES))
_COUNTS = ", ".join(f"count(*) FILTER (WHERE t.slot = {slot})" for slot in range(len(EDGES) + 1))
# Ids begin with their time: no further index is needed to find the attempts of a stretch.
_ROLL_UP = f"""
INSERT INTO gateway_tally (id, workspace_id, start, allow, deny, hold, durations)
SELECT gen_random_uuid(), t.workspace_id, t.start, count(*) FILTER (WHERE t.verdict = 'allow'),
       count(*) FILTER (WHERE t.verdict = 'deny'), count(*) FILTER (WHERE t.verdict = 'hold'), ARRAY[{_COUNTS}]::int[]
FROM (SELECT c.workspace_id, a.verdict,
             date_bin('5 minutes', to_timestamp(('x' || left(replace(a.id::text, '-', ''), 12))::bit(48)::bigint
                      / 1000.0), '1970-01-01Z') AS start,
             CASE WHEN a.verdict = 'allow' AND a.finished_at IS NOT NULL THEN width_bucket(
                 greatest(0, extract(epoch FROM a.finished_at - a.decided_at) * 1000)::bigint,
                 ARRAY[{_LIST}]::bigint[]) END AS slot
      FROM gateway_attempt a JOIN gateway_call c ON c.id = a.call_id WHERE a.id >= %s AND a.id < %s) AS t
GROUP BY 2, 3
ON CONFLICT (workspace_id, start) DO UPDATE SET
    allow = EXCLUDED.allow, deny = EXCLUDED.deny, hold = EXCLUDED.hold, durations = EXCLUDED.durations
"""  # noqa: S608 - constants
_SLOTS = ", ".join(f"sum(durations[{slot}])::bigint" for slot in range(1, len(EDGES) + 2))
_POINTS = f"""
SELECT date_bin(%s * interval '1 s', start, %s) AS step, sum(allow)::bigint, sum(deny)::bigint, sum(hold)::bigint,
       {_SLOTS}
FROM gateway_tally WHERE workspace_id = %s AND start >= %s AND start < %s GROUP BY 1
"""  # noqa: S608 - constants


@dataclass(frozen=True, slots=True)
class Point:
    """The decisions of one step of a chart. `p95`: milliseconds, None where nothing was executed."""

    start: datetime
    allow: int
    deny: int
    hold: int
    p95: float | None


@dataclass(frozen=True, slots=True)
class Wait:
    """How long holds that were opened in one step waited for a person, in seconds. None: none was decided."""

    start: datetime
    decided: int
    median: float | None
    longest: float | None


def roll_up(now: datetime) -> int:
    """Count what is over by `now`; return how many stretches were written. For the sweeper."""
    closed = stretch(now)
    with connection.cursor() as cursor:
        cursor.execute("SELECT max(start) FROM gateway_tally")
        last = cursor.fetchone()[0]
        written = 0
        if last is not None:
            cursor.execute(_ROLL_UP, [floor(last - LATE), floor(min(closed, last + STRETCH))])
            written += cursor.rowcount
        beyond = floor(last + STRETCH) if last is not None else UUID(int=0)
        cursor.execute("SELECT id FROM gateway_attempt WHERE id >= %s ORDER BY id LIMIT 1", [beyond])
        row = cursor.fetchone()
        if row is not None:
            begin = stretch(datetime.fromtimestamp((row[0].int >> 80) / 1000, UTC))
            end = min(closed, begin + A_TURN)
            if begin < end:
                cursor.execute(_ROLL_UP, [floor(begin), floor(end)])
                written += cursor.rowcount
    return written


def points(workspace: UUID, *, since: datetime, until: datetime, step: timedelta) -> list[Point]:
    """Return one point for each step, those without a decision too."""
    with connection.cursor() as cursor:
        cursor.execute(_POINTS, [step.total_seconds(), since, workspace, since, until])
        sums = {at: (allow, deny, hold, slots) for at, allow, deny, hold, *slots in cursor.fetchall()}
    none = (0, 0, 0, [0])
    points = []
    for start in _starts(since, until, step):
        allow, deny, hold, slots = sums.get(start, none)
        points.append(Point(start, allow, deny, hold, quantile(slots, 0.95) if sum(slots) else None))
    return points


def waits(workspace: UUID, *, since: datetime, until: datetime, step: timedelta) -> list[Wait]:
    """Return how long people took, step by step, of the newest MOST_HOLDS decided holds."""
    rows = Hold.objects.filter(workspace_id=workspace, pk__gte=floor(since), pk__lt=floor(until))
    decided = rows.filter(decided_at__isnull=False).order_by("-id")[:MOST_HOLDS]
    starts = _starts(since, until, step)
    took: list[list[float]] = [[] for _ in starts]
    for opened, at in decided.values_list("opened_at", "decided_at"):
        place = int((opened - since) / step)
        if at is not None and 0 <= place < len(took):
            took[place].append((at - opened).total_seconds())
    return [
        Wait(start, len(of), sorted(of)[len(of) // 2] if of else None, max(of, default=None))
        for start, of in zip(starts, took, strict=True)
    ]


def quantile(counts: Sequence[int], share: float) -> float | None:
    """Return below how many milliseconds `share` of the counted lie, within the width of a slot; None if none is."""
    wanted = share * sum(counts)
    if not wanted:
        return None
    below = 0
    for count, (low, high) in zip(counts, pairwise((0, *EDGES, EDGES[-1])), strict=True):
        if below + count >= wanted:
            return low + (high - low) * (wanted - below) / count
        below += count
    return float(EDGES[-1])


def _starts(since: datetime, until: datetime, step: timedelta) -> list[datetime]:
    return [since + number * step for number in range(int((until - since) / step))]


def stretch(at: datetime) -> datetime:
    """Return when the stretch of `at` began."""
    return _EPOCH + (at - _EPOCH) // STRETCH * STRETCH
