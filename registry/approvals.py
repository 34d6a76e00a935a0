"""Approvals: one person's verdict on one digest; never a contributor's; counted anew at activation."""

from datetime import datetime, timedelta

from django.db import IntegrityError, transaction
from django.db.models import Q, QuerySet

from audit import crash, log
from audit.refusal import Refusal, not_found
from registry import authentication, clock, memberships, proposals, quorum
from registry.authentication import Authentication
from registry.models import Approval, Person, Proposal, SlotHistory, Version
from registry.quorum import Missing, Standing

# What a person can read about a row that the database refused, by the guard's word.
_GUARD = {
    "approver_is_contributor": "You contributed to this version, or to a part of it that is not approved there yet.",
    "contributor_unmapped": "A commit identity belongs to no member; an admin has to identify it first.",
    "approval_unique": "You have given your verdict on this version already; withdraw it first.",
    "proposal_not_open": "The proposal is no longer open.",
    "approval_digest": "The digest is not that of the version.",
}


def approve(
    proposal: Proposal,
    *,
    approver: Person,
    digest: str,
    role: str | None,
    comment: str,
    now: datetime,
    correlation_id: str,
    proof: Authentication | None = None,
) -> list[Approval]:
    """Approve the version of `proposal`, and each part not yet approved there for which the approver holds a role.

    :param digest: what the approver looked at; it must be the digest of the version.
    :param role: in which role; None takes the one that is missing most.
    :param proof: how the approver signed in; None, which is not known, serves no protected environment.
    :return: the rows, one for each version.
    :raises Refusal: digest_mismatch, proposal_not_open, proposal_expired, approver_is_contributor, role_missing,
        factors_reset, step_up_required, second_factor_required, already_approved, contributor_unmapped, check_failed
        and whatever else blocks the proposal.
    """
    with transaction.atomic():
        proposal, standing = _lock(proposal, approver, digest)
        _refuse_blocked(standing)
        roles = _roles(standing, approver, role)
        authentication.require_recent(proof, proposal.environment, now=now)
        mine = Approval.objects.filter(proposal=proposal, approver=approver, withdrawn_at=None)
        # Who agrees has no changes left to ask for.
        taken_back = _take_back(mine.filter(verdict=Approval.Verdict.REQUEST_CHANGES))
        done = set(mine.values_list("version_id", flat=True))
        rows = [
            _row(standing, version, approver, as_role, "approve", comment)
            for version, as_role in roles.items()
            if version.pk not in done
        ]
        if not rows:
            raise Refusal("already_approved", _GUARD["approval_unique"], status=409)
        _insert(rows)
        _record([*taken_back, *rows], proposal, actor=approver, now=now, correlation_id=correlation_id, proof=proof)
        if proposal.state == "open" and not quorum.missing(proposal):
            proposals.conclude(proposal, "approved", actor=approver.actor, now=now, correlation_id=correlation_id)
    crash.point("registry.approval.given")
    return rows


def reject(
    proposal: Proposal,
    *,
    approver: Person,
    digest: str,
    role: str | None,
    comment: str,
    now: datetime,
    correlation_id: str,
    proof: Authentication | None = None,
) -> Approval:
    """Reject the proposal, for good. :raises Refusal: as `approve`, and comment_missing."""
    if not comment.strip():
        raise Refusal("comment_missing", "Say what has to change, in one sentence.", field="comment")
    with transaction.atomic():
        proposal, standing = _lock(proposal, approver, digest)
        roles = _roles(standing, approver, role)
        as_role = roles.get(proposal.version) or next(iter(roles.values()))
        mine = Approval.objects.filter(proposal=proposal, approver=approver, withdrawn_at=None)
        taken_back = _take_back(mine.filter(version=proposal.version))
        row = _row(standing, proposal.version, approver, as_role, "reject", comment)
        _insert([row])
        _record([*taken_back, row], proposal, actor=approver, now=now, correlation_id=correlation_id, proof=proof)
        proposals.conclude(proposal, "rejected", actor=approver.actor, now=now, correlation_id=correlation_id)
    return row


def request_changes(
    proposal: Proposal,
    *,
    approver: Person,
    digest: str,
    role: str | None,
    comment: str,
    now: datetime,
    correlation_id: str,
    proof: Authentication | None = None,
) -> Approval:
    """Ask for changes: the proposal keeps its state and has no quorum until the request is withdrawn.

    Whatever `approver` approved in it before is taken back. It does not expire.

    :raises Refusal: as `approve`, and comment_missing.
    """
    if not comment.strip():
        raise Refusal("comment_missing", "Say what has to change, in one sentence.", field="comment")
    with transaction.atomic():
        proposal, standing = _lock(proposal, approver, digest)
        roles = _roles(standing, approver, role)
        as_role = roles.get(proposal.version) or next(iter(roles.values()))
        taken_back = _take_back(Approval.objects.filter(proposal=proposal, approver=approver, withdrawn_at=None))
        row = _row(standing, proposal.version, approver, as_role, Approval.Verdict.REQUEST_CHANGES, comment)
        _insert([row])
        _record([*taken_back, row], proposal, actor=approver, now=now, correlation_id=correlation_id, proof=proof)
    return row


def withdraw(approval: Approval, *, actor: Person, now: datetime, correlation_id: str) -> list[Approval]:
    """Take back what `actor` said in the proposal of `approval`, all of it: approvals until activation, a request for
    changes at any time. If nothing else was missing, the proposal is approved from then on.

    :raises Refusal: not_yours, approval_withdrawn, already_activated.
    """
    with transaction.atomic():
        proposal = proposals.lock(approval.proposal)
        if approval.approver_id != actor.pk:
            raise Refusal("not_yours", "Only who gave an approval can take it back.", status=403)
        mine = Approval.objects.filter(proposal=proposal, approver=actor, withdrawn_at=None)
        rows = list(mine.exclude(verdict=Approval.Verdict.REJECT))
        if not rows:
            raise Refusal("approval_withdrawn", "There is nothing left to withdraw.", status=409)
        objected = rows[0].verdict == Approval.Verdict.REQUEST_CHANGES
        live = Q(version=proposal.version) | Q(version__pins__part=proposal.version)
        if (
            not objected
            and SlotHistory.objects.filter(live, environment=proposal.environment, kind="activate").exists()
        ):
            detail = "The version has been activated; revoke it, or roll back, instead."
            raise Refusal("already_activated", detail, status=409)
        for row in rows:
            _withdraw(row)
        _record(rows, proposal, actor=actor, now=now, correlation_id=correlation_id, proof=None)
        running = objected and proposal.state == "open" and proposal.expires_at > clock.read()
        if running and not quorum.missing(proposal):
            proposals.conclude(proposal, "approved", actor=actor.actor, now=now, correlation_id=correlation_id)
    crash.point("registry.approval.withdrawn")
    return rows


def missing(proposal: Proposal) -> list[Missing]:
    """Return everything that keeps `proposal` from being activated, in words."""
    return quorum.missing(proposal)


def _lock(proposal: Proposal, approver: Person, digest: str) -> tuple[Proposal, Standing]:
    """Lock everything that counts, then refuse whoever and whatever cannot be approved."""
    if not memberships.is_member(approver, proposal.workspace_id):
        raise not_found("proposal")
    proposal = proposals.lock(proposal)
    if proposal.version.digest != digest:
        detail = "You looked at other bytes than those that are proposed; reload the proposal and review it again."
        raise Refusal("digest_mismatch", detail, status=412, field="digest", expected=proposal.version.digest)
    if proposal.state not in ("open", "approved"):
        raise Refusal("proposal_not_open", f"The proposal is {proposal.state}.", status=409)
    if proposal.state == "open" and proposal.expires_at <= clock.read():
        raise Refusal("proposal_expired", "The time of the proposal is over; propose the version again.", status=409)
    standing = quorum.standing(proposal)
    if approver.pk in standing.barred:
        raise Refusal("approver_is_contributor", _GUARD["approver_is_contributor"], status=403)
    return proposal, standing


def _refuse_blocked(standing: Standing) -> None:
    """Refuse an approval while anything is missing that no person's verdict and no evidence brings."""
    for blocking in standing.missing():
        if blocking.code not in quorum.COMES:
            raise Refusal(blocking.code, blocking.detail, status=409, version=blocking.version)


def _roles(standing: Standing, approver: Person, role: str | None) -> dict[Version, str]:
    """Return the role in which `approver` stands for each version: the one asked for, or one that is missing."""
    held = quorum.usable_roles(approver, standing.proposal)
    quorum.require_settled(approver, standing.proposal)
    if role is not None and role not in held:
        raise memberships.role_missing([role], standing.proposal.environment)
    chosen: dict[Version, str] = {}
    wanted: set[str] = set()
    for version in standing.concerned:
        lacking, every = standing.open_roles(version)
        wanted |= set(every)
        preferred = [each for each in (role, *lacking, *every) if each in held and each in every]
        if preferred:
            chosen[version] = str(preferred[0])
    if not chosen:
        raise memberships.role_missing(wanted, standing.proposal.environment)
    return chosen


def _row(standing: Standing, version: Version, approver: Person, role: str, verdict: str, comment: str) -> Approval:
    at = clock.read()
    return Approval(
        proposal=standing.proposal,
        version=version,
        digest=version.digest,
        environment=standing.proposal.environment,
        approver=approver,
        role=role,
        verdict=verdict,
        comment=comment,
        at=at,
        expires_at=at + timedelta(hours=standing.charter["approval_ttl_hours"]),
    )


def _insert(rows: list[Approval]) -> None:
    try:
        with transaction.atomic():
            Approval.objects.bulk_create(rows)
    except IntegrityError as error:
        # We checked all of it before; what the database still refuses is a race, and it says which.
        code = next((word for word in _GUARD if word in str(error)), "approval_refused")
        detail = _GUARD.get(code, "The database refused the approval.")
        code = "already_approved" if code == "approval_unique" else code
        raise Refusal(code, detail, status=409) from error


def _take_back(those: QuerySet[Approval]) -> list[Approval]:
    rows = list(those)
    for row in rows:
        _withdraw(row)
    return rows


def _withdraw(row: Approval) -> None:
    row.withdrawn_at = clock.read()
    row.save(update_fields=["withdrawn_at"])


def _record(
    rows: list[Approval],
    proposal: Proposal,
    *,
    actor: Person,
    now: datetime,
    correlation_id: str,
    proof: Authentication | None,
) -> None:
    for row in rows:
        proposals.record(
            "registry.approval.withdrawn" if row.withdrawn_at else "registry.approval.created",
            proposal,
            actor=actor.actor,
            now=now,
            correlation_id=correlation_id,
            data={
                "approval": str(row.pk),
                "approved": row.digest,
                "role": row.role,
                "verdict": row.verdict,
                "comment": log.Sealed(row.comment, subject=actor.actor),
                "expires_at": row.expires_at.isoformat(),
                **authentication.recorded(proof),
            },
        )
