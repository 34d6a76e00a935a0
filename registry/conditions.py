"""What has to hold before a slot moves: asked when an activation is requested, and again when it is finished."""

from audit.refusal import Refusal, not_found
from registry import clock, locks, memberships, pdps, proposals, quorum, slots
from registry.models import Activation, Bundle, Environment, Lifecycle, Pdp, Person, Proposal, Role, Version


def failure(activation: Activation) -> str:
    """Return why the activation cannot go live any more, by a code; empty if it can."""
    ended = {"revoked"} if activation.kind == "rollback" else {"revoked", "retired"}
    try:
        require_usable(activation.version, ended)
        if activation.kind == "rollback":
            require_rollback(activation.version, activation.environment)
        elif activation.expires_at is not None and activation.expires_at <= clock.read():
            return "break_glass_expired"
        elif activation.kind == "activate":
            if activation.proposal is None:
                return "quorum_missing"
            require_quorum(proposals.lock(activation.proposal))
    except Refusal as refusal:
        return refusal.code
    return ""


def served(activation: Activation) -> bool:
    """Say whether each decision point that has been heard of lately has the bundle, or a newer one."""
    if activation.environment is None:
        return True
    bundles = Bundle.objects.filter(environment=activation.environment)
    published = bundles.filter(revision=activation.revision).values_list("created_at", flat=True).first()
    good = {activation.revision}
    if published is not None:
        good |= set(bundles.filter(created_at__gte=published).values_list("revision", flat=True))
    points = Pdp.objects.filter(environment=activation.environment, last_seen__gt=clock.read() - pdps.FRESH)
    return set(points.values_list("revision", flat=True)) <= good


def require_operator(actor: Person, version: Version, environment: Environment | None) -> None:
    """Refuse who may not activate there. :raises Refusal: role_missing."""
    if environment is None:
        memberships.require(actor, version.workspace_id, [Role.ADMIN, Role.OPERATOR])
    else:
        memberships.require(actor, version.workspace_id, [Role.OPERATOR], environment=environment)


def require_quorum(proposal: Proposal) -> None:
    """Refuse a proposal that lacks anything at this moment. :raises Refusal: quorum_missing, with `missing`."""
    missing = quorum.missing(proposal)
    if proposal.state != "approved" or missing:
        listed = [{"code": each.code, "version": each.version, "detail": each.detail} for each in missing]
        detail = " ".join(str(each) for each in missing) or f"The proposal is {proposal.state}, not approved."
        raise Refusal("quorum_missing", detail, status=409, missing=listed)


def require_rollback(version: Version, environment: Environment | None) -> None:
    """Refuse what was not live there by agreement. :raises Refusal: never_live, version_revoked."""
    slots.require_slot(version, environment)
    if not slots.was_live(version, environment):
        detail = "Only what was live there by agreement can be brought back; propose this version instead."
        raise Refusal("never_live", detail, status=409)
    require_usable(version, {"revoked"})


def require_usable(version: Version, ended: set[str]) -> None:
    """Refuse a version whose life, or that of a part, is in one of the states `ended`."""
    row = Lifecycle.objects.filter(version__in=locks.with_parts(version.pk), state__in=ended).first()
    if row is not None:
        detail = "The version, or a part that it pins, may not be used any more."
        raise Refusal(f"version_{row.state}", detail, status=409)


def require_same_workspace(version: Version, environment: Environment | None) -> None:
    """Refuse an environment of another workspace. :raises Refusal: not_found."""
    if environment is not None and environment.workspace_id != version.workspace_id:
        raise not_found("environment")


def require_reason(reason: str) -> None:
    """Refuse an empty reason. :raises Refusal: reason_missing."""
    if not reason.strip():
        raise Refusal("reason_missing", "Say why, in one sentence.", field="reason")
