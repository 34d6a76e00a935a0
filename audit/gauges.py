"""What /metrics says by asking the database when somebody looks: the same in every process, whoever counts."""

from collections.abc import Callable, Iterable, Iterator

import structlog
from django.db import DatabaseError
from prometheus_client import REGISTRY
from prometheus_client.core import Metric
from prometheus_client.registry import Collector

log = structlog.get_logger(__name__)


class Gauges(Collector):
    """Gauges that `read` reads. While the database does not answer there are none, and a line in the log."""

    def __init__(self, read: Callable[[], Iterable[Metric]]) -> None:
        self._read = read

    def describe(self) -> list[Metric]:
        """Return nothing: registering must not ask the database."""
        return []

    def collect(self) -> Iterator[Metric]:
        """Yield what is read now, all of it or nothing."""
        try:
            yield from list(self._read())
        except DatabaseError as error:
            log.warning("gauges cannot be read", error=str(error).strip())


def register(read: Callable[[], Iterable[Metric]]) -> None:
    """Add what `read` reads to what this process shows."""
    REGISTRY.register(Gauges(read))
