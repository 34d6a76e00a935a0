"""Slots: which version is live where, how one moves, and what has been live before."""

from datetime import datetime
from uuid import UUID

from django.db.models import Q

from audit.refusal import Refusal
from registry.models import Activation, Artifact, Environment, Kind, Slot, SlotHistory, Version

BASELINE = "baseline"


def require_slot(version: Version, environment: Environment | None) -> None:
    """Refuse what never stands in a slot. :raises Refusal: not_activatable."""
    if environment is None:
        good = version.kind == Kind.CHARTER
    else:
        good = version.kind == Kind.AGENT or (version.kind == Kind.POLICY and version.name == BASELINE)
    if not good:
        detail = (
            f"A {version.kind} goes live as a part of a release. In an environment only agents and the policy named "
            f"{BASELINE!r} are activated; the charter is activated without one."
        )
        raise Refusal("not_activatable", detail, status=409)


def lock(environment: Environment | None, artifact: Artifact) -> Slot | None:
    """Lock and return the slot; None if nothing was ever live there."""
    return Slot.objects.select_for_update().filter(environment=environment, artifact=artifact).first()


def put(slot: Slot | None, activation: Activation, version: Version | None, *, kind: str, now: datetime) -> Slot:
    """Move a locked slot to `version`, or make it, and write the history."""
    expires_at = activation.expires_at if kind == "break_glass" else None
    if slot is None:
        slot = Slot.objects.create(
            workspace_id=activation.workspace_id,
            environment_id=activation.environment_id,
            artifact_id=activation.artifact_id,
            version=version,
            changed_at=now,
            expires_at=expires_at,
        )
    else:
        slot.version, slot.changed_at, slot.expires_at = version, now, expires_at
        slot.save(update_fields=["version", "changed_at", "expires_at"])
    SlotHistory.objects.create(
        environment_id=activation.environment_id,
        artifact_id=activation.artifact_id,
        version=version,
        activation=activation,
        kind=kind,
        at=now,
    )
    return slot


def was_live(version: Version, environment: Environment | None) -> bool:
    """Say whether `version` was live there by agreement: not by break-glass alone."""
    rows = SlotHistory.objects.filter(environment=environment, version=version)
    return rows.filter(Q(kind="activate") | Q(kind="founding")).exists()


def live_version(environment: Environment | None, artifact_id: UUID) -> Version | None:
    """Return what stands in the slot."""
    slot = Slot.objects.filter(environment=environment, artifact_id=artifact_id).select_related("version").first()
    return slot.version if slot else None
