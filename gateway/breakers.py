"""Circuit breakers: a tool that is away is not asked by anybody until a probe has found it back.

closed -> open -> half_open -> closed | open, per (workspace, environment, kind, name), in PostgreSQL for all processes.
What is read of it comes with the reservation, so a call of a healthy tool costs no statement more. Only failures of the
transport count: a tool that answers with an error is there, and a denial never got to it.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Protocol
from uuid import UUID, uuid5

import structlog
from django.conf import settings
from django.db import DatabaseError, connection, transaction

from audit import crash, log
from audit.uuid7 import uuid7
from gateway import telemetry
from gateway.models import Breaker
from registry import clock

logger = structlog.get_logger(__name__)
GATEWAY = "system:gateway"
# Failures that say that the tool is away, and what says that it is there: whatever it answered. Everything else (our
# own configuration, a full bulkhead, an error of ours) says nothing about the tool.
AWAY = frozenset({"tool_timeout", "tool_unreachable", "tool_protocol_error"})
ANSWERED = frozenset({"", "tool_error", "tool_result_too_large", "tool_result_malformed"})
REMEMBERED_SECONDS = 60  # a failure that is older says nothing about now
LONGEST_SECONDS = 600  # between two probes
# Whoever gets the row has a probe. One that died with its process gives its place back when its lease is over.
_PROBE = """
UPDATE gateway_breaker
SET state = 'half_open',
    generation = generation + (state = 'open' OR probe_until <= now())::int,
    probes = CASE WHEN state = 'open' OR probe_until <= now() THEN 1 ELSE probes + 1 END,
    answered = CASE WHEN state = 'open' OR probe_until <= now() THEN 0 ELSE answered END,
    probe_until = CASE WHEN state = 'open' OR probe_until <= now() THEN now() + %(seconds)s * interval '1 s'
                       ELSE greatest(probe_until, now() + %(seconds)s * interval '1 s') END
WHERE id = %(id)s AND (state = 'open' AND probe_at <= now()
    OR state = 'half_open' AND (probes < %(most)s OR probe_until <= now()))
RETURNING generation
"""
_BETTER = """
UPDATE gateway_breaker SET failures = failures - 1
WHERE id = %s AND generation = %s AND state = 'closed' AND failures > 0
"""


class Place(Protocol):
    """Where a release is live (registry.resolve.Release is one)."""

    @property
    def workspace(self) -> UUID: ...
    @property
    def environment(self) -> str: ...


class Named(Protocol):
    """The contract of a tool or model (registry.resolve.Contract is one)."""

    @property
    def kind(self) -> str: ...
    @property
    def name(self) -> str: ...
    @property
    def content(self) -> Mapping[str, Any]: ...


@dataclass(frozen=True, slots=True)
class Seen:
    """A breaker as it was when the call was reserved.

    :param wait: seconds until the next probe; 0 or less: now.
    """

    id: UUID
    state: str = "closed"
    failures: int = 0
    generation: int = 0
    wait: float = 0.0


@dataclass(frozen=True, slots=True)
class Pass:
    """The right to ask the tool once. What comes of it has to be reported."""

    seen: Seen
    generation: int
    probe: bool


class Away(Exception):
    """The tool is not asked. :param code: reason code. :param seconds: after which it may be worth asking again."""

    def __init__(self, code: str, seconds: float) -> None:
        super().__init__(f"{code}: ask again in {seconds:.1f} s")
        self.code = code
        self.seconds = max(1, math.ceil(seconds))


def id_of(place: Place, contract: Named) -> UUID:
    """Return the id of a contract's breaker, made from where it stands."""
    return uuid5(place.workspace, f"breaker/{place.environment}/{contract.kind}/{contract.name}")


def admit(seen: Seen, *, under_way: int, seconds: float) -> Pass:
    """Let a call pass to the tool, as one of many or as a probe.

    :param under_way: other calls at its upstream, in all processes together.
    :param seconds: how long the call may take; a probe that is not heard of any more counts no longer than that.
    :raises Away: breaker_open: it is, or its probes are under way; bulkhead_full.
    """
    if seen.state == Breaker.State.OPEN and seen.wait > 0:
        raise Away("breaker_open", seen.wait)
    if under_way >= settings.PLACET_UPSTREAM_CALLS:
        raise Away("bulkhead_full", 1)
    if seen.state == Breaker.State.CLOSED:
        return Pass(seen, seen.generation, probe=False)
    try:
        with connection.cursor() as cursor:
            cursor.execute(_PROBE, {"id": seen.id, "seconds": seconds, "most": settings.PLACET_BREAKER_PROBES})
            row = cursor.fetchone()
    except DatabaseError as error:  # without a probe nothing passes
        logger.error("a breaker cannot be asked", exc_info=error)
        connection.close_if_unusable_or_obsolete()
        raise Away("breaker_open", 1) from error
    if row is None:
        raise Away("breaker_open", 1)
    crash.point("gateway.probing")
    return Pass(seen, row[0], probe=True)


def report(given: Pass, place: Place, contract: Named, code: str, *, patient: bool, correlation_id: str) -> None:
    """Say what came of a call that was let pass; what is open, opens or closes is decided here.

    :param code: of the answer or of the transport's failure; empty: the tool answered.
    :param patient: the caller gave the tool all the time that its contract has. A timeout that an impatient caller
        caused says nothing: else one agent could take a tool from all the others.
    """
    away = code in AWAY and (patient or code != "tool_timeout")
    silent = not away and code not in ANSWERED
    if not given.probe and (silent or (not away and given.seen.failures <= 0)):
        return  # the way of nearly every call
    try:
        if given.probe or away:
            _move(given, place, contract, code, away=away, silent=silent, correlation_id=correlation_id)
        else:
            with connection.cursor() as cursor:
                cursor.execute(_BETTER, [given.seen.id, given.generation])
    except Exception as error:
        # The outcome of the call is what has to be recorded; a breaker that heard of one call less is none the worse.
        logger.error("a breaker was not told", exc_info=error)
        connection.close_if_unusable_or_obsolete()


def reset(breaker: Breaker, *, actor: str, now: datetime, correlation_id: str) -> Breaker:
    """Close a breaker by hand: the operator knows that the tool is back. Idempotent."""
    with transaction.atomic():
        row = Breaker.objects.select_for_update().get(pk=breaker.pk)
        if row.state != Breaker.State.CLOSED:
            _close(row)
            _record("gateway.breaker.closed", row, actor=actor, now=now, correlation_id=correlation_id, by="reset")
    return row


def _move(
    given: Pass, place: Place, contract: Named, code: str, *, away: bool, silent: bool, correlation_id: str
) -> None:
    with transaction.atomic():
        row = _locked(given.seen.id, place, contract)
        if row.generation != given.generation:
            return  # a call of an earlier time says nothing about this one
        now = clock.read()
        if row.state == Breaker.State.HALF_OPEN:
            _judge_probe(row, away=away, silent=silent, code=code, now=now)
        elif row.state == Breaker.State.CLOSED and away:
            fresh = row.failed_at is not None and row.failed_at > now - timedelta(seconds=REMEMBERED_SECONDS)
            row.failures = (row.failures if fresh else 0) + 1
            row.failed_at, row.code = now, code
            if row.failures >= settings.PLACET_BREAKER_FAILURES:
                _open(row, code, now)
        row.save()
        event = {Breaker.State.OPEN: "gateway.breaker.opened", Breaker.State.CLOSED: "gateway.breaker.closed"}
        if row.generation != given.generation:
            state = Breaker.State(row.state)
            by = "probe" if given.probe else "call"
            _record(event[state], row, actor=GATEWAY, now=now, correlation_id=correlation_id, by=by)
    crash.point("gateway.breaker_moved")


def _locked(pk: UUID, place: Place, contract: Named) -> Breaker:
    row = Breaker.objects.select_for_update().filter(pk=pk).first()
    if row is not None:
        return row
    where = {"workspace_id": place.workspace, "environment": place.environment}
    made = Breaker(pk=pk, kind=contract.kind, name=contract.name, **where)
    Breaker.objects.bulk_create([made], ignore_conflicts=True)
    return Breaker.objects.select_for_update().get(pk=pk)


def _judge_probe(row: Breaker, *, away: bool, silent: bool, code: str, now: datetime) -> None:
    if silent:
        row.probes = max(0, row.probes - 1)
    elif away:
        row.failed_at = now
        _open(row, code, now)
    else:
        row.answered += 1
        if row.answered >= settings.PLACET_BREAKER_PROBES:
            _close(row)


def _open(row: Breaker, code: str, now: datetime) -> None:
    pause = min(settings.PLACET_BREAKER_SECONDS * 2**row.openings, LONGEST_SECONDS)
    row.state, row.code, row.opened_at = Breaker.State.OPEN, code, now
    row.probe_at, row.probe_until = now + timedelta(seconds=pause), None
    row.openings = min(row.openings + 1, 30)
    row.generation += 1


def _close(row: Breaker) -> None:
    row.state, row.failures, row.openings = Breaker.State.CLOSED, 0, 0
    row.probe_at, row.probe_until, row.probes, row.answered = None, None, 0, 0
    row.generation += 1
    row.save()


def _record(event: str, row: Breaker, *, actor: str, now: datetime, correlation_id: str, by: str) -> None:
    about = {"environment": row.environment, "kind": row.kind, "name": row.name, "by": by}
    more = {"code": row.code, "failures": row.failures, "openings": row.openings}
    log.append(
        event,
        workspace=row.workspace_id,
        actor=actor,
        correlation_id=correlation_id or str(uuid7()),
        now=now,
        subjects={"breaker": str(row.pk)},
        data=about | (more if row.state == Breaker.State.OPEN else {}),
    )
    telemetry.BREAKERS.labels(row.environment, row.kind, row.name, row.state).inc()
