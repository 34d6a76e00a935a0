"""Keys of agents: made once, kept as a hash, scoped, expiring, rotated with overlap, revoked under a lock."""

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any, Protocol
from uuid import UUID

from django.db import connection, transaction

from audit import crash, log
from audit.prepared import Prepared
from audit.refusal import Refusal, not_found
from audit.uuid7 import uuid7
from gateway.models import Credential, Key
from gateway.principal import Principal
from registry import authentication, bearer, clock, locks, memberships
from registry.authentication import Authentication
from registry.models import Environment, Membership, Person, Workspace

SCOPES = {
    "tools:call": "ask for tool calls",
    "models:call": "ask for model calls",
    "states:use": "read and write what the agent remembers",
    "runs:start": "start durable runs of the agent",
    "artifacts:write": "bring versions of artifacts and propose them, for its owner",
    "sessions:open": "open sessions and vouch for what the user asked; never together with a call scope",
}
# Written at most once a minute: a row version per call would cost more than the call.
_LAST_USED = Prepared("UPDATE gateway_key SET last_used_at = now() WHERE id = %s")
_END_KEYS = """
UPDATE gateway_key SET expires_at = least(expires_at, now() + %s * interval '1 s') WHERE credential_id = %s
"""
_LOOK_UP = Prepared("""
SELECT c.id, c.workspace_id, c.environment, c.agent, c.owner_id, c.scopes, k.id,
       k.expires_at <= now(), c.revoked_at IS NOT NULL,
       p.is_active AND m.active,
       k.last_used_at IS NULL OR k.last_used_at < now() - interval '1 minute'
FROM gateway_key k
JOIN gateway_credential c ON c.id = k.credential_id
JOIN registry_person p ON p.id = c.owner_id
LEFT JOIN registry_membership m ON m.person_id = c.owner_id AND m.workspace_id = c.workspace_id
WHERE k.hash = %s
""")
_EXECUTOR_SCOPES = ("models:call", "tools:call")
_FIND_EXECUTOR = Prepared("""
SELECT id FROM gateway_credential WHERE workspace_id = %s AND environment = %s AND agent = %s AND kind = 'executor'
""")
_MAKE_EXECUTOR = """
INSERT INTO gateway_credential (id, workspace_id, environment, agent, kind, name, scopes, created_by, revoked_by)
VALUES (%s, %s, %s, %s, 'executor', 'executor', %s, 'system:executor', '') ON CONFLICT DO NOTHING
"""


class Actor(Protocol):
    """Whoever does something: a Person or a Principal."""

    @property
    def actor(self) -> str: ...


class _Executor:
    actor = "system:executor"


def create(
    workspace: Workspace,
    *,
    environment: str,
    agent: str,
    owner: Person,
    scopes: Iterable[str],
    expires_at: datetime,
    actor: Actor,
    now: datetime,
    name: str = "",
    correlation_id: str | None = None,
    proof: Authentication | None = None,
) -> tuple[Credential, str]:
    """Make a credential and its first key, which is returned once and never again.

    :param proof: how the maker last proved who they are; asked for where the environment is protected.
    :raises Refusal: unknown environment or scope, an expiry in the past or too far, an owner who is no member,
        step_up_required, second_factor_required.
    """
    _require_proof(workspace.pk, environment, proof, now)
    wanted = sorted(set(scopes))
    check(workspace, environment, owner, wanted, expires_at, now)
    with transaction.atomic():
        credential = Credential.objects.create(
            workspace=workspace,
            environment=environment,
            agent=agent,
            kind=Credential.Kind.OPENER if "sessions:open" in wanted else Credential.Kind.AGENT,
            name=name,
            owner=owner,
            scopes=wanted,
            created_by=actor.actor,
            expires_at=expires_at,
        )
        secret = _add_key(credential, expires_at)
        said = {"scopes": wanted, "owner": owner.actor, **authentication.recorded(proof)}
        _append("gateway.credential.created", credential, actor, now, correlation_id, **said)
    crash.point("gateway.credential_created")
    return credential, secret


def rotate(
    credential: Credential,
    *,
    expires_at: datetime,
    overlap: timedelta = timedelta(hours=24),
    actor: Actor,
    now: datetime,
    correlation_id: str | None = None,
    proof: Authentication | None = None,
) -> str:
    """Add a key and let the older ones end after `overlap`; claims and sessions go on. Return the new key, once.

    :raises Refusal: credential_not_rotatable, step_up_required, second_factor_required.
    """
    _require_proof(credential.workspace_id, credential.environment, proof, now)
    with transaction.atomic():
        credential = Credential.objects.select_for_update().get(pk=credential.pk)
        if credential.revoked_at is not None or credential.kind in (
            Credential.Kind.EXECUTOR,
            Credential.Kind.FEDERATED,
        ):
            raise Refusal("credential_not_rotatable", "This credential is revoked or has no key.", status=409)
        bearer.check_expiry(expires_at, now)
        with connection.cursor() as cursor:
            cursor.execute(_END_KEYS, [overlap.total_seconds(), credential.pk])
        secret = _add_key(credential, expires_at)
        credential.expires_at = expires_at
        credential.save(update_fields=["expires_at"])
        seconds = int(overlap.total_seconds())
        said = {"overlap_s": seconds, **authentication.recorded(proof)}
        _append("gateway.credential.rotated", credential, actor, now, correlation_id, **said)
    crash.point("gateway.credential_rotated")
    return secret


def revoke(credential: Credential, *, actor: Actor, now: datetime, correlation_id: str | None = None) -> Credential:
    """End a credential. Its calls are decided before, or denied: the gate lets no decision by meanwhile."""
    with transaction.atomic():
        credential = Credential.objects.select_for_update(no_key=True).get(pk=credential.pk)
        if credential.kind == Credential.Kind.EXECUTOR:
            detail = "The executor's own credential has no key to lose; set a stop for the agent instead."
            raise Refusal("credential_not_revocable", detail, status=409)
        if credential.revoked_at is None:
            locks.gate(credential.workspace_id)
            credential.revoked_at, credential.revoked_by = now, actor.actor
            credential.save(update_fields=["revoked_at", "revoked_by"])
            _append("gateway.credential.revoked", credential, actor, now, correlation_id)
    crash.point("gateway.credential_revoked")
    return credential


def authenticate(secret: str) -> Principal:
    """Return who holds the key `secret`. :raises Refusal: 401, saying whether it is unknown, expired or revoked."""
    if not bearer.well_formed(secret):
        raise _refused("credential_malformed", "This is not a key of Placet: it is cut short or mistyped.")
    with connection.cursor() as cursor:
        cursor.execute(_LOOK_UP, [bearer.hash_of(secret)])
        row = cursor.fetchone()
        if row is None:
            raise _refused("credential_unknown", "No such key exists here.")
        pk, workspace, environment, agent, owner, scopes, key, expired, revoked, owned, stale = row
        if revoked:
            raise _refused("credential_revoked", "This credential was revoked.")
        if expired:
            raise _refused("credential_expired", "This key has expired; use the one that replaced it.")
        if not owned:
            raise _refused("credential_orphaned", "The person who answers for this credential has left the workspace.")
        if stale:
            cursor.execute(_LAST_USED, [key])
    return Principal("agent", pk, workspace, environment, agent, owner, frozenset(scopes), None, f"credential:{pk}")


def executor_principal(
    workspace: UUID,
    *,
    environment: str,
    agent: str,
    now: datetime,
    correlation_id: str,
    on_behalf_of: str | None = None,
) -> Principal:
    """Return the principal under which our executor acts for `agent`; its credential has no key.

    The first time for an agent and environment it is made, on record.
    """
    where: list[Any] = [workspace, environment, agent]
    with connection.cursor() as cursor:
        cursor.execute(_FIND_EXECUTOR, where)
        row = cursor.fetchone()
        if row is None:
            with transaction.atomic():
                cursor.execute(_MAKE_EXECUTOR, [uuid7(), *where, list(_EXECUTOR_SCOPES)])
                made = cursor.rowcount
                cursor.execute(_FIND_EXECUTOR, where)
                row = cursor.fetchone()
                if made:
                    credential = Credential.objects.get(pk=row[0])
                    scopes = sorted(_EXECUTOR_SCOPES)
                    _append(
                        "gateway.credential.created",
                        credential,
                        _Executor,
                        now,
                        correlation_id,
                        scopes=scopes,
                        owner=None,
                    )
    pk = row[0]
    return Principal(
        "agent", pk, workspace, environment, agent, None, frozenset(_EXECUTOR_SCOPES), on_behalf_of, f"credential:{pk}"
    )


def check_scope(principal: Principal, scope: str) -> None:
    """Do nothing if the credential has `scope`. :raises Refusal: scope_missing."""
    if scope not in principal.scopes:
        raise Refusal("scope_missing", f"The credential needs the scope {scope}.", status=403)


def principal_of(credential: UUID) -> Principal:
    """Return the principal of a credential without its key: to go on with what it began.

    :raises Refusal: not_found; credential_revoked, credential_expired or credential_orphaned.
    """
    row = Credential.objects.select_related("owner").filter(pk=credential).first()
    if row is None:
        raise not_found("credential")
    if row.revoked_at is not None:
        raise _refused("credential_revoked", "This credential was revoked.")
    if row.expires_at is not None and row.expires_at <= clock.read():
        raise _refused("credential_expired", "This credential has expired.")
    if row.owner is not None and not memberships.is_member(row.owner, row.workspace_id):
        raise _refused("credential_orphaned", "The person who answers for this credential has left the workspace.")
    return Principal(
        "agent",
        row.pk,
        row.workspace_id,
        row.environment,
        row.agent,
        row.owner_id,
        frozenset(row.scopes),
        None,
        f"credential:{row.pk}",
    )


def _require_proof(workspace: UUID, environment: str, proof: Authentication | None, now: datetime) -> None:
    """A key lets whoever has it act in the environment: making one is a decision there. :raises Refusal:"""
    place = Environment.objects.filter(workspace_id=workspace, name=environment).first()
    if place is not None:  # else `check` refuses it by its name
        authentication.require_recent(proof, place, now=now)


def check(
    workspace: Workspace, environment: str, owner: Person, scopes: list[str], expires_at: datetime, now: datetime
) -> None:
    """Do nothing if a credential like this may be made.

    :raises Refusal: environment_unknown, scope_unknown, scope_conflict, owner_not_member, expiry_out_of_range.
    """
    if not Environment.objects.filter(workspace=workspace, name=environment).exists():
        detail = f"The workspace has no environment {environment!r}."
        raise Refusal("environment_unknown", detail, status=404, field="environment")
    unknown = [scope for scope in scopes if scope not in SCOPES]
    if unknown or not scopes:
        detail = f"Scopes are one or more of {', '.join(SCOPES)}; got {', '.join(unknown) or 'none'}."
        raise Refusal("scope_unknown", detail, field="scopes")
    if "sessions:open" in scopes and any(scope.endswith(":call") for scope in scopes):
        detail = "A credential that makes calls must not vouch for what a user asked: make two."
        raise Refusal("scope_conflict", detail, field="scopes")
    if not Membership.objects.filter(workspace=workspace, person=owner, active=True).exists():
        raise Refusal("owner_not_member", "The owner must be an active member of the workspace.", field="owner")
    bearer.check_expiry(expires_at, now)


def _add_key(credential: Credential, expires_at: datetime) -> str:
    made = bearer.make()
    Key.objects.create(credential=credential, prefix=made.prefix, hash=made.hash, expires_at=expires_at)
    return made.text


def _append(
    event: str, credential: Credential, actor: Actor, now: datetime, correlation_id: str | None, **data: object
) -> None:
    log.append(
        event,
        workspace=credential.workspace_id,
        actor=actor.actor,
        correlation_id=correlation_id or str(uuid7()),
        now=now,
        subjects={"credential": str(credential.pk)},
        data={"environment": credential.environment, "agent": credential.agent, "kind": credential.kind, **data},
    )


def _refused(code: str, detail: str) -> Refusal:
    return Refusal(code, detail, status=401)
