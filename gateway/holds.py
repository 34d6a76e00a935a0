"""Calls parked for a person: what they see is bound, and their word is used once."""

from datetime import datetime
from typing import Any
from uuid import UUID

from django.db import IntegrityError, connection, transaction
from django.db.backends.utils import CursorWrapper
from django.db.models.functions import Now
from psycopg.types.json import Jsonb

from audit import canonical, crash, log
from audit.canonical import JSON
from audit.refusal import Refusal, not_found
from audit.uuid7 import uuid7
from gateway import deciders
from gateway.decision import Decision
from gateway.exchange import Approval
from gateway.facts import Facts
from gateway.models import Hold, HoldApproval
from registry import authentication
from registry.authentication import Authentication
from registry.models import Environment, Person

EXPIRES_SECONDS = 24 * 3600
_PARK = """
INSERT INTO gateway_hold (id, workspace_id, environment, agent, call_id, attempt, state, codes, requirements, digest,
    name, tool_digest, policy, baseline, release, decided_record, on_behalf_of, run_starter, session_opener,
    credential_owner, expires_at)
VALUES (%s, %s, %s, %s, %s, %s, 'open', %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s,
    now() + %s * interval '1 s')
"""
_APPROVED = """
SELECT h.id, h.digest, h.codes, h.requirements,
       ARRAY(SELECT 'person:' || a.approver_id FROM gateway_holdapproval a
             WHERE a.hold_id = h.id AND a.verdict = 'approved' ORDER BY a.id)
FROM gateway_hold h WHERE h.call_id = %s AND h.state = 'approved' AND h.expires_at > now()
"""


def demands(decision: Decision) -> list[dict[str, JSON]]:
    """Return the {code, role, quorum} that the hold obligations of `decision` ask for; role None: any decider."""
    return [
        {"code": held["code"], "role": held.get("role"), "quorum": held.get("quorum", 1)}
        for held in decision.obligations
        if held["kind"] == "hold"
    ]


def outstanding(decision: Decision, approval: Approval | None) -> list[dict[str, JSON]]:
    """Return the demands that no approval has met: a new reason, or a stricter one, parks again."""
    met = approval.requirements if approval else ()
    return [demand for demand in demands(decision) if demand not in met]


def digest(facts: Facts) -> str:
    """Return the digest of what a person decides on: this call, its executed arguments, tool, policy and baseline."""
    at = facts.resolved
    return canonical.sha256(
        {
            "call": str(facts.claim.id),
            "arguments": facts.executed,
            "tool": at.contract.digest,
            "policy": at.release.policy,
            "baseline": at.release.baseline,
        }
    )


def check_unchanged(facts: Facts) -> None:
    """Do nothing if this attempt needs no approval, or is what the person saw. :raises Refusal: hold_void."""
    approval = facts.claim.approval
    if approval is not None and digest(facts) != approval.digest:
        detail = "The arguments, tool, policy or baseline are not those that the person saw."
        raise Refusal("hold_void", detail, status=409)


def park(cursor: CursorWrapper, facts: Facts, decision: Decision, record: UUID) -> UUID:
    """Insert the hold of a held decision, in the transaction that records it. Return its id."""
    at, request = facts.resolved, facts.request
    release, contract, session = at.release, at.contract, at.session
    wanted = outstanding(decision, facts.claim.approval)
    seconds = [h.get("expires_s", EXPIRES_SECONDS) for h in decision.obligations if h["kind"] == "hold"]
    pk = uuid7()
    where: list[Any] = [pk, release.workspace, release.environment, release.agent, facts.claim.id, facts.claim.number]
    what: list[Any] = [sorted({str(demand["code"]) for demand in wanted}), Jsonb(wanted), digest(facts), contract.name]
    bound: list[Any] = [contract.digest, release.policy, release.baseline, release.digest, record]
    owner = facts.principal.owner
    concerned: list[Any] = [
        facts.principal.on_behalf_of or session.on_behalf_of,
        request.run and request.run.get("starter"),
        session.opener,
        owner and f"person:{owner}",
    ]
    cursor.execute(_PARK, [*where, *what, *bound, *concerned, min(seconds)])
    return pk


def approval_of(call: UUID) -> Approval | None:
    """Return the approval that a further attempt at `call` may use, if there is one in force."""
    with connection.cursor() as cursor:
        cursor.execute(_APPROVED, [call])
        row = cursor.fetchone()
    if row is None:
        return None
    pk, seen, codes, requirements, approvers = row
    return Approval(pk, ",".join(approvers), seen, tuple(codes), tuple(_json(requirements)))


def approve(
    hold: UUID,
    *,
    approver: Person,
    digest: str,
    now: datetime,
    correlation_id: str,
    comment: str = "",
    proof: Authentication | None = None,
) -> Hold:
    """Put `approver`'s yes on record; with the last one that is needed the call may be released.

    :param digest: of what the approver saw.
    :param proof: how the approver signed in; None, which is not known, serves no protected environment.
    :raises Refusal: as for `reject`, and step_up_required, second_factor_required.
    """
    with transaction.atomic():
        row = _decide(hold, HoldApproval.Verdict.APPROVED, approver, digest, comment)
        place = Environment.objects.get(workspace_id=row.workspace_id, name=row.environment)
        authentication.require_recent(proof, place, now=now)
        approvals = HoldApproval.objects.filter(hold=row, verdict="approved").select_related("approver")
        if deciders.meet(row, [approval.approver for approval in approvals]):
            _close(row, Hold.State.APPROVED)
        _record("gateway.hold.approved", row, approver, now, correlation_id, proof)
    crash.point("gateway.hold_approved")
    return row


def reject(
    hold: UUID,
    *,
    approver: Person,
    digest: str,
    now: datetime,
    correlation_id: str,
    comment: str = "",
    proof: Authentication | None = None,
) -> Hold:
    """Put `approver`'s no on record: the call is denied.

    :raises Refusal: not_found; hold_closed; hold_changed: another digest; approver_excluded: one of those concerned;
        approver_role: no role that counts here; already_decided.
    """
    with transaction.atomic():
        row = _decide(hold, HoldApproval.Verdict.REJECTED, approver, digest, comment)
        _close(row, Hold.State.REJECTED)
        _deny_call(row.call_id, "hold_rejected")
        _record("gateway.hold.rejected", row, approver, now, correlation_id, proof)
    crash.point("gateway.hold_rejected")
    return row


def consume(cursor: CursorWrapper, approval: Approval, state: str) -> bool:
    """Use up an approved hold in the transaction that records the decision; False if it was used or ran out.

    :param state: `released`, or `void`, which one that has run out becomes, too.
    """
    cursor.execute(
        """UPDATE gateway_hold SET state = %s, closed_at = clock_timestamp()
           WHERE id = %s AND state = 'approved' AND (%s = 'void' OR expires_at > clock_timestamp())""",
        [state, approval.id, state],
    )
    return bool(cursor.rowcount)


def lock(cursor: CursorWrapper, approval: Approval) -> bool:
    """Lock the hold and look again: still approved, not expired, and the approvers may still decide it."""
    cursor.execute("SELECT 1 FROM gateway_hold WHERE id = %s FOR UPDATE", [approval.id])
    row = Hold.objects.get(pk=approval.id)
    cursor.execute("SELECT %s > clock_timestamp()", [row.expires_at])
    if row.state != Hold.State.APPROVED or not cursor.fetchone()[0]:
        return False
    return _met(row)


def backed(approval: Approval) -> bool:
    """Say whether the approvers of a hold that the caller has locked may still decide it."""
    return _met(Hold.objects.get(pk=approval.id))


def expire(*, now: datetime) -> int:
    """Close the holds that nobody decided or used in time; their calls are denied. Return how many."""
    closed = 0
    while True:
        with transaction.atomic():
            waiting = Hold.objects.filter(state__in=[Hold.State.OPEN, Hold.State.APPROVED], expires_at__lte=Now())
            row = waiting.select_for_update(skip_locked=True).first()
            if row is None:
                return closed
            _expire(row, actor="system:sweeper", correlation_id=str(uuid7()), now=now)
        crash.point("gateway.hold_expired")
        closed += 1


def expire_of(call: UUID, *, correlation_id: str, now: datetime) -> None:
    """Close the holds of a call that have run out, in the caller's transaction: it is asked anew, and may park again.

    The caller locks the call after this, never before: the sweeper locks in this order.
    """
    over = Hold.objects.filter(call_id=call, state__in=[Hold.State.OPEN, Hold.State.APPROVED], expires_at__lte=Now())
    for row in over.select_for_update():
        _expire(row, actor="system:gateway", correlation_id=correlation_id, now=now)


def _expire(row: Hold, *, actor: str, correlation_id: str, now: datetime) -> None:
    _close(row, Hold.State.EXPIRED)
    _deny_call(row.call_id, "hold_expired")
    _record("gateway.hold.expired", row, actor, now, correlation_id)


def _met(row: Hold) -> bool:
    approvals = HoldApproval.objects.filter(hold=row, verdict="approved").select_related("approver")
    return deciders.meet(row, [given.approver for given in approvals])


def _decide(hold: UUID, verdict: str, approver: Person, seen: str, comment: str) -> Hold:
    row = Hold.objects.select_for_update().filter(pk=hold).first()
    if row is None:
        raise not_found("hold")
    if refusal := deciders.refusal(row, approver):
        raise refusal
    with connection.cursor() as cursor:
        cursor.execute("SELECT %s <= clock_timestamp()", [row.expires_at])
        if row.state != Hold.State.OPEN or cursor.fetchone()[0]:
            state = row.state if row.state != Hold.State.OPEN else "expired"
            raise Refusal("hold_closed", f"The hold is {state}; nothing is left to decide.", status=409)
    if seen != row.digest:
        detail = "This is not the digest of what the hold shows now; look again before you decide."
        raise Refusal("hold_changed", detail, status=409, field="digest")
    try:
        with transaction.atomic():
            HoldApproval.objects.create(hold=row, approver=approver, verdict=verdict, digest=seen, comment=comment)
    except IntegrityError as error:
        raise Refusal("already_decided", "You have decided this hold already.", status=409) from error
    return row


def _close(row: Hold, state: str) -> None:
    with connection.cursor() as cursor:
        ended = state != Hold.State.APPROVED
        cursor.execute(
            """UPDATE gateway_hold SET state = %s, decided_at = coalesce(decided_at, clock_timestamp()),
                      closed_at = CASE WHEN %s THEN clock_timestamp() END WHERE id = %s""",
            [state, ended, row.pk],
        )
    row.refresh_from_db()


def _deny_call(call: UUID, code: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            """UPDATE gateway_call SET state = 'denied', code = %s, again = false, finished_at = clock_timestamp()
               WHERE id = %s AND state = 'parked'""",
            [code, call],
        )


def _record(
    event: str,
    row: Hold,
    by: Person | str,
    now: datetime,
    correlation_id: str,
    proof: Authentication | None = None,
) -> None:
    log.append(
        event,
        workspace=row.workspace_id,
        actor=by if isinstance(by, str) else by.actor,
        correlation_id=correlation_id,
        now=now,
        subjects={"hold": str(row.pk), "call": str(row.call_id), "tool": row.tool_digest, "policy": row.policy},
        data={
            "environment": row.environment,
            "agent": row.agent,
            "state": row.state,
            "codes": row.codes,
            **(authentication.recorded(proof) if isinstance(by, Person) else {}),
            "digest": log.Sealed(row.digest, row.on_behalf_of or f"call:{row.call_id}"),
        },
    )


def _json(value: Any) -> list[dict[str, JSON]]:
    """Return a jsonb column as raw cursors give it: Django turns its parsing off."""
    loaded: list[dict[str, JSON]] = canonical.loads(value.encode())
    return loaded
