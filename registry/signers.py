"""Whose signed statements count: keys that one admin adds and, for protected environments, a second one confirms."""

from datetime import datetime

from django.db import transaction

from audit import log
from audit.refusal import Refusal
from registry import authentication, clock, dsse, locks, memberships
from registry.authentication import Authentication
from registry.models import Person, Role, Signer, Workspace


def add(
    workspace: Workspace, *, name: str, public_key: str, actor: Person, now: datetime, correlation_id: str
) -> Signer:
    """Believe statements that this key signed. Idempotent while it stands.

    :param public_key: PEM. :raises Refusal: role_missing, signer_name_missing, public_key_invalid.
    """
    if not name.strip():
        raise Refusal("signer_name_missing", "Say whose key it is.", field="name")
    try:
        key = dsse.load_key(public_key)
    except dsse.Malformed as error:
        raise Refusal("public_key_invalid", f"The public key is not usable: {error}.", field="public_key") from error
    with transaction.atomic():
        memberships.require(actor, workspace.pk, [Role.ADMIN])
        signer, created = Signer.objects.get_or_create(
            workspace=workspace,
            fingerprint=dsse.fingerprint(key),
            revoked_at=None,
            defaults={"name": name, "public_key": public_key, "added_by": actor, "added_at": clock.read()},
        )
        if created:
            _record("registry.signer.created", signer, actor, now, correlation_id)
    return signer


def confirm(
    signer: Signer, *, actor: Person, now: datetime, correlation_id: str, proof: Authentication | None = None
) -> Signer:
    """Let a key count in protected environments, too. Idempotent.

    :param proof: how the actor signed in; it must be fresh.
    :raises Refusal: role_missing, signer_revoked, signer_own, step_up_required, second_factor_required.
    """
    with transaction.atomic():
        signer = Signer.objects.select_for_update().get(pk=signer.pk)
        memberships.require(actor, signer.workspace_id, [Role.ADMIN])
        if signer.revoked_at is not None:
            raise Refusal("signer_revoked", "The key is revoked; add it again first.", status=409)
        if signer.added_by_id == actor.pk:
            detail = "You added this key; another admin has to confirm it."
            raise Refusal("signer_own", detail, status=403)
        authentication.require_recent(proof, None, now=now)
        if signer.confirmed_at is None:
            signer.confirmed_by, signer.confirmed_at = actor, clock.read()
            signer.save(update_fields=["confirmed_by", "confirmed_at"])
            said = authentication.recorded(proof)
            _record("registry.signer.confirmed", signer, actor, now, correlation_id, **said)
    return signer


def revoke(signer: Signer, *, actor: Person, now: datetime, correlation_id: str) -> Signer:
    """Believe nothing any more that this key signed, whenever it did. Idempotent. :raises Refusal: role_missing."""
    with transaction.atomic():
        # An activation for which its statement is evidence is committed before this, or counts without it.
        locks.gate(signer.workspace_id)
        signer = Signer.objects.select_for_update().get(pk=signer.pk)
        memberships.require(actor, signer.workspace_id, [Role.ADMIN, Role.SECURITY])
        if signer.revoked_at is None:
            signer.revoked_by, signer.revoked_at = actor, clock.read()
            signer.save(update_fields=["revoked_by", "revoked_at"])
            _record("registry.signer.revoked", signer, actor, now, correlation_id)
    return signer


def _record(event: str, signer: Signer, actor: Person, now: datetime, correlation_id: str, **said: object) -> None:
    log.append(
        event,
        workspace=signer.workspace_id,
        actor=actor.actor,
        correlation_id=correlation_id,
        now=now,
        subjects={"signer": str(signer.pk), "key": signer.fingerprint},
        data={"name": signer.name, **said},
    )
