"""Requests that were turned away at the door: counted at once, put on record together, once a window and workspace.

A record each would cost more than the call that there was no room for, and make the overload worse. See ADR 18.
"""

import threading
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime
from uuid import UUID

import structlog
from django.db import DatabaseError, connection, transaction
from prometheus_client import Counter as Metric

from audit import log as trail
from audit.uuid7 import uuid7
from gateway.admission import STRANGER, Caller

ACTOR = "system:gateway"
WINDOW_SECONDS = 60.0
MOST_AGENTS = 50  # that a record names; how many requests there were it says, too
SHED = Metric("placet_requests_shed_total", "Requests turned away before anything was done, by why.", ["why"])
log = structlog.get_logger(__name__)


class Ledger:
    """What this process turned away in the present window. `later` runs a function in a thread when that is over."""

    def __init__(self, *, later: Callable[[Callable[[], None]], None] | None = None) -> None:
        self._later = later or _after_the_window
        self._lock = threading.Lock()
        self._counts: Counter[Caller] = Counter()
        self._since: datetime | None = None

    def count(self, caller: Caller, why: str) -> None:
        """Count one request. The first of a window makes sure that somebody will tell of all of them."""
        SHED.labels(why).inc()
        with self._lock:
            self._counts[caller] += 1
            if self._since is not None:
                return
            self._since = datetime.now(UTC)
        self._later(self._tell)

    def record(self, now: datetime) -> int:
        """Put what was counted so far on record, a record for each workspace; return how many records.

        What cannot be recorded stays counted. :raises DatabaseError: nothing was recorded.
        """
        with self._lock:
            counts, since = self._counts, self._since
            self._counts, self._since = Counter(), None
        if since is None:
            return 0
        strangers = counts.pop(STRANGER, 0)
        workspaces: dict[UUID, Counter[Caller]] = {}
        for caller, count in counts.items():
            if caller.workspace is not None:
                workspaces.setdefault(UUID(caller.workspace), Counter())[caller] = count
        try:
            with transaction.atomic():
                for workspace, shed in workspaces.items():
                    _append(workspace, shed, since, now)
        except DatabaseError:
            with self._lock:
                self._counts += counts
                self._counts[STRANGER] += strangers
                self._since = since
            raise
        log.warning("requests were turned away", known=sum(counts.values()), strangers=strangers)
        return len(workspaces)

    def _tell(self) -> None:
        try:
            self.record(datetime.now(UTC))
        except DatabaseError as error:
            log.error("what was turned away cannot be recorded yet", error=str(error).strip())
            self._later(self._tell)
        finally:
            connection.close()


def _after_the_window(tell: Callable[[], None]) -> None:
    timer = threading.Timer(WINDOW_SECONDS, tell)
    timer.daemon = True
    timer.start()


def _append(workspace: UUID, shed: Counter[Caller], since: datetime, until: datetime) -> None:
    agents: Counter[str] = Counter()
    for caller, count in shed.items():
        agents[caller.agent] += count
    trail.append(
        "gateway.load.shed",
        workspace=workspace,
        actor=ACTOR,
        correlation_id=str(uuid7()),
        now=until,
        data={
            "count": sum(shed.values()),
            "agents": dict(agents.most_common(MOST_AGENTS)),
            "since": since.isoformat(),
        },
    )


ledger = Ledger()
