"""What /metrics says about runs: how many are not over, for what they wait, and which steps nobody takes up."""

from collections.abc import Iterator

from django.db import connection
from prometheus_client.core import GaugeMetricFamily, Metric

from audit import gauges

_RUNS = """
SELECT state, wait, count(*) FROM agents_run
WHERE state NOT IN ('succeeded', 'failed', 'cancelled', 'compensated', 'compensation_failed') GROUP BY state, wait
"""
_DUE = """
SELECT count(*) FROM agents_step
WHERE state = 'ready' OR state = 'retry_at' AND not_before <= now() OR state = 'leased' AND lease_until <= now()
"""


def runs() -> Iterator[Metric]:
    """Yield the gauges, over all workspaces."""
    unfinished = GaugeMetricFamily(
        "placet_runs_unfinished", "Runs that are not over, by state and what they wait for.", labels=("state", "wait")
    )
    due = GaugeMetricFamily("placet_steps_due", "Steps that are due and that no worker has taken up.")
    with connection.cursor() as cursor:
        cursor.execute(_RUNS)
        for state, wait, count in cursor.fetchall():
            unfinished.add_metric((state, wait or ""), count)
        cursor.execute(_DUE)
        due.add_metric((), cursor.fetchone()[0])
    yield from (unfinished, due)


def register() -> None:
    """Add them to what this process shows."""
    gauges.register(runs)
