"""What /metrics says about decision points: read from their rows when somebody looks."""

from collections.abc import Iterator

import structlog
from django.db import DatabaseError
from prometheus_client import REGISTRY
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from registry import pdps

log = structlog.get_logger(__name__)
_LABELS = ("workspace", "environment", "kind", "name")


class DecisionPoints(Collector):
    """The decision points of all workspaces. Silent ones stay until they are forgotten: an alert needs to see them."""

    def describe(self) -> list[Metric]:
        """Return nothing: registering must not ask the database."""
        return []

    def collect(self) -> Iterator[Metric]:
        """Yield the gauges; none while the database does not answer."""
        current = GaugeMetricFamily(
            "placet_pdp_current", "1: it serves its environment's newest bundle.", labels=_LABELS
        )
        seen = GaugeMetricFamily("placet_pdp_last_seen_seconds", "Unix time when it reported last.", labels=_LABELS)
        problem = GaugeMetricFamily("placet_pdp_problem", "1: it could not take a bundle.", labels=_LABELS)
        try:
            for row in pdps.shown().order_by("pk"):
                place = row.environment
                about = [place.workspace.slug, place.name, row.kind, row.name]
                current.add_metric(about, float(row.current))
                seen.add_metric(about, row.last_seen.timestamp())
                problem.add_metric(about, float(bool(row.problem)))
        except DatabaseError as error:
            log.warning("decision points cannot be counted", error=str(error).strip())
            return
        yield from (current, seen, problem)


def register() -> None:
    """Add them to what this process counts."""
    REGISTRY.register(DecisionPoints())
