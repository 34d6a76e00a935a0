"""What /metrics says about decision points: read from their rows when somebody looks."""

from collections.abc import Iterator

from prometheus_client.core import GaugeMetricFamily, Metric

from audit import gauges
from registry import pdps

_LABELS = ("workspace", "environment", "kind", "name")


def decision_points() -> Iterator[Metric]:
    """Yield the decision points of all workspaces. Silent ones stay until they are forgotten, for alerts to see."""
    current = GaugeMetricFamily("placet_pdp_current", "1: it serves its environment's newest bundle.", labels=_LABELS)
    seen = GaugeMetricFamily("placet_pdp_last_seen_seconds", "Unix time when it reported last.", labels=_LABELS)
    problem = GaugeMetricFamily("placet_pdp_problem", "1: it could not take a bundle.", labels=_LABELS)
    for row in pdps.shown().order_by("pk"):
        place = row.environment
        about = [place.workspace.slug, place.name, row.kind, row.name]
        current.add_metric(about, float(row.current))
        seen.add_metric(about, row.last_seen.timestamp())
        problem.add_metric(about, float(bool(row.problem)))
    yield from (current, seen, problem)


def register() -> None:
    """Add them to what this process counts."""
    gauges.register(decision_points)
