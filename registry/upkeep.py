"""What time alone makes due. The sweeper calls it every few seconds; every part may run any number of times."""

from collections.abc import Callable, Mapping
from datetime import datetime

import structlog
from django.db.models import QuerySet

from registry import activations, pdps, proposals
from registry.models import Activation, Environment

logger = structlog.get_logger(__name__)


def run(*, now: datetime) -> dict[str, int]:
    """Finish, fail, revert and expire what is due; return how much of each. One failing part holds up no other."""
    return {name: _safely(part, now=now) for name, part in PARTS.items()}


def finish_in(environment: Environment, *, now: datetime) -> int:
    """Finish what waits in one environment: the decision point that reports may be the last that it waited for."""
    return sum(_safely(_finish_one, row, now=now) for row in _published().filter(environment=environment))


def _published() -> QuerySet[Activation]:
    return Activation.objects.filter(state="published").order_by("pk")


def _finish(*, now: datetime) -> int:
    rows = _published()
    return sum(_safely(_finish_one, row, now=now) for row in rows)


def _finish_one(row: Activation, *, now: datetime) -> int:
    done = activations.finish(row, now=now, correlation_id=f"activation-{row.pk}")
    return int(done.state != "published")


PARTS: Mapping[str, Callable[..., int]] = {
    "finished": _finish,
    "reverted": activations.revert_due,
    "failed": activations.fail_stuck,
    "expired": proposals.expire_due,
    "forgotten": pdps.forget_silent,
}


def _safely(part: Callable[..., int], *rows: Activation, now: datetime) -> int:
    try:
        return part(*rows, now=now)
    except Exception:
        # The next turn tries again; what else is due must not wait for it.
        logger.exception("upkeep failed", part=part.__name__)
        return 0
