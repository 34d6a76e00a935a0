"""A person asks to see what the pages keep sealed of one call. Who asked, and why, is on record before they see it."""

from datetime import datetime
from uuid import UUID

from django.db import transaction

from audit import log
from audit.canonical import JSON
from audit.refusal import Refusal
from gateway import sanitize
from gateway.models import Call
from registry import memberships
from registry.models import Environment, Person

REVEALERS = frozenset({"auditor", "security"})
LONGEST_REASON = 1000
_PRIVATE = ("pii", "secret")


def masked(value: JSON) -> JSON:
    """Return `value` without what may be personal or secret: what a person sees who has no reason on record."""
    try:
        return sanitize.redact(value, [one for one in sanitize.scan(value) if sanitize.covers(_PRIVATE, one.kind)])
    except sanitize.SanitizerFailed:
        return sanitize.marker("unreadable")  # what cannot be looked through cannot be shown


def reveal(call: UUID, *, person: Person, reason: str, now: datetime, correlation_id: str) -> Call:
    """Put on record that `person` looks at the sealed values of a call, and return it.

    :param reason: why; sealed for the person who gave it, as it may name others.
    :raises Refusal: role_missing, reason_missing, reason_too_long.
    """
    with transaction.atomic():
        row = Call.objects.get(pk=call)
        environment = Environment.objects.filter(workspace_id=row.workspace_id, name=row.environment).first()
        memberships.require(person, row.workspace_id, REVEALERS, environment=environment)
        if not reason.strip():
            raise Refusal("reason_missing", "Say why you need to see it, in one sentence.", field="reason")
        if len(reason) > LONGEST_REASON:
            raise Refusal("reason_too_long", f"A reason has at most {LONGEST_REASON} characters.", field="reason")
        log.append(
            "gateway.value.revealed",
            workspace=row.workspace_id,
            actor=person.actor,
            correlation_id=correlation_id,
            now=now,
            subjects={"call": str(row.pk), "session": str(row.session_id)},
            data={
                "environment": row.environment,
                "name": row.name,
                "attempt": row.attempt,
                "reason": log.Sealed(reason.strip(), person.actor),
            },
        )
    return row
