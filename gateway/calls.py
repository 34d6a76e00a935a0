"""The states of a call and of its attempts. Each move and its record commit together."""

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db import connection, transaction
from django.db.backends.utils import CursorWrapper

from audit import crash, log, receipts
from audit.canonical import JSON
from audit.prepared import Prepared
from audit.uuid7 import uuid7
from gateway import decision_logs, evidence, gist, holds, limits, sessions, tokens
from gateway.decision import Decision
from gateway.facts import Facts
from gateway.reasons import PASSING, deny
from registry import resolve

_TRIES = 3  # at sealing values whose subject is erased meanwhile
GRACE_SECONDS = 5  # between the end of a call's deadline and the moment when its outcome counts as unknown
# Functions of migration 0015: what changes, and the record of it. They return why nothing was changed, or null.
_DECIDE = Prepared(f"SELECT gateway_decide({', '.join(['%s'] * (29 + log.PARAMETERS))})")
_FINISH = Prepared(f"SELECT gateway_finish({', '.join(['%s'] * (9 + log.PARAMETERS))})")
_LOSE = """
UPDATE gateway_call SET state = 'unknown', code = 'outcome_unknown', fence = fence + 1, outcome_record = %s
WHERE id = %s AND fence = %s AND state = 'decided' AND lease_until <= clock_timestamp()
"""


class Overtaken(Exception):
    """Our lease ran out and somebody else has the call: what we know of it counts no more."""


class _Refused(Exception):
    """The gate is shut for this call."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


@dataclass(frozen=True, slots=True)
class Decided:
    """A decision on record. `verdict` is "allow" only here, after the commit."""

    verdict: str
    decision: Decision
    code: str
    again: bool
    receipt: str
    hold: UUID | None = None


def decide(facts: Facts, decision: Decision, *, seconds: float) -> Decided:
    """Commit the decision before the act, behind the gate that a stop and a revocation shut.

    :param seconds: how long the execution may take; the lease runs that long and GRACE_SECONDS more.
    :raises Overtaken: somebody else has the claim; nothing was recorded.
    """
    try:
        return _decide(facts, decision, seconds)
    except _Refused as refused:
        return _decide(facts, deny(refused.code), seconds)


def finish(
    facts: Facts,
    *,
    state: str,
    code: str,
    outcome: Mapping[str, JSON],
    labels: Sequence[str] = (),
    usage: limits.Usage | None = limits.NOTHING,
    again: bool = False,
    fallback: str = "",
    duration_ms: int = 0,
) -> str:
    """Commit what came of the attempt, the labels of its answer and what it used; return the receipt.

    Labels commit here, before any byte of the answer leaves.

    :param state: "completed", "failed" or "unknown". :param fallback: the tool that is asked instead.
    :raises Overtaken: a further attempt has begun.
    """
    claim, at = facts.claim, facts.resolved
    event = {"completed": "gateway.call.completed", "failed": "gateway.call.failed", "unknown": "gateway.call.lost"}
    made = log.draft(
        event[state],
        workspace=facts.principal.workspace,
        actor=facts.principal.actor,
        correlation_id=facts.request.correlation_id,
        now=facts.now,
        subjects={"call": str(claim.id), "session": str(at.session.id), "tool": at.contract.digest},
        data={
            "attempt": claim.number,
            "state": state,
            "code": code,
            "labels": sorted(labels),
            "usage": {"tokens": usage.tokens, "cost_micro_usd": usage.cost_micro_usd} if usage else None,
            "duration_ms": duration_ms,
            **({"fallback": fallback} if fallback else {}),
            "outcome": log.Sealed(dict(outcome), facts.subject),
        },
    )
    used: Sequence[Any] = usage if usage is not None else (None, None)
    ended: list[Any] = [claim.id, claim.fence, claim.number, state, code, again, fallback, *used]
    with _together(bool(labels)), connection.cursor() as cursor:
        sessions.label(cursor, at.session.root, labels, call=claim.id)
        if _change(cursor, _FINISH, ended, made) is not None:
            raise Overtaken
        crash.point("gateway.completing")
    crash.point("gateway.completed")
    return receipts.issue(made.entry)


def lose(call: UUID, *, fence: int, actor: str, correlation_id: str, now: datetime | None = None) -> bool:
    """Put on record that nobody can tell what became of a decided attempt; False if somebody knows better by now.

    What it reserved counts as used.
    """
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(
            """SELECT workspace_id, attempt, session_id, tool_digest, now() FROM gateway_call
               WHERE id = %s AND fence = %s AND state = 'decided' AND lease_until <= clock_timestamp() FOR UPDATE""",
            [call, fence],
        )
        row = cursor.fetchone()
        if row is None:
            return False
        workspace, number, session, tool, at = row
        entry = log.append(
            "gateway.call.lost",
            workspace=workspace,
            actor=actor,
            correlation_id=correlation_id,
            now=now or at,
            subjects={"call": str(call), "session": str(session), "tool": tool},
            data={"attempt": number, "state": "unknown", "code": "outcome_unknown"},
        )
        cursor.execute(_LOSE, [entry.id, call, fence])
        cursor.execute(
            """UPDATE gateway_attempt SET state = 'unknown', code = 'outcome_unknown', outcome_record = %s,
                      finished_at = clock_timestamp() WHERE call_id = %s AND number = %s""",
            [entry.id, call, number],
        )
        limits.settle(cursor, call, None)
    crash.point("gateway.lost")
    return True


def labels(decided: Decided) -> list[str]:
    """Return the labels that the decision itself put on the session."""
    return evidence.labels(decided.decision)


def sweep(now: datetime) -> dict[str, int]:
    """Tidy up after crashes and the passing of time; safe to run anywhere, any number of times at once.

    :returns: how many calls were lost, holds and sessions expired, leases freed, keys set free.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            """SELECT id, fence FROM gateway_call WHERE state = 'decided' AND lease_until <= now()
               ORDER BY lease_until LIMIT 1000"""
        )
        overdue = cursor.fetchall()
    lost = sum(
        lose(pk, fence=fence, actor="system:sweeper", correlation_id=str(uuid7()), now=now) for pk, fence in overdue
    )
    swept = {
        "calls_lost": lost,
        "holds_expired": holds.expire(now=now),
        "sessions_expired": sessions.expire(now=now),
        "leases_freed": limits.free_leaked(),
        "decisions_compared": decision_logs.reconcile(now=now),
    }
    with connection.cursor() as cursor:
        # An unknown call keeps its key until a person has settled it.
        cursor.execute(
            """UPDATE gateway_call SET live = false WHERE live AND expires_at <= now()
               AND (state IN ('denied', 'completed', 'failed') OR state = 'claimed' AND lease_until <= now())"""
        )
        swept["keys_freed"] = cursor.rowcount
    return swept


def _decide(facts: Facts, decision: Decision, seconds: float) -> Decided:
    """Commit one decision. :raises _Refused: it was an allow, and something committed before forbids it now."""
    claim = facts.claim
    approval = claim.approval
    verdict = _verdict(facts, decision)
    code = "" if verdict == "allow" else _code(decision, verdict)
    again = verdict == "deny" and (decision.failure is not None or code in PASSING)
    made = evidence.decided(facts, decision, verdict, code)
    labels = evidence.labels(decision) if verdict == "allow" else []
    more = approval is not None or verdict == "hold" or decision.difference is not None or bool(labels or facts.tokens)
    hold = None
    with _together(more), connection.cursor() as cursor:
        if decision.allow and approval is not None and not holds.lock(cursor, approval):
            raise _Refused("hold_void")
        evidence.append_difference(facts, decision)
        if approval is not None and (not again or code == "hold_void"):
            used = holds.consume(cursor, approval, "released" if verdict == "allow" else "void")
            if verdict == "allow" and not used:
                raise Overtaken  # it was locked and looked at: this cannot be, and must not pass if it is
        if verdict == "hold":
            hold = holds.park(cursor, facts, decision, made.entry.id)
        # The gate comes last of our locks: nobody behind it waits for a row of ours.
        state = {"allow": "decided", "deny": "denied", "hold": "parked"}[verdict]
        moved: list[Any] = [claim.id, claim.fence, claim.number, uuid7(), state, verdict, code, again]
        ran: list[Any] = [facts.effect, *_digests(facts), approval.id if approval else None]
        said: list[Any] = [facts.answered.decision_id if facts.answered else "", _gist(facts)]
        counted = facts.budget if facts.reserved is not None else None
        lasts: list[Any] = [seconds + GRACE_SECONDS, _window(facts), counted]
        refused = _change(cursor, _DECIDE, [*_gate(facts, decision), *moved, *ran, *said, *lasts], made)
        if refused == "overtaken":
            raise Overtaken
        if refused is not None:
            raise _Refused(refused)
        # Behind the gate, where none of them leaves or loses a role until this commits.
        if verdict == "allow" and approval is not None and not holds.backed(approval):
            raise _Refused("hold_void")
        if verdict == "allow":
            sessions.label(cursor, facts.resolved.session.root, labels, call=claim.id)
            tokens.keep(cursor, facts)
        crash.point("gateway.deciding")
    crash.point("gateway.decided")
    return Decided(verdict, decision, code, again, receipts.issue(made.entry), hold)


def _together(more: bool) -> AbstractContextManager[object]:
    """Open a transaction if more than one statement changes something: a single one is a transaction by itself."""
    return transaction.atomic() if more else nullcontext()


def _change(cursor: CursorWrapper, statement: Prepared, given: list[Any], made: log.Draft) -> str | None:
    """Execute a function that changes something and appends the record of it; return why it did not, or None."""
    for _ in range(_TRIES):
        cursor.execute(statement, [*given, *made.parameters(cursor)])
        refused: str | None = cursor.fetchone()[0]
        if refused is None:
            made.appended()
        if refused != "erased":
            return refused
        made.forget()
    raise RuntimeError("A value could not be sealed: its subject is being erased.")


def _gate(facts: Facts, decision: Decision) -> list[Any]:
    """Return the gate that stops and revocations shut, as gateway_decide takes it. A denial passes without one.

    A release decides on the session as it is now: labels that came since the input was built make it stale.
    """
    session = facts.session.id if facts.session else None
    if not decision.allow:
        return [*[None] * resolve.GATE, facts.principal.id, session, None]
    at = facts.resolved
    labels = list(at.session.labels) if facts.claim.approval is not None else None
    gate = resolve.gate(at.release, agent=at.release.agent, tool=at.contract.name)
    return [*gate, facts.principal.id, session, labels]


def _digests(facts: Facts) -> tuple[str, str]:
    """Return the digests of release and contract, empty as far as the call did not come."""
    return facts.release.digest if facts.release else "", facts.contract.digest if facts.contract else ""


def _gist(facts: Facts) -> str:
    """Return what an OPA server's log of the decision is compared with; empty where none decides."""
    answered = facts.answered
    if settings.PLACET_PDP == "embedded" or answered is None or answered.failure is not None:
        return ""
    return gist.of(answered)


def _verdict(facts: Facts, decision: Decision) -> str:
    if not decision.allow:
        return "deny"
    return "hold" if holds.outstanding(decision, facts.claim.approval) else "allow"


def _code(decision: Decision, verdict: str) -> str:
    if decision.failure is not None:
        return decision.failure
    if verdict == "hold":
        return str(holds.demands(decision)[0]["code"])
    # Of the reasons, one that denies: a question for a person may stand beside it.
    asked = {demand["code"] for demand in holds.demands(decision)}
    denying = [reason.code for reason in decision.reasons if reason.code not in asked]
    return next(iter([*denying, *decision.codes]), "policy_denied")


def _window(facts: Facts) -> int | None:
    """Return for how many seconds the same key may be executed again; None: for ever."""
    if facts.effect == "unsafe":
        return 0
    if facts.effect == "keyed" and facts.contract is not None:
        return int(facts.contract.content["dedup_window_s"])
    return None
