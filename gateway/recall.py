"""The stored outcome of a call: what a repeated request gets instead of a second execution."""

from collections.abc import Mapping
from typing import Any, NamedTuple
from uuid import UUID

from django.db import connection

from audit import receipts, sealed
from audit.canonical import JSON
from audit.refusal import Refusal, not_found
from gateway.decision import Decision, Reason
from gateway.exchange import Outcome
from gateway.reasons import message

PARKED_SECONDS = 5  # how long to wait before asking about a parked call again
_FIND = """
SELECT c.id, c.state, c.code, c.again, c.attempt, c.decided_record, c.outcome_record, c.fallback, h.id,
       coalesce(h.expires_at <= now(), false)
FROM gateway_call c
LEFT JOIN gateway_hold h ON h.call_id = c.id AND h.state IN ('open', 'approved')
WHERE c.id = %s
"""
_STATUS: Mapping[str, Any] = {
    "claimed": "in_flight",
    "decided": "in_flight",
    "parked": "parked",
    "denied": "denied",
    "completed": "finished",
    "failed": "failed",
    "unknown": "unknown",
}


class _Row(NamedTuple):
    id: UUID
    state: str
    code: str
    again: bool
    attempt: int
    decided_record: UUID | None
    outcome_record: UUID | None
    fallback: str
    hold: UUID | None
    hold_over: bool


def outcome(call: UUID) -> Outcome:
    """Return what is stored about `call`. :raises Refusal: not_found; outcome_erased (410)."""
    with connection.cursor() as cursor:
        cursor.execute(_FIND, [call])
        found = cursor.fetchone()
    if found is None:
        raise not_found("call")
    row = _Row(*found)
    if row.state == "parked" and row.hold_over:
        # The sweeper has not come by yet; what is over is over.
        return Outcome("denied", call, row.attempt, code="hold_expired", message=message("hold_expired"), replayed=True)
    kept = _kept(row.outcome_record, "/data/outcome") if row.state in ("completed", "failed", "unknown") else None
    decision = decision_of(row.decided_record) if row.state in ("denied", "parked") else None
    said = kept if isinstance(kept, dict) else {}
    return Outcome(
        _STATUS[row.state],
        call,
        row.attempt,
        decision=decision,
        result=said.get("result"),
        is_error=bool(said.get("is_error", False)),
        code=row.code,
        message=_message(row, decision),
        hold=row.hold if row.state == "parked" else None,
        receipts=_receipts(row),
        replayed=True,
        labels=tuple(said.get("labels", ())),
        again=row.again,
        fallback=row.fallback if row.state == "failed" else "",
        retry_after=PARKED_SECONDS if row.state == "parked" else None,
    )


def decision_of(record: UUID | None) -> Decision | None:
    """Return the decision that `record` keeps, None if there is none. :raises Refusal: outcome_erased."""
    kept = _kept(record, "/data/decision")
    if kept is None:
        return None
    return Decision(
        allow=kept["allow"],
        reasons=tuple(Reason(**reason) for reason in kept["reasons"]),
        obligations=tuple(kept["obligations"]),
        labels=tuple(kept["labels"]),
        engine="",
        revision="",
        failure=kept["failure"],
    )


def arguments_of(record: UUID) -> tuple[dict[str, JSON], dict[str, JSON]]:
    """Return the arguments of a decided attempt as received and as they would be executed.

    :raises Refusal: outcome_erased.
    """
    received = _kept(record, "/data/received")
    executed = _kept(record, "/data/executed")
    # Kept only where an obligation changed them.
    return received, received if executed is None else executed


def _kept(record: UUID | None, path: str) -> Any:
    if record is None:
        return None
    try:
        return sealed.open_value(record, path)
    except sealed.Erased as erased:
        detail = "The outcome of this call was erased with its data subject; the record of it remains."
        raise Refusal("outcome_erased", detail, status=410) from erased
    except Refusal as refusal:
        if refusal.code == "not_found":  # this record keeps no such value
            return None
        raise


def _message(row: _Row, decision: Decision | None) -> str:
    if decision is not None and decision.reasons and row.code in {reason.code for reason in decision.reasons}:
        return next(reason.message for reason in decision.reasons if reason.code == row.code)
    return message(row.code) if row.code else ""


def _receipts(row: _Row) -> tuple[str, ...]:
    records = [record for record in (row.decided_record, row.outcome_record) if record is not None]
    return tuple(receipts.reissue_all(records)) if records else ()
