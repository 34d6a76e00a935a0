"""What the trail and the sealed values tell of one attempt. Each part may be erased, and then says so."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from audit import records, sealed
from audit.canonical import JSON
from audit.refusal import Refusal
from gateway import recall
from gateway.decision import LAYERS, Decision, Reason
from gateway.listing import VERDICTS
from gateway.reasons import REASONS
from gateway.views import values
from registry import versions
from registry.models import Approval, Version


@dataclass(frozen=True, slots=True)
class Attempt:
    """One decided attempt, as a person may see it. `erased`: its values went with their data subject."""

    decision: Decision | None
    leaves: list[values.Leaf]
    document: Mapping[str, JSON] | None
    erased: bool

    @property
    def reasons(self) -> list[tuple[Reason, str]]:
        """Return (reason, tone): what denies before what asks a person, the layer that nobody can switch off first."""
        if self.decision is None:
            return []
        held = {one["code"] for one in self.decision.obligations if one["kind"] == "hold"}
        other = "info" if self.decision.allow else "deny"
        toned = [(reason, "hold" if reason.code in held else other) for reason in self.decision.reasons]
        order = {layer: place for place, layer in enumerate(LAYERS)}
        return sorted(toned, key=lambda pair: (pair[1] == "hold", order.get(pair[0].layer, len(order))))


def attempt(record: UUID, contract: Mapping[str, Any] | None, *, mask: bool, open: bool = False) -> Attempt:
    """Return what is kept of the attempt that `record` decided. `mask` and `open`: as for `values.leaves`."""
    try:
        decision = recall.decision_of(record)
        received, executed = recall.arguments_of(record)
        if decision is None:  # the record is there, and its values are not
            return Attempt(None, [], None, erased=True)
    except Refusal as refusal:
        if refusal.status not in (404, 410):
            raise
        return Attempt(None, [], None, erased=True)
    document = _document(record)
    findings = document.get("findings", ()) if document else ()
    rows = values.leaves(executed, received=received, findings=findings, contract=contract, mask=mask, open=open)
    return Attempt(decision, rows, document, erased=False)


def verdict(state: str) -> str:
    """Return what was decided about a call in this state; "" while nothing is."""
    return next((word for word, states in VERDICTS.items() if state in states), "")


def why(code: str, decision: Decision | None) -> str:
    """Return what a reason code says: the policy's own words, else the gateway's; "" if nobody explains it."""
    if decision is not None:
        for reason in decision.reasons:
            if reason.code == code:
                return reason.message
    return REASONS.get(code, "")


def contract(workspace: UUID, digest: str) -> tuple[Version | None, Mapping[str, Any]]:
    """Return the version of a tool's or model's contract with its content, (None, {}) where it is not known."""
    row = Version.objects.filter(workspace_id=workspace, digest=digest).first() if digest else None
    return row, versions.content_of(row) if row is not None else {}


def approvers(version: Version | None, environment: str) -> list[Approval]:
    """Return who approved a version for an environment."""
    if version is None:
        return []
    rows = Approval.objects.filter(version=version, environment__name=environment, verdict="approve", withdrawn_at=None)
    return list(rows.select_related("approver").order_by("at"))


def lines(workspace: UUID, ids: list[UUID | None]) -> list[records.Row]:
    """Return those records, oldest first."""
    return records.find(workspace, [one for one in ids if one is not None])


def _document(record: UUID) -> dict[str, JSON] | None:
    try:
        value: dict[str, JSON] = sealed.open_value(record, "/data/input")
    except Refusal:
        return None  # denied before there was one
    return value
