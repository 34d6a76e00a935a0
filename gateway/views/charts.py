"""Charts as SVG, drawn on the server: a title, a description in words, and the same figures as a table."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from gateway import tallies

WIDTH, HEIGHT, BASE = 600, 120, 104  # of the drawing; the line on which bars stand
TOP = 8
# What an address names -> (in words, how long, step).
SPANS = {
    "day": ("the last 24 hours", timedelta(hours=24), timedelta(hours=1)),
    "week": ("the last 7 days", timedelta(days=7), timedelta(hours=6)),
    "month": ("the last 30 days", timedelta(days=30), timedelta(days=1)),
}


@dataclass(frozen=True, slots=True)
class Box:
    """One rectangle. `tone` chooses its colour."""

    x: float
    y: float
    width: float
    height: float
    tone: str


@dataclass(frozen=True, slots=True)
class Chart:
    """One chart. `most`: the value of its highest bar in words; `rows`: the table, `heads` above it."""

    id: str
    title: str
    about: str
    most: str
    boxes: Sequence[Box]
    heads: Sequence[str]
    rows: Sequence[tuple[datetime, Sequence[str]]]
    legend: Sequence[tuple[str, str]] = ()


def of(workspace: UUID, *, span: str, now: datetime) -> list[Chart]:
    """Return the charts of a workspace's calls. `span`: a key of SPANS."""
    said, length, step = SPANS[span]
    until = tallies.stretch(now)
    since = until - length
    points = tallies.points(workspace, since=since, until=until, step=step)
    waits = tallies.waits(workspace, since=since, until=until, step=step)
    return [_decisions(points, said), _durations(points, said), _waits(waits, said)]


def _decisions(points: Sequence[tallies.Point], said: str) -> Chart:
    tones = ("allow", "hold", "deny")
    values = [[getattr(point, tone) for tone in tones] for point in points]
    sums = [sum(column) for column in zip(*values, strict=True)] if values else [0, 0, 0]
    about = f"In {said}: {sums[0]:,} allowed, {sums[1]:,} held, {sums[2]:,} denied."
    most = max((sum(each) for each in values), default=0)
    rows = [
        (point.start, [f"{value:,}" for value in each]) for point, each in zip(points, values, strict=True) if any(each)
    ]
    boxes = _bars(values, tones, most)
    return Chart("decisions", "Decisions", about, f"{most:,}", boxes, tones, rows, [(tone, tone) for tone in tones])


def _durations(points: Sequence[tallies.Point], said: str) -> Chart:
    values = [[point.p95 or 0] for point in points]
    most = max((each[0] for each in values), default=0)
    about = f"In {said}, the slowest steps had a 95th percentile of {_ms(most)}." if most else "Nothing was executed."
    rows = [(point.start, [_ms(point.p95)]) for point in points if point.p95 is not None]
    return Chart("durations", "Duration of calls, p95", about, _ms(most), _bars(values, ("info",), most), ["p95"], rows)


def _waits(waits: Sequence[tallies.Wait], said: str) -> Chart:
    values = [[wait.median or 0] for wait in waits]
    most = max((each[0] for each in values), default=0)
    decided = sum(wait.decided for wait in waits)
    about = f"In {said}, {decided:,} holds were decided." if decided else f"In {said}, nobody decided a hold."
    rows = [
        (wait.start, [f"{wait.decided:,}", _seconds(wait.median), _seconds(wait.longest)])
        for wait in waits
        if wait.decided
    ]
    heads = ["decided", "median wait", "longest wait"]
    boxes = _bars(values, ("hold",), most)
    return Chart("waits", "Wait for a person, median", about, _seconds(most), boxes, heads, rows)


def _bars(values: Sequence[Sequence[float]], tones: Sequence[str], most: float) -> list[Box]:
    """Return the parts of each bar, one upon the other; what is there at all is at least one unit high."""
    boxes = []
    wide = WIDTH / max(1, len(values))
    for number, parts in enumerate(values):
        foot = float(BASE)
        for tone, value in zip(tones, parts, strict=True):
            if value:
                high = max(1.0, (BASE - TOP) * value / most)
                foot -= high
                box = Box(round(number * wide + 1, 1), round(foot, 1), round(wide - 2, 1), round(high, 1), tone)
                boxes.append(box)
    return boxes


def _ms(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:,.0f} ms" if value < 10_000 else f"{value / 1000:,.1f} s"


def _seconds(value: float | None) -> str:
    if value is None:
        return ""
    units: Sequence[tuple[float, str]] = ((86400, "d"), (3600, "h"), (60, "min"))
    size, unit = next(((size, unit) for size, unit in units if value >= size), (1, "s"))
    return f"{value / size:,.1f} {unit}"
