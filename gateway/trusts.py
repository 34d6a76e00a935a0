"""Which issuers of JWTs an environment believes, and as which credential their subjects act. Admins decide."""

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from django.db import IntegrityError, transaction

from audit import log
from audit.refusal import Refusal
from gateway import credentials, destinations, federation, keysets
from gateway.connect import ConnectRefused
from gateway.models import Credential, Trust
from registry import authentication, locks, memberships
from registry.authentication import Authentication
from registry.models import Environment, Person, Role

LONGEST_SECONDS = 24 * 3600


def create(
    environment: Environment,
    *,
    name: str,
    issuer: str,
    audience: str,
    jwks_url: str,
    jwks: Any,
    algorithms: Iterable[str],
    claim: str,
    behalf_claim: str,
    longest_seconds: int,
    actor: Person,
    now: datetime,
    correlation_id: str,
    proof: Authentication | None = None,
) -> Trust:
    """Believe the JWTs of `issuer` in `environment` from now on, for subjects that get a credential.

    :raises Refusal: role_missing, step_up_required, second_factor_required, issuer_invalid, algorithm_unknown,
        keys_missing, jwks_invalid, jwks_url_refused, lifetime_out_of_range, trust_exists.
    """
    wanted = sorted(set(algorithms))
    with transaction.atomic():
        memberships.require(actor, environment.workspace_id, [Role.ADMIN], environment=environment)
        authentication.require_recent(proof, environment, now=now)
        _check(issuer, audience, wanted, longest_seconds)
        if bool(jwks_url) == (jwks is not None):
            raise Refusal(
                "keys_missing", "Give either the address of the issuer's key set or the key set.", field="jwks"
            )
        if jwks_url:
            _check_address(jwks_url)
        try:
            with transaction.atomic():
                row = Trust.objects.create(
                    workspace_id=environment.workspace_id,
                    environment=environment.name,
                    name=name,
                    issuer=issuer,
                    audience=audience,
                    jwks_url=jwks_url,
                    jwks=None if jwks is None else keysets.check(jwks),
                    algorithms=wanted,
                    claim=claim,
                    behalf_claim=behalf_claim,
                    longest_seconds=longest_seconds,
                    created_by=actor.actor,
                )
        except IntegrityError as error:
            detail = "An issuer and an audience lead to one trust; revoke the other one, or use another audience."
            raise Refusal("trust_exists", detail, status=409, field="audience") from error
        data = {"issuer": issuer, "audience": audience, "keys": jwks_url or "static", "algorithms": wanted}
        _append(
            "gateway.trust.created",
            row,
            actor,
            now,
            correlation_id,
            claim=claim,
            **data,
            **authentication.recorded(proof),
        )
    return row


def revoke(row: Trust, *, actor: Person, now: datetime, correlation_id: str) -> Trust:
    """End a trust and every credential that lives by it. Calls are decided before, or denied. Idempotent."""
    with transaction.atomic():
        row = Trust.objects.select_for_update().get(pk=row.pk)
        if row.revoked_at is None:
            locks.gate(row.workspace_id)
            row.revoked_at, row.revoked_by = now, actor.actor
            row.save(update_fields=["revoked_at", "revoked_by"])
            ended = Credential.objects.filter(trust=row, revoked_at=None).order_by("pk")
            for credential in ended:
                credentials.revoke(credential, actor=actor, now=now, correlation_id=correlation_id)
            _append("gateway.trust.revoked", row, actor, now, correlation_id, credentials=len(ended))
    return row


def admit(
    row: Trust,
    *,
    subject: str,
    agent: str,
    owner: Person,
    scopes: Iterable[str],
    expires_at: datetime,
    name: str,
    actor: Person,
    now: datetime,
    correlation_id: str,
    proof: Authentication | None = None,
) -> Credential:
    """Let tokens whose claim is exactly `subject` act as a credential of `agent`.

    :raises Refusal: trust_revoked, subject_taken, step_up_required, second_factor_required, scope_conflict, and as
        `credentials.create`.
    """
    wanted = sorted(set(scopes))
    with transaction.atomic():
        row = Trust.objects.select_for_update().select_related("workspace").get(pk=row.pk)
        if row.revoked_at is not None:
            raise Refusal("trust_revoked", "The trust was revoked; make a new one.", status=409)
        place = Environment.objects.get(workspace=row.workspace, name=row.environment)
        memberships.require(actor, row.workspace_id, [Role.ADMIN], environment=place)
        authentication.require_recent(proof, place, now=now)
        credentials.check(row.workspace, row.environment, owner, wanted, expires_at, now)
        if "sessions:open" in wanted:
            detail = "Who vouches for users needs a key of its own; a federated credential makes calls."
            raise Refusal("scope_conflict", detail, field="scopes")
        try:
            with transaction.atomic():
                made = Credential.objects.create(
                    workspace=row.workspace,
                    environment=row.environment,
                    agent=agent,
                    kind=Credential.Kind.FEDERATED,
                    name=name,
                    owner=owner,
                    trust=row,
                    subject=subject,
                    scopes=wanted,
                    created_by=actor.actor,
                    expires_at=expires_at,
                )
        except IntegrityError as error:
            raise Refusal(
                "subject_taken", "That subject has a credential already.", status=409, field="subject"
            ) from error
        log.append(
            "gateway.credential.created",
            workspace=row.workspace_id,
            actor=actor.actor,
            correlation_id=correlation_id,
            now=now,
            subjects={"credential": str(made.pk), "trust": str(row.pk)},
            data={
                "environment": row.environment,
                "agent": agent,
                "kind": made.kind,
                "scopes": wanted,
                "owner": owner.actor,
                "subject": log.Sealed(subject, subject=f"credential:{made.pk}"),
                **authentication.recorded(proof),
            },
        )
    return made


def _check(issuer: str, audience: str, algorithms: list[str], longest_seconds: int) -> None:
    if not issuer or not audience:
        raise Refusal("issuer_invalid", "Name the issuer and the audience as the tokens do.", field="issuer")
    unknown = [name for name in algorithms if name not in federation.ALGORITHMS]
    if unknown or not algorithms:
        detail = (
            f"Algorithms are one or more of {', '.join(federation.ALGORITHMS)}; got {', '.join(unknown) or 'none'}."
        )
        raise Refusal("algorithm_unknown", detail, field="algorithms")
    if not 60 <= longest_seconds <= LONGEST_SECONDS:
        detail = f"A token may live 60 to {LONGEST_SECONDS} s."
        raise Refusal("lifetime_out_of_range", detail, field="longest_seconds")


def _check_address(url: str) -> None:
    try:
        destinations.parse(url)
    except ConnectRefused as error:
        raise Refusal(
            "jwks_url_refused", f"The key set cannot be fetched from there: {error}.", field="jwks_url"
        ) from error


def _append(event: str, row: Trust, actor: Person, now: datetime, correlation_id: str, **data: object) -> None:
    log.append(
        event,
        workspace=row.workspace_id,
        actor=actor.actor,
        correlation_id=correlation_id,
        now=now,
        subjects={"trust": str(row.pk)},
        data={"environment": row.environment, **data},
    )
