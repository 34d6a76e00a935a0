"""Access tokens: a person's programs act as them, with what they may do, until the token ends."""

from datetime import datetime, timedelta
from uuid import UUID

from django.db import transaction
from django.db.models import QuerySet
from django.db.models.functions import Now

from audit import log
from audit.refusal import Refusal, not_found
from registry import bearer, clock, people
from registry.models import AccessToken, Person

PREFIX = "placet_person_"
USUAL_HOURS = 12
MOST_HOURS = 90 * 24
MOST_TOKENS = 50
_NOTE_USE_EVERY = timedelta(minutes=1)  # a row version per request would cost more than it tells


def create(
    person: Person, *, name: str, hours: int = USUAL_HOURS, actor: str, now: datetime, correlation_id: str
) -> tuple[AccessToken, str]:
    """Make a token of `person`; the secret is returned once and never again.

    Each workspace that the person belongs to gets the record: the token can do there what the person can.

    :param hours: until it ends, 1 to 2160. :param actor: `person:<uuid>`, or the command that an operator ran.
    :raises Refusal: hours_out_of_range, person_inactive, tokens_too_many.
    """
    check_hours(hours)
    if not person.is_active:
        raise Refusal("person_inactive", "This person is switched off and can do nothing.", status=409)
    with transaction.atomic():
        Person.objects.select_for_update(no_key=True).get(pk=person.pk)
        if standing(person).count() >= MOST_TOKENS:
            detail = f"You have {MOST_TOKENS} tokens that have not ended; revoke some that you no longer use."
            raise Refusal("tokens_too_many", detail, status=409)
        secret, at = bearer.make(PREFIX), clock.read()
        row = AccessToken.objects.create(
            person=person,
            name=name[:200],
            prefix=secret.prefix,
            hash=secret.hash,
            created_at=at,
            expires_at=at + timedelta(hours=hours),
        )
        _record("registry.access_token.created", row, actor=actor, now=now, correlation_id=correlation_id, hours=hours)
    return row, secret.text


def authenticate(secret: str, *, now: datetime, correlation_id: str) -> AccessToken:
    """Return the token with its person. Its first use is recorded, and without the record there is no use.

    :raises Refusal: 401, saying whether it is malformed, unknown, revoked or expired.
    """
    if not bearer.well_formed(secret, PREFIX):
        raise _refused("token_malformed", "This is not an access token: it is cut short or mistyped.")
    row = AccessToken.objects.select_related("person").filter(hash=bearer.hash_of(secret)).first()
    if row is None:
        raise _refused("token_unknown", "No such access token exists here.")
    if row.revoked_at is not None:
        raise _refused("token_revoked", "This access token was revoked; sign in again: `placet login`.")
    if not AccessToken.objects.filter(pk=row.pk, expires_at__gt=Now()).exists():
        raise _refused("token_expired", "This access token has expired; sign in again: `placet login`.")
    if not row.person.is_active:
        raise _refused("person_inactive", "The person of this access token is switched off.")
    if row.first_used_at is None:
        _use_first(row, now=now, correlation_id=correlation_id)
    elif row.last_used_at is None or row.last_used_at < now - _NOTE_USE_EVERY:
        AccessToken.objects.filter(pk=row.pk).update(last_used_at=now)
    return row


def revoke(row: AccessToken, *, actor: str, now: datetime, correlation_id: str) -> AccessToken:
    """End a token. Idempotent."""
    with transaction.atomic():
        row = AccessToken.objects.select_for_update(of=("self",)).select_related("person").get(pk=row.pk)
        people.end_token(row, actor=actor, now=now, correlation_id=correlation_id)
    return row


def of(person: Person, pk: UUID) -> AccessToken:
    """Return a token of `person`. :raises Refusal: not_found, also for somebody else's."""
    row = AccessToken.objects.select_related("person").filter(pk=pk, person=person).first()
    if row is None:
        raise not_found("access token")
    return row


def standing(person: Person) -> QuerySet[AccessToken]:
    """Return the tokens of `person` that have not ended, the newest first."""
    rows = AccessToken.objects.filter(person=person, revoked_at=None, expires_at__gt=Now())
    return rows.order_by("-pk")


def check_hours(hours: int) -> None:
    """Refuse a life that is none or too long. :raises Refusal: hours_out_of_range."""
    if not 1 <= hours <= MOST_HOURS:
        detail = f"A token lives for 1 to {MOST_HOURS} hours; got {hours}."
        raise Refusal("hours_out_of_range", detail, field="hours")


def _record(event: str, about: AccessToken, *, actor: str, now: datetime, correlation_id: str, **data: object) -> None:
    people.record(
        event,
        about.person,
        actor=actor,
        now=now,
        correlation_id=correlation_id,
        subjects={"access_token": str(about.pk)},
        data={"prefix": about.prefix, "name": log.Sealed(about.name, subject=about.person.actor), **data},
    )


def _use_first(row: AccessToken, *, now: datetime, correlation_id: str) -> None:
    with transaction.atomic():
        fresh = AccessToken.objects.filter(pk=row.pk, first_used_at=None)
        if fresh.update(first_used_at=now, last_used_at=now):
            actor = row.person.actor
            _record("registry.access_token.used", row, actor=actor, now=now, correlation_id=correlation_id)


def _refused(code: str, detail: str) -> Refusal:
    return Refusal(code, detail, status=401)
