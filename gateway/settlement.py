"""A person says what became of a call that nobody could tell about."""

from datetime import datetime
from uuid import UUID

from django.db import connection, transaction

from audit import crash, log
from audit.canonical import JSON
from audit.refusal import Refusal, not_found
from gateway import contract, recall
from gateway.exchange import Outcome
from gateway.models import Call
from registry import memberships
from registry.models import Environment, Person

SETTLERS = frozenset({"operator", "reviewer"})
OUTCOMES = ("happened", "did_not_happen")


def settle(call: UUID, *, person: Person, outcome: str, result: JSON, now: datetime, correlation_id: str) -> Outcome:
    """Settle an unknown call. `happened`: it is completed, with `result` as told. `did_not_happen`: it has failed, and
    the same key may be tried again.

    :raises Refusal: not_found; role_missing; outcome_invalid; call_not_unknown: there is nothing to settle.
    """
    if outcome not in OUTCOMES:
        raise Refusal("outcome_invalid", f"The outcome is {' or '.join(OUTCOMES)}.", field="outcome")
    contract.check_size(result, code="result_too_large", what="result")
    with transaction.atomic():
        row = Call.objects.select_for_update().filter(pk=call).first()
        if row is None:
            raise not_found("call")
        environment = Environment.objects.get(workspace_id=row.workspace_id, name=row.environment)
        memberships.require(person, row.workspace_id, SETTLERS, environment=environment)
        if row.state != Call.State.UNKNOWN:
            detail = f"The call is {row.state}; only a call whose outcome is unknown can be settled."
            raise Refusal("call_not_unknown", detail, status=409)
        happened = outcome == "happened"
        state, code = ("completed", "settled_happened") if happened else ("failed", "settled_did_not_happen")
        subject = f"session:{row.session_id}"
        entry = log.append(
            "gateway.call.settled",
            workspace=row.workspace_id,
            actor=person.actor,
            correlation_id=correlation_id,
            now=now,
            subjects={"call": str(row.pk), "session": str(row.session_id), "tool": row.tool_digest},
            data={
                "attempt": row.attempt,
                "state": state,
                "code": code,
                "outcome": log.Sealed({"result": result, "is_error": False, "labels": []}, subject),
            },
        )
        with connection.cursor() as cursor:
            cursor.execute(
                """UPDATE gateway_call SET state = %s, code = %s, again = %s, outcome_record = %s, fence = fence + 1,
                          finished_at = clock_timestamp() WHERE id = %s""",
                [state, code, not happened, entry.id, row.pk],
            )
            cursor.execute(
                """UPDATE gateway_attempt SET state = %s, code = %s, outcome_record = %s
                   WHERE call_id = %s AND number = %s""",
                [state, code, entry.id, row.pk, row.attempt],
            )
    crash.point("gateway.settled")
    return recall.outcome(call)
