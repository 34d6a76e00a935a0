"""Who is a member and what they were granted. Every change is a record; four eyes where an environment is protected."""

from collections.abc import Iterable
from datetime import datetime
from uuid import UUID

from django.db import transaction
from django.db.models import Exists, OuterRef, Q, QuerySet

from audit import log
from audit.refusal import Refusal, not_found
from registry import authentication, clock, locks
from registry.authentication import Authentication
from registry.models import Environment, FactorReset, Grant, Membership, Person, Role, Workspace


def roles_of(person: Person, workspace_id: UUID, environment: Environment | None = None) -> frozenset[str]:
    """Return the roles that `person` holds there right now.

    Without an environment: those granted for the whole workspace. In a protected environment only what a second admin
    confirmed counts. A stranger and an inactive member hold none, whatever flags their row carries.
    """
    return frozenset(_standing(person, workspace_id, environment).values_list("role", flat=True))


def roles_anywhere(person: Person, workspace_id: UUID) -> frozenset[str]:
    """Return every role that `person` holds somewhere in the workspace: enough to look, never to decide."""
    return frozenset(_held(person, workspace_id).values_list("role", flat=True))


def confirmed_roles(
    person: Person, workspace_id: UUID, environment: Environment | None, *, before: datetime | None = None
) -> frozenset[str]:
    """Return the roles that two admins stand behind, granted before `before` (the database's clock).

    None, if somebody reset the person's second factors and it is not confirmed, or was not before `before`.
    """
    if reset_since(person, before):
        return frozenset()
    grants = _held(person, workspace_id).filter(Q(environment=None) | Q(environment=environment))
    grants = grants.filter(confirmed_at__isnull=False)
    if before is not None:
        grants = grants.filter(confirmed_at__lt=before)
    return frozenset(grants.values_list("role", flat=True))


def reset_since(person: Person, at: datetime | None) -> bool:
    """Say whether a reset of the person's second factors is unconfirmed, or was confirmed at `at` or later."""
    unsettled = Q(confirmed_at=None) if at is None else Q(confirmed_at=None) | Q(confirmed_at__gte=at)
    return FactorReset.objects.filter(unsettled, person=person).exists()


def require(
    person: Person, workspace_id: UUID, roles: Iterable[str], *, environment: Environment | None = None
) -> frozenset[str]:
    """Return those of `roles` that `person` holds. :raises Refusal: not_found to strangers, else role_missing."""
    held = roles_of(person, workspace_id, environment) & frozenset(roles)
    if not held:
        if not is_member(person, workspace_id):
            raise not_found("workspace")
        raise role_missing(roles, environment)
    return held


def role_missing(roles: Iterable[str], environment: Environment | None) -> Refusal:
    """Return the refusal for somebody who holds none of `roles`."""
    names = " or ".join(sorted(roles))
    where = f" in {environment.name}" if environment else ""
    unconfirmed = " A grant counts there once a second admin has confirmed it." if _protected(environment) else ""
    detail = f"This needs the role {names}{where}; ask an admin of the workspace.{unconfirmed}"
    return Refusal("role_missing", detail, status=403, roles=sorted(roles))


def is_member(person: Person, workspace_id: UUID) -> bool:
    """Say whether `person` is an active member."""
    members = Membership.objects.filter(workspace_id=workspace_id, person_id=person.pk, active=True)
    return members.filter(person__is_active=True).exists()


def add(workspace: Workspace, person: Person, *, actor: Person, now: datetime, correlation_id: str) -> Membership:
    """Make `person` a member, or active again. Idempotent. :raises Refusal: role_missing.

    Grants of a membership that comes back have to be confirmed again: one admin alone must not bring them back.
    """
    with transaction.atomic():
        require(actor, workspace.pk, [Role.ADMIN])
        membership, created = Membership.objects.select_for_update().get_or_create(
            workspace=workspace, person=person, defaults={"created_at": now}
        )
        if created or not membership.active:
            event = "registry.membership.created" if created else "registry.membership.activated"
            membership.active = True
            membership.save(update_fields=["active"])
            for row in membership.grants.filter(revoked_at=None, confirmed_at__isnull=False):
                row.confirmed_by = row.confirmed_at = None
                row.save(update_fields=["confirmed_by", "confirmed_at"])
            _record(event, membership, actor, now, correlation_id)
    return membership


def deactivate(membership: Membership, *, actor: Person, now: datetime, correlation_id: str) -> Membership:
    """Switch a membership off, with all its grants: whatever counts them is committed before, or counts without them.

    :raises Refusal: role_missing, last_admin.
    """
    with transaction.atomic():
        locks.gate(membership.workspace_id)
        require(actor, membership.workspace_id, [Role.ADMIN])
        membership = Membership.objects.select_for_update().get(pk=membership.pk)
        if membership.active:
            membership.active = False
            membership.save(update_fields=["active"])
            _require_an_admin(membership.workspace_id)
            _record("registry.membership.deactivated", membership, actor, now, correlation_id)
    return membership


def grant(
    membership: Membership,
    role: str,
    *,
    environment: Environment | None,
    actor: Person,
    now: datetime,
    correlation_id: str,
    proof: Authentication | None = None,
) -> Grant:
    """Grant `role` everywhere (environment None) or in one environment. Idempotent.

    It counts at once where nothing is protected, and elsewhere after `confirm`, which asks for a fresh proof; so does
    this for a protected environment.

    :raises Refusal: step_up_required, second_factor_required, role_unknown, role_missing, own_grant, not_found.
    """
    if role not in Role.values:
        raise Refusal("role_unknown", f"There is no role {role!r}; use one of {', '.join(Role.values)}.", field="role")
    if environment is not None and environment.workspace_id != membership.workspace_id:
        raise not_found("environment")
    with transaction.atomic():
        require(actor, membership.workspace_id, [Role.ADMIN], environment=environment)
        if environment is not None:
            authentication.require_recent(proof, environment, now=now)
        if actor.pk == membership.person_id:
            raise Refusal("own_grant", "Nobody grants a role to themselves; ask another admin.", status=403)
        row, created = Grant.objects.get_or_create(
            membership=membership,
            role=role,
            environment=environment,
            revoked_at=None,
            defaults={"granted_by": actor, "at": clock.read()},
        )
        if created:
            _record("registry.grant.created", membership, actor, now, correlation_id, row, proof)
    return row


def confirm(
    row: Grant, *, actor: Person, now: datetime, correlation_id: str, proof: Authentication | None = None
) -> Grant:
    """Agree to a grant as a second admin, so that it counts in protected environments too. Idempotent.

    :param proof: how the actor signed in; it must be fresh, unless the grant is for an unprotected environment alone.
    :raises Refusal: step_up_required, second_factor_required, role_missing, own_grant, second_admin_needed,
        grant_revoked.
    """
    with transaction.atomic():
        row = Grant.objects.select_for_update(of=("self",)).select_related("membership").get(pk=row.pk)
        membership = row.membership
        require(actor, membership.workspace_id, [Role.ADMIN], environment=row.environment)
        if row.revoked_at is not None:
            raise Refusal("grant_revoked", "The grant was revoked; make a new one.", status=409)
        if row.confirmed_at is not None:
            return row
        if actor.pk == membership.person_id:
            raise Refusal("own_grant", "Nobody confirms a grant of their own; ask another admin.", status=403)
        # An admin whom one person made is no second pair of eyes.
        trusted = Role.ADMIN in confirmed_roles(actor, membership.workspace_id, row.environment)
        if actor.pk == row.granted_by_id or not trusted:
            detail = "A second admin, whose own grant is confirmed, has to agree to a grant in a protected environment."
            raise Refusal("second_admin_needed", detail, status=403)
        authentication.require_recent(proof, row.environment, now=now)
        row.confirmed_by, row.confirmed_at = actor, clock.read()
        row.save(update_fields=["confirmed_by", "confirmed_at"])
        _record("registry.grant.confirmed", membership, actor, now, correlation_id, row, proof)
    return row


def revoke(row: Grant, *, actor: Person, now: datetime, correlation_id: str) -> Grant:
    """Take a grant back: whatever counts it is committed before, or counts without it. Idempotent.

    :raises Refusal: role_missing, last_admin.
    """
    with transaction.atomic():
        membership = row.membership
        locks.gate(membership.workspace_id)
        require(actor, membership.workspace_id, [Role.ADMIN], environment=row.environment)
        row = Grant.objects.select_for_update().get(pk=row.pk)
        if row.revoked_at is None:
            row.revoked_by, row.revoked_at = actor, clock.read()
            row.save(update_fields=["revoked_by", "revoked_at"])
            _require_an_admin(membership.workspace_id)
            _record("registry.grant.revoked", membership, actor, now, correlation_id, row)
    return row


def _held(person: Person, workspace_id: UUID) -> QuerySet[Grant]:
    return Grant.objects.filter(
        membership__workspace_id=workspace_id,
        membership__person_id=person.pk,
        membership__person__is_active=True,
        membership__active=True,
        revoked_at=None,
    )


def _standing(person: Person, workspace_id: UUID, environment: Environment | None) -> QuerySet[Grant]:
    grants = _held(person, workspace_id).filter(Q(environment=None) | Q(environment=environment))
    if not _protected(environment):
        return grants
    unsettled = FactorReset.objects.filter(person=OuterRef("membership__person"), confirmed_at=None)
    return grants.filter(~Exists(unsettled), confirmed_at__isnull=False)


def _protected(environment: Environment | None) -> bool:
    return environment is not None and environment.protected


def _require_an_admin(workspace_id: UUID) -> None:
    left = Grant.objects.filter(
        membership__workspace_id=workspace_id,
        membership__active=True,
        membership__person__is_active=True,
        role=Role.ADMIN,
        environment=None,
        confirmed_at__isnull=False,
        revoked_at=None,
    )
    if not left.exists():
        detail = "The workspace would be left without a confirmed admin; have another one granted and confirmed first."
        raise Refusal("last_admin", detail, status=409)


def _record(
    event: str,
    membership: Membership,
    actor: Person,
    now: datetime,
    correlation_id: str,
    row: Grant | None = None,
    proof: Authentication | None = None,
) -> None:
    data: dict[str, object] = {}
    subjects = {"membership": str(membership.pk), "person": str(membership.person_id)}
    if row is not None:
        subjects["grant"] = str(row.pk)
        data = {"role": row.role, "environment": str(row.environment_id) if row.environment_id else None}
        data |= authentication.recorded(proof)
    log.append(
        event,
        workspace=membership.workspace_id,
        actor=actor.actor,
        correlation_id=correlation_id,
        now=now,
        subjects=subjects,
        data=data,
    )
