"""Alarms: decisions that do not fit what the gateway asked. Row, record, count and log line."""

from collections import Counter
from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

import structlog

from audit import log as trail
from gateway import telemetry
from gateway.models import Alarm

FEW = 20  # decisions that an alarm names; how many there were it says, too
ACTOR = "system:gateway"
log = structlog.get_logger(__name__)


class Place(NamedTuple):
    """Where decisions were made. `environment`: its name."""

    workspace: UUID
    environment: str


class Case(NamedTuple):
    """One decision that an alarm is about."""

    why: str
    decision_id: str
    call: UUID | None


def raise_alarm(
    kind: str, place: Place, cases: Sequence[Case], *, now: datetime, correlation_id: str, pdp: str = ""
) -> Alarm:
    """Raise one alarm about `cases`, in the caller's transaction.

    A missing log is for information: an OPA server may drop what it cannot upload.
    """
    reasons = dict(Counter(case.why for case in cases))
    decisions = [case.decision_id for case in cases[:FEW]]
    calls = [str(case.call) for case in cases[:FEW] if case.call is not None]
    entry = trail.append(
        f"gateway.decision.{kind}",
        workspace=place.workspace,
        actor=ACTOR,
        correlation_id=correlation_id,
        now=now,
        data={
            "environment": place.environment,
            "pdp": pdp,
            "count": len(cases),
            "reasons": reasons,
            "decisions": decisions,
            "calls": calls,
        },
    )
    telemetry.ALARMS.labels(kind).inc(len(cases))
    tell = log.warning if kind == "unlogged" else log.error
    tell(f"decisions {kind}", environment=place.environment, workspace=str(place.workspace), pdp=pdp, **reasons)
    return Alarm.objects.create(
        workspace_id=place.workspace,
        environment=place.environment,
        kind=kind,
        pdp=pdp,
        count=len(cases),
        reasons=reasons,
        decisions=decisions,
        calls=calls,
        record=entry.id,
    )
