"""What /metrics says about the state of calls and of the trail, over all workspaces: read from the rows."""

from collections.abc import Iterator

from django.db import connection
from prometheus_client.core import GaugeMetricFamily, Metric

from audit import gauges, halts


def conditions() -> Iterator[Metric]:
    """Yield the gauges."""
    halted = GaugeMetricFamily("placet_trail_halted", "Logs that the publisher refuses to sign.", labels=("code",))
    codes = [halt.code for halt in halts.standing()]
    for code in sorted({*codes, *halts.BROKEN}):
        halted.add_metric((code,), codes.count(code))
    unknown = GaugeMetricFamily("placet_calls_unknown", "Calls that may have happened and that nobody has settled.")
    away = GaugeMetricFamily("placet_breakers_open", "Tools that are not asked until a probe finds them back.")
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM gateway_call WHERE state = 'unknown'")
        unknown.add_metric((), cursor.fetchone()[0])
        cursor.execute("SELECT count(*) FROM gateway_breaker WHERE state <> 'closed'")
        away.add_metric((), cursor.fetchone()[0])
    yield from (halted, unknown, away)


def register() -> None:
    """Add them to what this process shows."""
    gauges.register(conditions)
