"""Proposals: ask that a version be approved for an environment, take that back, and let it run out."""

from datetime import datetime, timedelta

from django.db import transaction
from django.db.models.functions import Now

from audit import log
from audit.refusal import Refusal, not_found
from registry import clock, contributors, locks, memberships, quorum, transitions, versions, workspaces
from registry.models import Environment, Kind, Person, Proposal, Role, Version


def open(
    version: Version,
    environment: Environment | None,
    *,
    proposer: Person,
    now: datetime,
    correlation_id: str,
    reason: str = "",
    credential: str | None = None,
) -> Proposal:
    """Ask that `version` be approved for `environment` (None for a charter). Idempotent for the proposer while open.

    Proposing the same bytes again after an end opens a new proposal; earlier approvals do not count for it.

    :param credential: `credential:<uuid>` if a credential acts; `proposer` is then its owner.
    :raises Refusal: not_found, role_missing, environment_missing, environment_unwanted, version_retired,
        version_revoked, proposal_exists.
    """
    _require_place(version, environment)
    with transaction.atomic():
        locked = locks.versions(locks.with_parts(version.pk))
        role = [Role.ADMIN, Role.AUTHOR] if environment is None else [Role.AUTHOR]
        memberships.require(proposer, version.workspace_id, role, environment=environment)
        for row in locked.values():
            if row.state in ("retired", "revoked"):
                detail = "The version, or a part that it pins, may no longer be used; propose another one."
                raise Refusal(f"version_{row.state}", detail, status=409)
        existing = Proposal.objects.select_for_update().filter(version=version, environment=environment, state="open")
        for proposal in existing.filter(expires_at__lte=Now()):
            _expire(proposal, now=now)
        still_open = existing.first()
        if still_open is not None:
            if still_open.proposer_id == proposer.pk:
                return still_open
            detail = "Somebody else has an open proposal of this version for this environment."
            raise Refusal("proposal_exists", detail, status=409, proposal=str(still_open.pk))
        contributors.map_again(version, now=now)
        for part in versions.parts_of(version):
            contributors.map_again(part, now=now)
        contributors.add(version, proposer, how="credential_owner" if credential else "proposer", now=now)
        charter_digest, charter = workspaces.charter_in_force(version.workspace_id)
        opened_at = clock.read()
        proposal = Proposal.objects.create(
            workspace_id=version.workspace_id,
            version=version,
            environment=environment,
            proposer=proposer,
            reason=reason,
            opened_at=opened_at,
            expires_at=opened_at + timedelta(hours=charter["proposal_ttl_hours"]),
            charter_digest=charter_digest,
        )
        record(
            "registry.proposal.opened",
            proposal,
            actor=credential or proposer.actor,
            now=now,
            correlation_id=correlation_id,
            data={"reason": log.Sealed(reason, subject=proposer.actor), **contributors.records(version)},
        )
    return proposal


def withdraw(proposal: Proposal, *, actor: Person, now: datetime, correlation_id: str) -> Proposal:
    """Take an open proposal back: its proposer or an admin may. :raises Refusal: role_missing, transition_refused."""
    with transaction.atomic():
        proposal = lock(proposal)
        if actor.pk != proposal.proposer_id or not memberships.is_member(actor, proposal.workspace_id):
            memberships.require(actor, proposal.workspace_id, [Role.ADMIN])
        conclude(proposal, "withdrawn", actor=actor.actor, now=now, correlation_id=correlation_id)
    return proposal


def expire_due(*, now: datetime) -> int:
    """End the open proposals whose time is over by the database's clock; return how many. For the sweeper."""
    ended = 0
    for proposal in Proposal.objects.filter(state="open", expires_at__lte=Now()):
        with transaction.atomic():
            row = lock(proposal)
            if row.state == "open":
                _expire(row, now=now)
                ended += 1
    return ended


def lock(proposal: Proposal) -> Proposal:
    """Lock the version, its parts and the proposal, in that order, and return the fresh proposal."""
    locks.versions(locks.with_parts(proposal.version_id))
    rows = Proposal.objects.select_for_update(of=("self",)).select_related("version", "environment")
    return rows.get(pk=proposal.pk)


def conclude(
    proposal: Proposal,
    state: str,
    *,
    actor: str,
    now: datetime,
    correlation_id: str,
    data: dict[str, object] | None = None,
) -> None:
    """End a proposal that the caller has locked. :raises Refusal: transition_refused."""
    transitions.move(proposal, state)
    proposal.concluded_at = now
    proposal.save(update_fields=["state", "concluded_at"])
    record(f"registry.proposal.{state}", proposal, actor=actor, now=now, correlation_id=correlation_id, data=data)


def record(
    event: str,
    proposal: Proposal,
    *,
    actor: str,
    now: datetime,
    correlation_id: str,
    data: dict[str, object] | None = None,
) -> None:
    """Append a record about `proposal`."""
    environment = str(proposal.environment_id) if proposal.environment_id else None
    log.append(
        event,
        workspace=proposal.workspace_id,
        actor=actor,
        correlation_id=correlation_id,
        now=now,
        subjects={"proposal": str(proposal.pk), "version": proposal.version.digest},
        data={"environment": environment, "charter": proposal.charter_digest, **(data or {})},
    )


def missing(proposal: Proposal) -> list[quorum.Missing]:
    """Return everything that keeps `proposal` from being activated."""
    return quorum.missing(proposal)


def _expire(proposal: Proposal, *, now: datetime) -> None:
    conclude(proposal, "expired", actor="system:registry", now=now, correlation_id=f"expiry-{proposal.pk}")


def _require_place(version: Version, environment: Environment | None) -> None:
    if environment is None:
        if version.kind != Kind.CHARTER:
            detail = "Name the environment; only a charter holds for the whole workspace."
            raise Refusal("environment_missing", detail, field="environment")
    elif version.kind == Kind.CHARTER:
        detail = "A charter holds for the whole workspace; leave the environment out."
        raise Refusal("environment_unwanted", detail, field="environment")
    elif environment.workspace_id != version.workspace_id:
        raise not_found("environment")
