"""What OPA servers log of their decisions, compared with what we asked for and with what we made of the answer.

A log is a cross-check and not evidence: it comes late, twice, or not at all. So every doubt of the log's own making is
tolerated (a second ask of the same attempt, an answer that came too late for us), and what is left is an alarm.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db import connection, transaction
from django.db.backends.utils import CursorWrapper

from audit.uuid7 import uuid7
from gateway import alarms, opa_log, telemetry
from gateway.opa_log import Logged
from registry.models import Environment

NEAR = timedelta(seconds=60)  # between our decision and the OPA's clock, where no id joins the two
PATIENCE_SECONDS = 60  # how long a call that is ours may be without a decision on record
BATCH = 2000
_INSERT = """
INSERT INTO gateway_decisionlog
    (id, workspace_id, environment, decision_id, pdp, revision, call, allow, gist, at, state, why)
SELECT one.id, %s, %s, one.decision_id, one.pdp, one.revision, one.call, one.allow, one.gist, one.at, 'waiting', one.why
  FROM unnest(%s::uuid[], %s::text[], %s::text[], %s::text[], %s::uuid[], %s::boolean[], %s::text[],
              %s::timestamptz[], %s::text[])
       AS one (id, decision_id, pdp, revision, call, allow, gist, at, why)
ON CONFLICT (workspace_id, environment, decision_id) DO NOTHING RETURNING id
"""
_OURS = """
SELECT c.id, a.id, a.decision_id, a.gist, a.verdict, a.code, a.decided_at
  FROM gateway_call c LEFT JOIN gateway_attempt a ON a.call_id = c.id
 WHERE c.id = ANY (%s) AND c.workspace_id = %s AND c.environment = %s
"""
_JUDGED = """
UPDATE gateway_decisionlog AS log SET state = one.state, why = one.why
  FROM unnest(%s::uuid[], %s::text[], %s::text[]) AS one (id, state, why) WHERE log.id = one.id
"""
_LOGGED = "UPDATE gateway_attempt SET log_state = 'logged' WHERE id = ANY (%s) AND log_state IN ('expected', 'missing')"
_WAITING = """
SELECT id, decision_id, pdp, revision, call, allow, gist, at, why, workspace_id, environment,
       received_at < now() - %s * interval '1 s'
  FROM gateway_decisionlog WHERE state = 'waiting' ORDER BY received_at LIMIT %s FOR UPDATE SKIP LOCKED
"""
_MISSING = """
WITH late AS (
    SELECT a.id FROM gateway_attempt a WHERE a.log_state = 'expected' AND a.decided_at < now() - %s * interval '1 s'
     ORDER BY a.decided_at LIMIT %s FOR UPDATE SKIP LOCKED)
UPDATE gateway_attempt AS attempt SET log_state = 'missing' FROM late, gateway_call c
 WHERE attempt.id = late.id AND c.id = attempt.call_id
RETURNING c.workspace_id, c.environment, attempt.decision_id, c.id
"""
_FORGET = """
DELETE FROM gateway_decisionlog WHERE id IN (
    SELECT id FROM gateway_decisionlog WHERE received_at < now() - %s * interval '1 day' AND state = 'matched'
     ORDER BY received_at LIMIT %s)
"""


@dataclass(frozen=True, slots=True)
class Attempt:
    """What our side has of a decision."""

    id: UUID
    decision_id: str
    gist: str
    verdict: str
    code: str
    at: datetime


@dataclass(frozen=True, slots=True)
class Judgement:
    """What a log turned out to be; `attempt` is the one that asked for it, if it names it."""

    state: str
    why: str = ""
    attempt: UUID | None = None


def receive(environment: Environment, events: Any, *, now: datetime, correlation_id: str) -> int:
    """Keep the decisions of an upload, each once, and raise an alarm for what does not fit; return how many were new.

    :raises Refusal: log_malformed, log_too_long (413).
    """
    rows = list({row.decision_id: row for row in opa_log.read(events)}.values())
    with transaction.atomic(), connection.cursor() as cursor:
        columns = [list(column) for column in zip(*rows, strict=True)] or [[] for _ in Logged._fields]
        cursor.execute(_INSERT, [environment.workspace_id, environment.name, *columns])
        new = {pk for (pk,) in cursor.fetchall()}
        fresh = [row for row in rows if row.id in new]
        place = alarms.Place(environment.workspace_id, environment.name)
        _settle(cursor, place, [(row, False) for row in fresh], now=now, correlation_id=correlation_id)
    return len(fresh)


def reconcile(*, now: datetime) -> int:
    """Judge again what waited, note what was never logged, forget what is old; return how much was found.

    Any number of processes may do it at once.
    """
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(_WAITING, [PATIENCE_SECONDS, BATCH])
        places: dict[alarms.Place, list[tuple[Logged, bool]]] = {}
        for *row, workspace, name, late in cursor.fetchall():
            places.setdefault(alarms.Place(workspace, name), []).append((Logged(*row), late))
        found = sum(
            _settle(cursor, place, rows, now=now, correlation_id=str(uuid7())) for place, rows in places.items()
        )
        cursor.execute(_MISSING, [settings.PLACET_OPA_LOG_GRACE_SECONDS, BATCH])
        missing: dict[alarms.Place, list[alarms.Case]] = {}
        for workspace, name, decision_id, call in cursor.fetchall():
            missing.setdefault(alarms.Place(workspace, name), []).append(alarms.Case("not_logged", decision_id, call))
        for place, cases in missing.items():
            alarms.raise_alarm("unlogged", place, cases, now=now, correlation_id=str(uuid7()))
            found += len(cases)
        cursor.execute(_FORGET, [settings.PLACET_OPA_LOG_DAYS, BATCH])
    return found


def judge(row: Logged, attempts: Sequence[Attempt] | None, *, late: bool) -> Judgement | None:
    """Return what a log is; None while our decision may still be on its way.

    :param attempts: of the call that it names, None if that is no call of this environment.
    :param late: whether there has been time enough for a decision to be on record.
    """
    if row.why or attempts is None:
        return Judgement("bypassed", row.why or "call_unknown")
    for attempt in attempts:
        if attempt.decision_id == row.decision_id:
            # Without a gist we made nothing of the answer: it was a failure, and a deny.
            same = attempt.gist in ("", row.gist)
            return Judgement("matched" if same else "mismatched", "" if same else "other_result", attempt.id)
    near = [attempt for attempt in attempts if abs(row.at - attempt.at) <= NEAR]
    if not near:
        if not late:
            return None
        # We asked and never came to decide: the claim shows that, and that nothing was executed since.
        return Judgement("bypassed", "not_asked") if attempts else Judgement("matched", "undecided")
    if row.allow is not True or any(_bears(attempt, row) for attempt in near):
        return Judgement("matched", "asked_again")
    return Judgement("mismatched", "denied_here")


def _bears(attempt: Attempt, row: Logged) -> bool:
    """Say whether a second answer `allow` fits the attempt: the same, or one that came too late for us."""
    return attempt.gist == row.gist or attempt.verdict != "deny" or attempt.code.startswith(("pdp_", "bundle_"))


def _settle(
    cursor: CursorWrapper,
    place: alarms.Place,
    rows: Sequence[tuple[Logged, bool]],
    *,
    now: datetime,
    correlation_id: str,
) -> int:
    """Judge `rows`, each with whether it is late, and write down what came of it; return how many are settled."""
    ours = _ours(cursor, place, {row.call for row, _ in rows if row.call is not None})
    judged = [(row, judge(row, ours.get(row.call), late=late)) for row, late in rows]
    settled = [(row, one) for row, one in judged if one is not None]
    if not settled:
        return 0
    cursor.execute(
        _JUDGED, [list(column) for column in zip(*((row.id, j.state, j.why) for row, j in settled), strict=True)]
    )
    cursor.execute(_LOGGED, [[one.attempt for _, one in settled if one.attempt is not None]])
    for state, count in Counter(one.state for _, one in settled).items():
        telemetry.DECISION_LOGS.labels(state).inc(count)
    for kind in ("bypassed", "mismatched"):
        for pdp in dict.fromkeys(row.pdp for row, one in settled if one.state == kind):
            cases = [
                alarms.Case(one.why, row.decision_id, row.call)
                for row, one in settled
                if one.state == kind and row.pdp == pdp
            ]
            alarms.raise_alarm(kind, place, cases, pdp=pdp, now=now, correlation_id=correlation_id)
    return len(settled)


def _ours(cursor: CursorWrapper, place: alarms.Place, calls: Iterable[UUID]) -> dict[UUID | None, list[Attempt]]:
    cursor.execute(_OURS, [list(calls), place.workspace, place.environment])
    found: dict[UUID | None, list[Attempt]] = {}
    for call, *attempt in cursor.fetchall():
        listed = found.setdefault(call, [])
        if attempt[0] is not None:
            listed.append(Attempt(*attempt))
    return found
