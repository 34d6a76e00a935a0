"""Persons and what proves who they are. Every change is a record in each workspace that the person belongs to."""

from collections.abc import Mapping
from datetime import datetime
from uuid import UUID

from allauth.mfa.models import Authenticator
from allauth.socialaccount.models import SocialAccount
from django.db import connection, transaction
from django.db.models.functions import Now

from audit import log
from audit.refusal import Refusal, not_found
from registry import authentication, clock, locks, memberships
from registry.authentication import Authentication
from registry.models import AccessToken, FactorReset, Membership, Person, Role

COMMAND_LINE = "system:manage"
PROVIDER = "organisation"


def record(
    event: str,
    person: Person,
    *,
    actor: str,
    now: datetime,
    correlation_id: str,
    subjects: Mapping[str, str] | None = None,
    data: Mapping[str, object] | None = None,
) -> None:
    """Append `event` to the log of every workspace of which `person` is a member.

    :raises RuntimeError: outside a transaction, even where there is nothing to append: no change goes unrecorded.
    """
    if not connection.in_atomic_block:
        raise RuntimeError("What proves who a person is changes in the transaction that records it.")
    for workspace in _workspaces(person):
        log.append(
            event,
            workspace=workspace,
            actor=actor,
            correlation_id=correlation_id,
            now=now,
            subjects={"person": str(person.pk), **(subjects or {})},
            data=data,
        )


def set_password(person: Person, password: str, *, actor: str, now: datetime, correlation_id: str) -> Person:
    """Give `person` a password that the caller has validated.

    Their sessions end, which are signed with the old one; so do their access tokens: whoever changes a password
    because somebody else may know it wants nobody else to go on.
    """
    with transaction.atomic():
        person.set_password(password)
        person.save(update_fields=["password"])
        record("registry.password.changed", person, actor=actor, now=now, correlation_id=correlation_id)
        _end_tokens(person, actor=actor, now=now, correlation_id=correlation_id)
    return person


def end_token(row: AccessToken, *, actor: str, now: datetime, correlation_id: str) -> None:
    """End an access token that the caller has locked. Idempotent."""
    if row.revoked_at is None:
        row.revoked_at, row.revoked_by = now, actor
        row.save(update_fields=["revoked_at", "revoked_by"])
        record(
            "registry.access_token.revoked",
            row.person,
            actor=actor,
            now=now,
            correlation_id=correlation_id,
            subjects={"access_token": str(row.pk)},
            data={"prefix": row.prefix},
        )


def reset_factors(
    person: Person,
    *,
    by: Person | None,
    reason: str,
    now: datetime,
    correlation_id: str,
    proof: Authentication | None = None,
) -> FactorReset:
    """Take away the second factors of a person who lost them.

    :param by: the admin who asks; None: an operator at the command line, which confirms the reset at once.
    :raises Refusal: not_found to strangers; role_missing, unless `by` is an admin of every workspace of the person;
        own_factors, reason_missing.
    """
    if not reason.strip():
        raise Refusal("reason_missing", "Say how you know that it is really them, in one sentence.", field="reason")
    with transaction.atomic():
        # What they have approved counts no more where it is protected: nothing is counted across this.
        for workspace in sorted(_workspaces(person)):
            locks.gate(workspace)
        person = Person.objects.select_for_update().get(pk=person.pk)
        if by is not None:
            _require_admin_of_all(by, person)
            authentication.require_recent(proof, None, now=now)
        at = clock.read()
        row = FactorReset.objects.create(
            person=person, by=by, reason=reason, at=at, confirmed_at=at if by is None else None
        )
        actor = by.actor if by else COMMAND_LINE
        removed = _remove_factors(person, actor)
        data = {"reset": str(row.pk), "factors": removed, "reason": log.Sealed(reason, subject=person.actor)}
        data |= authentication.recorded(proof)
        record("registry.factor.reset", person, actor=actor, now=now, correlation_id=correlation_id, data=data)
        _end_tokens(person, actor=actor, now=now, correlation_id=correlation_id)
    return row


def confirm_reset(
    row: FactorReset, *, actor: Person, now: datetime, correlation_id: str, proof: Authentication | None = None
) -> FactorReset:
    """Agree to a reset as a second admin, so that the person's roles count in protected environments again. Idempotent.

    :raises Refusal: as for `reset_factors`, and second_admin_needed.
    """
    with transaction.atomic():
        row = FactorReset.objects.select_for_update(of=("self",)).select_related("person").get(pk=row.pk)
        _require_admin_of_all(actor, row.person)
        authentication.require_recent(proof, None, now=now)
        if row.confirmed_at is not None:
            return row
        if actor.pk == row.by_id:
            detail = "Another admin than the one who reset the factors has to confirm it."
            raise Refusal("second_admin_needed", detail, status=403)
        row.confirmed_by, row.confirmed_at = actor, clock.read()
        row.save(update_fields=["confirmed_by", "confirmed_at"])
        data = {"reset": str(row.pk)}
        record(
            "registry.factor.confirmed",
            row.person,
            actor=actor.actor,
            now=now,
            correlation_id=correlation_id,
            data=data,
        )
    return row


def link(person: Person, subject: str, *, actor: str) -> SocialAccount:
    """Link the identity `subject` of the organisation's provider to `person`, before they first sign in. Idempotent.

    :raises Refusal: subject_taken.
    """
    with transaction.atomic():
        row = SocialAccount.objects.filter(provider=PROVIDER, uid=subject).first()
        if row is None:
            row = SocialAccount(provider=PROVIDER, uid=subject, user=person)
            row.linked_by = actor
            row.save()
        if row.user_id != person.pk:
            raise Refusal("subject_taken", "That identity is linked to somebody else.", status=409, field="subject")
    return row


def _end_tokens(person: Person, *, actor: str, now: datetime, correlation_id: str) -> None:
    rows = AccessToken.objects.select_for_update(of=("self",)).select_related("person")
    for row in rows.filter(person=person, revoked_at=None, expires_at__gt=Now()):
        end_token(row, actor=actor, now=now, correlation_id=correlation_id)


def _remove_factors(person: Person, actor: str) -> int:
    """Delete each factor, recovery codes too, and return how many there were."""
    rows = list(Authenticator.objects.select_for_update().filter(user=person))
    for row in rows:
        row.removed_by = actor  # what the record of the removal says
        row.delete()
    return len(rows)


def _workspaces(person: Person) -> list[UUID]:
    return list(Membership.objects.filter(person=person, active=True).values_list("workspace_id", flat=True))


def _require_admin_of_all(actor: Person, person: Person) -> None:
    """Refuse whoever could weaken a person in a workspace that is not theirs."""
    workspaces = _workspaces(person)
    if not any(memberships.is_member(actor, workspace) for workspace in workspaces):
        raise not_found("person")
    if actor.pk == person.pk:
        raise Refusal("own_factors", "Remove your own factors on the page of your account.", status=403)
    for workspace in workspaces:
        if Role.ADMIN not in memberships.confirmed_roles(actor, workspace, None):
            detail = "Only an admin of every workspace of the person may do this; else the operator, with manage.py."
            raise Refusal("role_missing", detail, status=403, roles=[str(Role.ADMIN)])
