"""Counts of decisions are those of the attempts, whenever and however often they are made."""

from collections import Counter
from datetime import UTC, datetime, timedelta

import pytest
from django.db import connections

from gateway import tallies
from gateway.models import Attempt, Tally
from tests.gateway.stage import fresh


@pytest.fixture
def worker(monkeypatch):
    """Let the counting run as the worker that does it."""
    monkeypatch.setattr(tallies, "connection", connections["worker"])


def counted(workspace):
    rows = Tally.objects.filter(workspace_id=workspace.pk)
    return {one: sum(getattr(row, one) for row in rows) for one in ("allow", "deny", "hold")}


def attempts(workspace):
    found = Counter(Attempt.objects.filter(call__workspace_id=workspace.pk).values_list("verdict", flat=True))
    return {one: found[one] for one in ("allow", "deny", "hold")}


def roll_up(now):
    """Count until nothing is left that was never counted."""
    for _ in range(40):
        before = Tally.objects.order_by("-start").values_list("start", flat=True).first()
        tallies.roll_up(now)
        if Tally.objects.order_by("-start").values_list("start", flat=True).first() == before:
            return


def test_each_attempt_is_counted_once_after_its_stretch_is_over(stage, agent, worker):
    for tool in ("look", "forbidden", "careful"):
        stage.call(agent, tool, fresh())
    later = datetime.now(UTC) + tallies.STRETCH
    before = counted(stage.workspace)
    roll_up(datetime.now(UTC) - tallies.STRETCH)
    assert counted(stage.workspace) == before
    roll_up(later)
    assert counted(stage.workspace) == attempts(stage.workspace)
    roll_up(later + tallies.STRETCH)
    tallies.roll_up(later)
    assert counted(stage.workspace) == attempts(stage.workspace)
    since = tallies.stretch(later) - timedelta(hours=1)
    points = tallies.points(stage.workspace.pk, since=since, until=tallies.stretch(later), step=timedelta(minutes=30))
    assert sum(point.allow for point in points) == attempts(stage.workspace)["allow"]
    assert any(point.p95 for point in points)


@pytest.mark.parametrize(
    ("counts", "low", "high"),
    [
        ({0: 10}, 0, 1),
        ({5: 100}, 20, 50),
        ({3: 94, 9: 6}, 500, 1000),
        ({3: 96, 9: 4}, 5, 10),
        ({15: 1}, 60_000, 60_000),
    ],
)
def test_a_percentile_lies_in_the_slot_of_the_call_that_it_is_of(counts, low, high):
    slots = [counts.get(slot, 0) for slot in range(len(tallies.EDGES) + 1)]
    assert low <= tallies.quantile(slots, 0.95) <= high


def test_nothing_counted_has_no_percentile():
    assert tallies.quantile([0] * 16, 0.95) is None
