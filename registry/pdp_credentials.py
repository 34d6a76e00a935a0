"""Who may get the bundles of an environment and report on it: credentials of decision points, and our own sidecars."""

import hmac
from datetime import datetime, timedelta
from typing import NamedTuple
from uuid import UUID

from django.conf import settings
from django.db import connection, transaction

from audit import log
from audit.refusal import Refusal, not_found
from registry import authentication, bearer, clock, memberships
from registry.authentication import Authentication
from registry.models import Environment, PdpCredential, PdpKey, Person, Role

MAKERS = (Role.OPERATOR, Role.ADMIN)
REVOKERS = (Role.OPERATOR, Role.ADMIN, Role.SECURITY)
OURS = frozenset({"127.0.0.1", "::1", ""})  # where the sidecars of our own supervisor come from; "": a unix socket
# Written at most once a minute: an OPA that long polls asks many times in one.
_LAST_USED = "UPDATE registry_pdpkey SET last_used_at = now() WHERE id = %s"
_END_KEYS = """
UPDATE registry_pdpkey SET expires_at = least(expires_at, now() + %s * interval '1 s') WHERE credential_id = %s
"""
_LOOK_UP = """
SELECT c.id, c.environment_id, k.id, k.expires_at <= now(), c.revoked_at IS NOT NULL,
       k.last_used_at IS NULL OR k.last_used_at < now() - interval '1 minute'
FROM registry_pdpkey k JOIN registry_pdpcredential c ON c.id = k.credential_id WHERE k.hash = %s
"""


class Pass(NamedTuple):
    """What a key opens: one environment, or with None every one of the instance, for our own sidecars."""

    actor: str
    environment: UUID | None


def create(
    environment: Environment,
    *,
    name: str,
    expires_at: datetime,
    actor: Person,
    now: datetime,
    correlation_id: str,
    proof: Authentication | None = None,
) -> tuple[PdpCredential, str]:
    """Make a credential and its first key, which is returned once and never again.

    :param proof: how the maker last proved who they are; asked for where the environment is protected.
    :raises Refusal: role_missing, expiry_out_of_range, step_up_required, second_factor_required.
    """
    bearer.check_expiry(expires_at, now)
    with transaction.atomic():
        memberships.require(actor, environment.workspace_id, MAKERS, environment=environment)
        authentication.require_recent(proof, environment, now=now)
        credential = PdpCredential.objects.create(
            workspace_id=environment.workspace_id,
            environment=environment,
            name=name,
            created_by=actor.actor,
            expires_at=expires_at,
        )
        key = _add_key(credential, expires_at)
        said = {"name": name, **authentication.recorded(proof)}
        _record("created", credential, actor, now, correlation_id, **said)
    return credential, key


def rotate(
    credential: PdpCredential,
    *,
    expires_at: datetime,
    actor: Person,
    now: datetime,
    correlation_id: str,
    overlap: timedelta = timedelta(hours=24),
    proof: Authentication | None = None,
) -> str:
    """Add a key and let the older ones end after `overlap`. Return the new key, once.

    :raises Refusal: role_missing, credential_not_rotatable, expiry_out_of_range, step_up_required,
        second_factor_required.
    """
    bearer.check_expiry(expires_at, now)
    with transaction.atomic():
        credential = _lock(credential, actor, MAKERS)
        authentication.require_recent(proof, credential.environment, now=now)
        if credential.revoked_at is not None:
            raise Refusal("credential_not_rotatable", "This credential is revoked; make a new one.", status=409)
        with connection.cursor() as cursor:
            cursor.execute(_END_KEYS, [overlap.total_seconds(), credential.pk])
        key = _add_key(credential, expires_at)
        credential.expires_at = expires_at
        credential.save(update_fields=["expires_at"])
        said = {"overlap_s": int(overlap.total_seconds()), **authentication.recorded(proof)}
        _record("rotated", credential, actor, now, correlation_id, **said)
    return key


def revoke(credential: PdpCredential, *, actor: Person, now: datetime, correlation_id: str) -> PdpCredential:
    """End a credential for good. Idempotent. What a decision point has downloaded, it keeps.

    :raises Refusal: role_missing.
    """
    with transaction.atomic():
        credential = _lock(credential, actor, REVOKERS)
        if credential.revoked_at is None:
            credential.revoked_at, credential.revoked_by = clock.read(), actor.actor
            credential.save(update_fields=["revoked_at", "revoked_by"])
            _record("revoked", credential, actor, now, correlation_id)
    return credential


def authenticate(key: str, *, address: str) -> Pass:
    """Return what `key` opens. :raises Refusal: 401, saying whether it is unknown, expired or revoked.

    :param address: the client's: the token of the instance counts only where our own supervisor starts sidecars.
    """
    if address in OURS and hmac.compare_digest(key.encode(), settings.PLACET_OPA_TOKEN.encode()):
        return Pass("system:opa", None)
    if not bearer.well_formed(key):
        raise _refused("credential_malformed", "This is not a key of a decision point: it is cut short or mistyped.")
    with connection.cursor() as cursor:
        cursor.execute(_LOOK_UP, [bearer.hash_of(key)])
        row = cursor.fetchone()
        if row is None:
            raise _refused("credential_unknown", "No such key of a decision point exists here.")
        pk, environment, key_id, expired, revoked, stale = row
        if revoked:
            raise _refused("credential_revoked", "This credential was revoked.")
        if expired:
            raise _refused("credential_expired", "This key has expired; use the one that replaced it.")
        if stale:
            cursor.execute(_LAST_USED, [key_id])
    return Pass(f"credential:{pk}", environment)


def place(given: Pass, workspace: str, environment: str) -> Environment:
    """Return the environment of that address. :raises Refusal: not_found, for a foreign one as for none."""
    rows = Environment.objects.filter(workspace__slug=workspace, name=environment)
    if given.environment is not None:
        rows = rows.filter(pk=given.environment)
    row = rows.select_related("workspace").first()
    if row is None:
        raise not_found("environment")
    return row


def _lock(credential: PdpCredential, actor: Person, roles: tuple[str, ...]) -> PdpCredential:
    row = PdpCredential.objects.select_for_update(of=("self",)).select_related("environment").get(pk=credential.pk)
    memberships.require(actor, row.workspace_id, roles, environment=row.environment)
    return row


def _add_key(credential: PdpCredential, expires_at: datetime) -> str:
    made = bearer.make()
    PdpKey.objects.create(credential=credential, prefix=made.prefix, hash=made.hash, expires_at=expires_at)
    return made.text


def _record(
    what: str, credential: PdpCredential, actor: Person, now: datetime, correlation_id: str, **data: object
) -> None:
    log.append(
        f"registry.pdp_credential.{what}",
        workspace=credential.workspace_id,
        actor=actor.actor,
        correlation_id=correlation_id,
        now=now,
        subjects={"credential": str(credential.pk), "environment": str(credential.environment_id)},
        data={"kind": credential.kind, **data},
    )


def _refused(code: str, detail: str) -> Refusal:
    return Refusal(code, detail, status=401)
