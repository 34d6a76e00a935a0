"""Fallback: another tool of the release answers when the agreed one is away and nothing has happened there.

It is a governed call of its own, with its own decision, records and key, and names the call in whose place it stands.
One level only. Unless it is certain that nothing happened there either, the first call is not tried again.
"""

import hmac
from dataclasses import replace
from uuid import UUID

from django.db import connection
from django.db.backends.utils import CursorWrapper

from audit import keys
from gateway.answers import Answer
from gateway.exchange import Outcome, Request
from gateway.facts import Facts

# The tool was not asked, or never got the request. Whether that is so the answer's state says, not the code.
AWAY = frozenset({"breaker_open", "bulkhead_full", "tool_unreachable", "tool_busy", "tool_timeout"})
_IDLE = """
SELECT coalesce(bool_and(state = 'denied' OR state = 'failed' AND again), true) FROM gateway_call WHERE instead_of = %s
"""


def name_of(facts: Facts, answer: Answer) -> str:
    """Return the tool that is asked instead; empty if none is, or if something may have happened."""
    agreed = facts.resolved.contract
    named = str(agreed.content.get("fallback", ""))
    nothing = answer.state == "failed" and answer.again and answer.code in AWAY
    first = facts.request.instead_of is None and agreed.kind == "tool"
    pinned = named != agreed.name and named in facts.resolved.release.tools
    return named if nothing and first and pinned else ""


def request(first: Request, outcome: Outcome) -> Request | None:
    """Return what is asked instead of a call that ended with `outcome`, None if it stays at that."""
    if not outcome.fallback:
        return None
    key = _key(outcome.call, outcome.fallback)
    return replace(first, name=outcome.fallback, key=key, instead_of=outcome.call)


def told(first: Outcome, second: Outcome) -> Outcome:
    """Return what is told of a call and of the one in its place: of the second, unless nothing happened there."""
    if second.status == "denied" or (second.status == "failed" and second.again):
        return replace(first, fallback="", again=True, retry_after=first.retry_after or 1)
    return replace(second, answered_by=first.fallback, instead_of=first.call)


def stands(cursor: CursorWrapper, call: UUID, name: str) -> bool:
    """Lock `call` and say whether the tool `name` is still to be asked in its place."""
    cursor.execute("SELECT state = 'failed' AND fallback = %s FROM gateway_call WHERE id = %s FOR UPDATE", [name, call])
    row = cursor.fetchone()
    return bool(row and row[0])


def idle(cursor: CursorWrapper, call: UUID) -> bool:
    """Lock `call` and say whether nothing has happened, and nothing is under way, in its place."""
    cursor.execute("SELECT 1 FROM gateway_call WHERE id = %s FOR UPDATE", [call])
    cursor.execute(_IDLE, [call])
    return bool(cursor.fetchone()[0])


def _key(call: UUID, name: str) -> str:
    """Return the key of the call that stands in place of `call`: nobody can name it from outside."""
    with connection.cursor() as cursor:
        # One that was asked before keeps its key, whatever was rotated since.
        cursor.execute(
            "SELECT key FROM gateway_call WHERE instead_of = %s AND name = %s ORDER BY id LIMIT 1", [call, name]
        )
        row = cursor.fetchone()
    if row is not None:
        return str(row[0])
    message = b"fallback\0" + call.bytes + name.encode()
    return hmac.digest(keys.secret("calls.hmac"), message, "sha256").hex()
