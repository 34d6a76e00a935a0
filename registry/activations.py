"""Activation: requested by a person, published by the bundler, then live once the quorum is counted again."""

from collections.abc import Mapping
from datetime import datetime, timedelta

from django.db import IntegrityError, transaction
from django.db.models import Max
from django.db.models.functions import Now

from audit import crash, log
from audit.refusal import Refusal
from registry import authentication, clock, conditions, locks, memberships, proposals, quorum, slots, versions
from registry.authentication import Authentication
from registry.models import Activation, Bundle, Environment, Person, Proposal, Role, Version

PATIENCE = timedelta(minutes=15)
LONGEST_BREAK_GLASS = 60
REVIEW_WITHIN = timedelta(hours=24)


def request(
    proposal: Proposal,
    *,
    actor: Person,
    now: datetime,
    correlation_id: str,
    reason: str = "",
    proof: Authentication | None = None,
) -> Activation:
    """Ask that an approved version go live. Idempotent while one is under way. A charter is live at once.

    :param proof: how the actor signed in; None, which is not known, serves no protected environment.
    :raises Refusal: role_missing, step_up_required, second_factor_required, not_activatable, quorum_missing (with
        `missing`), activation_pending.
    """
    with transaction.atomic():
        proposal = proposals.lock(proposal)
        slots.require_slot(proposal.version, proposal.environment)
        conditions.require_operator(actor, proposal.version, proposal.environment)
        authentication.require_recent(proof, proposal.environment, now=now)
        if proposal.state == "open" and proposal.expires_at > clock.read() and not quorum.missing(proposal):
            # What the last approval still lacked has come since: evidence, or a charter that asks for less.
            proposals.conclude(proposal, "approved", actor="system:registry", now=now, correlation_id=correlation_id)
        conditions.require_quorum(proposal)
        activation, created = _open(
            proposal.version, proposal.environment, "activate", actor, reason, now, proposal=proposal
        )
        if created:
            _record("requested", activation, actor.actor, now, correlation_id, _said(reason, actor, proof))
    crash.point("registry.activation.requested")
    if activation.environment_id is None and activation.state == "published":
        # No bundle carries a charter, so there is nobody to wait for.
        activation = finish(activation, now=now, correlation_id=correlation_id, actor=actor.actor)
    return activation


def roll_back(
    version: Version,
    environment: Environment | None,
    *,
    actor: Person,
    reason: str,
    now: datetime,
    correlation_id: str,
    proof: Authentication | None = None,
) -> Activation:
    """Bring back a version that was live in the slot by agreement and is not revoked; no new quorum.

    :raises Refusal: role_missing, reason_missing, never_live, version_revoked, activation_pending.
    """
    conditions.require_reason(reason)
    conditions.require_same_workspace(version, environment)
    with transaction.atomic():
        locks.versions(locks.with_parts(version.pk))
        conditions.require_operator(actor, version, environment)
        authentication.require_recent(proof, environment, now=now)
        conditions.require_rollback(version, environment)
        activation, created = _open(version, environment, "rollback", actor, reason, now)
        if created:
            _record("requested", activation, actor.actor, now, correlation_id, _said(reason, actor, proof))
    crash.point("registry.activation.rolled_back")
    if activation.environment_id is None and activation.state == "published":
        activation = finish(activation, now=now, correlation_id=correlation_id, actor=actor.actor)
    return activation


def break_glass(
    version: Version,
    environment: Environment,
    *,
    actor: Person,
    reason: str,
    minutes: int,
    now: datetime,
    correlation_id: str,
    proof: Authentication | None = None,
) -> Activation:
    """Make a checked version live without a quorum for at most 60 minutes. A second person has to review it.

    The charter cannot be changed like this. When the time is over by the database's clock, the slot counts as empty
    at once, and the sweeper puts back what stood there.

    :raises Refusal: role_missing, reason_missing, minutes_invalid, not_activatable, check_failed, version_revoked.
    """
    conditions.require_reason(reason)
    if not 1 <= minutes <= LONGEST_BREAK_GLASS:
        detail = f"Break-glass lasts 1 to {LONGEST_BREAK_GLASS} minutes."
        raise Refusal("minutes_invalid", detail, field="minutes")
    conditions.require_same_workspace(version, environment)
    with transaction.atomic():
        locks.versions(locks.with_parts(version.pk))
        slots.require_slot(version, environment)
        memberships.require(actor, version.workspace_id, [Role.BREAK_GLASS], environment=environment)
        authentication.require_recent(proof, environment, now=now)
        conditions.require_usable(version, {"revoked", "retired"})
        for part in (version, *versions.parts_of(version)):
            for check in versions.failing_checks(part):
                # What fails its checks may take the policy engine down with it: no emergency is helped by that.
                detail = f"The check {check.name} of {quorum.label(part)} failed."
                raise Refusal("check_failed", detail, status=409)
        at = clock.read()
        times = {"expires_at": at + timedelta(minutes=minutes), "review_due_at": at + REVIEW_WITHIN}
        activation, created = _open(version, environment, "break_glass", actor, reason, now, **times)
        if created:
            data = _said(reason, actor, proof) | {name: each.isoformat() for name, each in times.items()}
            _record("requested", activation, actor.actor, now, correlation_id, data)
    crash.point("registry.activation.glass_broken")
    return activation


def finish(activation: Activation, *, now: datetime, correlation_id: str, actor: str = "system:registry") -> Activation:
    """Move the slot, if the bundle is out and everything still holds; count the quorum under the locks.

    It is counted twice: what fails need not shut the gate, and what passes is counted again behind it, where nobody
    leaves, loses a grant or changes the charter until this commits.

    :return: the activation: `live`, `failed` with its reason, or unchanged while decision points are behind.
    """
    with transaction.atomic():
        locks.versions(locks.with_parts(activation.version_id))
        activation = _lock(activation)
        if activation.state != "published":
            return activation
        failure = conditions.failure(activation)
        if failure:
            return _fail(activation, failure, now, correlation_id, actor)
        if not conditions.served(activation):
            return activation
        if activation.environment is not None:
            # The bundler has it while it builds: nobody should wait for that at the gate.
            Environment.objects.select_for_update(no_key=True).get(pk=activation.environment.pk)
        locks.gate(activation.workspace_id)
        failure = conditions.failure(activation)
        if failure:
            return _fail(activation, failure, now, correlation_id, actor)
        slot = slots.lock(activation.environment, activation.artifact)
        activation.previous = slot.version if slot else None
        activation.state, activation.finished_at = "live", now
        activation.save(update_fields=["previous", "state", "finished_at"])
        slots.put(slot, activation, activation.version, kind=activation.kind, now=now)
        _use_bundle(activation)
        crash.point("registry.activation.finishing")
        previous = {"previous": activation.previous.digest if activation.previous else None}
        _record("finished", activation, actor, now, correlation_id, previous)
    crash.point("registry.activation.finished")
    return activation


def fail_stuck(*, now: datetime) -> int:
    """Fail the activations that have waited too long for the bundler or a decision point; return how many."""
    failed = 0
    for row in Activation.objects.filter(state__in=["requested", "published"]).order_by("pk"):
        with transaction.atomic():
            activation = _lock(row)
            since = activation.published_at or activation.requested_at
            if activation.state in ("requested", "published") and clock.read() - since > PATIENCE:
                failure = "bundle_late" if activation.state == "requested" else "pdp_late"
                _fail(activation, failure, now, f"stuck-{activation.pk}", "system:registry")
                failed += 1
        crash.point("registry.activation.failed")
    return failed


def revert_due(*, now: datetime) -> int:
    """Put back what stood in the slot before each break-glass whose time is over; return how many."""
    reverted = 0
    due = Activation.objects.filter(kind="break_glass", state="live", reverted_at=None, expires_at__lte=Now())
    for row in due.order_by("pk"):
        with transaction.atomic():
            activation = _lock(row)
            if activation.reverted_at is not None:
                continue
            locks.gate(activation.workspace_id)
            slot = slots.lock(activation.environment, activation.artifact)
            # Something newer may stand there by now: then there is nothing to put back.
            replaced = slot is None or slot.expires_at is None or slot.version_id != activation.version_id
            if not replaced:
                slots.put(slot, activation, activation.previous, kind="revert", now=now)
            activation.reverted_at = now
            activation.save(update_fields=["reverted_at"])
            data = {"replaced": replaced, "to": activation.previous.digest if activation.previous else None}
            _record("reverted", activation, "system:registry", now, f"revert-{activation.pk}", data)
            reverted += 1
        crash.point("registry.activation.reverted")
    return reverted


def review(activation: Activation, *, reviewer: Person, comment: str, now: datetime, correlation_id: str) -> Activation:
    """Write down a second person's review of a break-glass activation. Once.

    :raises Refusal: role_missing, comment_missing, not_reviewable, own_break_glass.
    """
    if not comment.strip():
        raise Refusal("comment_missing", "Say what you found, in one sentence.", field="comment")
    with transaction.atomic():
        activation = _lock(activation)
        roles = [Role.REVIEWER, Role.SECURITY, Role.ADMIN]
        memberships.require(reviewer, activation.workspace_id, roles, environment=activation.environment)
        if activation.kind != "break_glass" or activation.reviewed_at is not None:
            detail = "Only a break-glass activation that nobody has reviewed yet is reviewed."
            raise Refusal("not_reviewable", detail, status=409)
        if activation.requested_by_id == reviewer.pk:
            raise Refusal("own_break_glass", "Somebody else has to review this.", status=403)
        activation.reviewed_by, activation.reviewed_at, activation.review = reviewer, now, comment
        activation.save(update_fields=["reviewed_by", "reviewed_at", "review"])
        said = {"comment": log.Sealed(comment, subject=reviewer.actor)}
        _record("reviewed", activation, reviewer.actor, now, correlation_id, said)
    return activation


def _open(
    version: Version,
    environment: Environment | None,
    kind: str,
    actor: Person,
    reason: str,
    now: datetime,
    **fields: object,
) -> tuple[Activation, bool]:
    pending = Activation.objects.filter(
        environment=environment, artifact_id=version.artifact_id, state__in=["requested", "published"]
    ).first()
    if pending is not None:
        if pending.version_id == version.pk and pending.kind == kind:
            return pending, False
        raise _pending()
    try:
        with transaction.atomic():
            activation = Activation.objects.create(
                workspace_id=version.workspace_id,
                environment=environment,
                artifact_id=version.artifact_id,
                version=version,
                kind=kind,
                state="published" if environment is None else "requested",
                reason=reason,
                requested_by=actor,
                requested_at=clock.read(),
                **fields,
            )
    except IntegrityError as error:
        raise _pending() from error
    return activation, True


def _pending() -> Refusal:
    detail = "Another activation of this artifact is under way there; wait for its end."
    return Refusal("activation_pending", detail, status=409)


def _lock(activation: Activation) -> Activation:
    rows = Activation.objects.select_for_update(of=("self",))
    return rows.select_related("version", "environment", "artifact", "previous", "proposal").get(pk=activation.pk)


def _fail(activation: Activation, failure: str, now: datetime, correlation_id: str, actor: str) -> Activation:
    activation.state, activation.failure, activation.finished_at = "failed", failure, now
    activation.save(update_fields=["state", "failure", "finished_at"])
    _record("failed", activation, actor, now, correlation_id, {"failure": failure})
    return activation


def _use_bundle(activation: Activation) -> None:
    """Let calls in the environment use the bundle of this activation, unless they use a newer one."""
    if activation.environment is None:
        return
    environment = Environment.objects.select_for_update(no_key=True).get(pk=activation.environment.pk)
    bundles = Bundle.objects.filter(environment=environment)
    current = bundles.filter(revision=environment.bundle_revision).aggregate(at=Max("created_at"))["at"]
    ours = bundles.filter(revision=activation.revision).aggregate(at=Max("created_at"))["at"]
    if current is None or ours is None or ours > current:
        environment.bundle_revision = activation.revision
        environment.save(update_fields=["bundle_revision"])


def _said(reason: str, actor: Person, proof: Authentication | None) -> dict[str, object]:
    return {"reason": log.Sealed(reason, subject=actor.actor), **authentication.recorded(proof)}


def _record(
    what: str,
    activation: Activation,
    actor: str,
    now: datetime,
    correlation_id: str,
    data: Mapping[str, object],
) -> None:
    subjects = {"activation": str(activation.pk), "version": activation.version.digest}
    if activation.proposal_id:
        subjects["proposal"] = str(activation.proposal_id)
    environment = str(activation.environment_id) if activation.environment_id else None
    log.append(
        f"registry.activation.{what}",
        workspace=activation.workspace_id,
        actor=actor,
        correlation_id=correlation_id,
        now=now,
        subjects=subjects,
        data={"environment": environment, "kind": activation.kind, "revision": activation.revision, **data},
    )
