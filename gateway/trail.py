"""High risk needs a trail that can be proven.

While records wait too long for a signature, or the log does not continue what was published, such tools are refused.
"""

import time
from datetime import datetime
from threading import Lock
from uuid import UUID

import structlog
from django.conf import settings
from django.db import DatabaseError
from prometheus_client import Gauge

from audit import halts, lag
from audit.refusal import Refusal
from registry.resolve import Contract

logger = structlog.get_logger(__name__)
KEPT_SECONDS = 1.0  # for which a process believes what it has read
_read: dict[UUID, tuple[float, float, str | None]] = {}
_lock = Lock()


def check(workspace: UUID, contract: Contract) -> None:
    """Do nothing unless the tool is of high risk and what is done now could not be proven later.

    :raises Refusal: trail_broken: the publisher refuses the log; trail_lagging: its oldest unsigned record is too old.
    """
    if contract.content.get("risk") != "high":
        return
    behind, why = _state(workspace)
    if why is not None:
        detail = (
            f"The log does not continue what was published ({why}), and tools of high risk are refused until a person "
            "has looked: see docs/operations/publisher-stopped.md."
        )
        raise Refusal("trail_broken", detail, status=503, retry_after=60)
    limit = settings.PLACET_TRAIL_LIMIT_SECONDS
    if behind > limit:
        detail = (
            f"The trail is {behind:.0f} s behind, and tools of high risk are refused past {limit} s. "
            "See that the sequencer and the publisher run and that the publisher has its key."
        )
        raise Refusal("trail_lagging", detail, status=503, retry_after=30)


def alarm(now: datetime) -> int:
    """Say loudly which logs are behind, and which are not signed at all; return how many. For the sweeper."""
    late = {log: behind for log, behind in lag.every().items() if behind > settings.PLACET_TRAIL_ALARM_SECONDS}
    for log, behind in late.items():
        logger.critical("the trail is behind", workspace=str(log), seconds=round(behind))
    refused = halts.standing()
    for halt in refused:
        logger.critical(
            "publishing has stopped", workspace=str(halt.workspace), code=halt.code, since=halt.since.isoformat()
        )
    return len(late) + len(refused)


def forget() -> None:
    """Forget what this process has read."""
    with _lock:
        _read.clear()


def _state(workspace: UUID) -> tuple[float, str | None]:
    with _lock:
        at, behind, why = _read.get(workspace, (float("-inf"), 0.0, None))
    if time.monotonic() - at > KEPT_SECONDS:
        halt = halts.of(workspace)
        behind, why = lag.seconds(workspace), halt.code if halt and halt.broken else None
        with _lock:
            _read[workspace] = (time.monotonic(), behind, why)
    return behind, why


def _worst() -> float:
    try:
        return max(lag.every().values(), default=0.0)
    except DatabaseError:
        return float("nan")  # nobody can tell


LAG = Gauge("placet_trail_lag_seconds", "Age of the oldest record that no checkpoint covers, over all workspaces.")
LAG.set_function(_worst)
