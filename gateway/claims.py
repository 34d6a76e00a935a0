"""Step 1: one live claim per (workspace, credential, key). The database decides who has it, and for how long."""

import hmac
from typing import Any, NamedTuple
from uuid import UUID

from django.conf import settings
from django.db import connection, transaction
from django.db.backends.utils import CursorWrapper
from psycopg.types.json import Jsonb

from audit import crash, keys
from audit.canonical import JSON
from audit.prepared import Prepared
from audit.refusal import Refusal
from audit.uuid7 import uuid7
from gateway import calls, contract, fallbacks, holds, limits, recall, sessions
from gateway.exchange import Outcome, Request
from gateway.facts import Claim
from gateway.principal import Principal
from registry import clock

LONGEST_KEY = 255
HMAC_KEY = "calls.hmac"  # file of the secrets, see audit.keys
KEPT_DAYS = 7  # a key means the same call for so long, or for the contract's dedup window if that is longer
_INSERT = """
WITH lazy AS MATERIALIZED (SELECT set_config('synchronous_commit', 'off', true)),
claimed AS (
    INSERT INTO gateway_call (id, workspace_id, environment, agent, credential_id, key, live, fingerprint, kind, name,
        asked_session, run, correlation_id, instead_of, state, code, again, attempt, fence, lease_until, effect,
        release, tool_digest, expires_at)
    SELECT %s, %s, %s, %s, %s, %s, true, %s, %s, %s, %s, %s, %s, %s, 'claimed', '', false, 0, 1,
        now() + %s * interval '1 s', '', '', '', now() + %s * interval '1 day' FROM lazy
    ON CONFLICT (workspace_id, credential_id, key) WHERE live DO NOTHING RETURNING id)
"""
# No row where the key is claimed already; else one, of nulls if neither session nor release was found.
_CLAIM = {
    look: Prepared(f"{_INSERT}SELECT seen.* FROM claimed LEFT JOIN ({look}) AS seen ON true")  # noqa: S608 - constants
    for look in (sessions.LIVE, sessions.NAMED)
}
_FIND = Prepared("""
SELECT c.id, c.fingerprint, c.state, c.again, c.attempt, c.fence, c.lease_until > now(),
       c.effect <> 'unsafe' AND coalesce(c.repeatable_until > now(), true),
       s.state IS NULL OR s.state = 'open' AND s.expires_at > now() OR s.sticky AND s.state <> 'closed',
       c.fallback <> '', c.counted_in
FROM gateway_call c LEFT JOIN gateway_session s ON s.id = c.session_id
WHERE c.workspace_id = %s AND c.credential_id = %s AND c.key = %s AND c.live
""")
_TAKE = Prepared("""
UPDATE gateway_call
SET state = 'claimed', code = '', again = false, fence = fence + 1, finished_at = NULL,
    lease_until = now() + %s * interval '1 s'
WHERE id = %s AND fence = %s AND state = %s AND (state <> 'claimed' OR lease_until <= now())
RETURNING fence
""")


class _Row(NamedTuple):
    id: UUID
    fingerprint: bytes
    state: str
    again: bool
    attempt: int
    fence: int
    leased: bool
    repeatable: bool
    session_good: bool
    replaced: bool
    counted: UUID | None


class _Replaced(Exception):
    """The fallback has the word."""


def claim(principal: Principal, request: Request) -> Claim | Outcome:
    """Claim the call, or return what is known of it: a stored outcome, a hold, another request under way.

    The commit need not wait for the disk: a claim that a crash loses was not decided on, and every later commit of
    the call carries it along.

    :raises Refusal: idempotency_key_invalid; key_reused (422): the key stands for another call; arguments_too_large;
        session_closed: a stored outcome is not replayed into a closed session.
    """
    if not 0 < len(request.key) <= LONGEST_KEY:
        detail = f"An idempotency key has 1 to {LONGEST_KEY} characters."
        raise Refusal("idempotency_key_invalid", detail, field="Idempotency-Key")
    if request.instead_of is None:
        return _claim(principal, request)
    # Behind the lock of the call in whose place it stands: of the two, one is under way at a time.
    with transaction.atomic(), connection.cursor() as cursor:
        if not fallbacks.stands(cursor, request.instead_of, request.name):
            return Outcome("in_flight", request.instead_of, code="in_flight", again=True, retry_after=1)
        return _claim(principal, request)


def upstream_key(principal: Principal, request: Request, claim: Claim) -> str:
    """Return the key that the tool sees: the same for all attempts, never the caller's own text.

    :raises KeyMissing: the secret of the first attempt was dropped meanwhile; under another the tool would act twice.
    """
    scope = f"tool\0{principal.workspace}\0{principal.id}\0{request.key}"
    for secret in keys.every_secret(HMAC_KEY):
        if keys.secret_id(secret) == claim.secret:
            return hmac.digest(secret, scope.encode(), "sha256").hex()
    raise keys.KeyMissing(f"The secret {claim.secret} of {HMAC_KEY} is not there any more.")


def _claim(principal: Principal, request: Request) -> Claim | Outcome:
    secret, *older = keys.every_secret(HMAC_KEY)
    fingerprint = _fingerprint(request, secret)
    pk, seconds = uuid7(), settings.PLACET_LEASE_SECONDS
    where: list[Any] = [
        pk,
        principal.workspace,
        principal.environment,
        principal.agent or "",
        principal.id,
        request.key,
    ]
    run = Jsonb(dict(request.run)) if request.run else None
    what: list[Any] = [fingerprint, request.kind, request.name, request.session, run, request.correlation_id]
    what.append(request.instead_of)
    # What a new call resolves to is read along with it: a round trip less.
    look, sought = sessions.look(principal, request.session)
    with connection.cursor() as cursor:
        cursor.execute(_CLAIM[look], [*where, *what, seconds, KEPT_DAYS, *sought])
        seen = cursor.fetchone()
        if seen is not None:
            crash.point("gateway.claimed")
            return Claim(pk, fence=1, number=1, secret=keys.secret_id(secret), seen=seen)
        cursor.execute(_FIND, [principal.workspace, principal.id, request.key])
        found = cursor.fetchone()
    if found is None:  # the claim expired between the two statements
        return Outcome("in_flight", pk, code="in_flight", again=True, retry_after=1)
    row = _Row(*found)
    for each in (secret, *older):
        if hmac.compare_digest(bytes(row.fingerprint), _fingerprint(request, each)):
            return _known(row, request, keys.secret_id(each))
    detail = "This key was used for another call. A new call needs a new key."
    raise Refusal("key_reused", detail, status=422, field="Idempotency-Key")


def _fingerprint(request: Request, secret: bytes) -> bytes:
    session = str(request.session) if request.session else None
    value: JSON = [session, request.kind, request.name, request.arguments]
    raw = contract.check_size(value, code="arguments_too_large", what="arguments")
    return hmac.digest(secret, b"call\0" + raw, "sha256")


def _known(row: _Row, request: Request, secret: str) -> Claim | Outcome:
    """Decide what the same request means now that its call exists already."""
    busy = Outcome("in_flight", row.id, row.attempt, code="in_flight", again=True, retry_after=1)
    if row.state in ("claimed", "decided") and row.leased:
        return busy
    if row.state == "decided":
        # Its process died, or lost the database, between decision and outcome.
        if not calls.lose(row.id, fence=row.fence, actor="system:gateway", correlation_id=request.correlation_id):
            return busy
        row = row._replace(state="unknown", fence=row.fence + 1)
    approval = holds.approval_of(row.id) if row.attempt else None
    may_go_on = {
        "claimed": True,
        "parked": approval is not None,
        "unknown": row.repeatable,
    }.get(row.state, row.again)
    if may_go_on:
        try:
            fence = _take(row, request)
        except _Replaced:
            return recall.outcome(row.id)
        return busy if fence is None else Claim(row.id, fence, row.attempt + 1, approval, row.counted, secret)
    if not row.session_good:
        raise Refusal("session_closed", "The session of this call is over; its outcome is not replayed.", status=403)
    return recall.outcome(row.id)


def _take(row: _Row, request: Request) -> int | None:
    """Take over a call. :raises _Replaced: another tool was asked in its place, and something may have happened."""
    with transaction.atomic(), connection.cursor() as cursor:
        if row.attempt:
            holds.expire_of(row.id, correlation_id=request.correlation_id, now=clock.read())
        if row.replaced and not fallbacks.idle(cursor, row.id):
            raise _Replaced
        cursor.execute(_TAKE, [settings.PLACET_LEASE_SECONDS, row.id, row.fence, row.state])
        taken = cursor.fetchone()
        if taken is None:
            return None
        _give_back(cursor, row.id)
    crash.point("gateway.reclaimed")
    return int(taken[0])


def _give_back(cursor: CursorWrapper, call: UUID) -> None:
    """An undecided attempt may have left its reservation; a decided one settled it."""
    limits.settle(cursor, call, limits.NOTHING)
