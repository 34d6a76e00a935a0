"""What changed on one row: field by field, from the history kept beside it. It serves people; evidence is the trail."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django.db.models import Model
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render

from audit import records
from gateway.models import Credential, Trust
from registry.back_office import way
from registry.models import Environment, Grant, Membership, Proposal, Signer, Slot
from registry.permissions import READS_TRAIL
from registry.views.frame import Visit, page

KINDS: dict[str, type[Model]] = {
    model._meta.model_name or "": model
    for model in (Environment, Membership, Grant, Proposal, Slot, Signer, Credential, Trust)
}
MOST = 50
# A row's history is written a moment before its record, in the same transaction.
NEAR = timedelta(seconds=10)


@dataclass(frozen=True, slots=True)
class Field:
    """One field of a change. `before` is None for a row that was new."""

    name: str
    before: str | None
    after: str


@dataclass(frozen=True, slots=True)
class Change:
    """What one write did to a row. `by`: a person, None for a credential or a process; `record`: what proves it."""

    at: datetime
    by: Any
    fields: list[Field]
    record: records.Row | None


@page()
def changes(request: HttpRequest, visit: Visit, kind: str, pk: UUID) -> HttpResponse:
    """Show what changed on a row of the workspace, the newest first."""
    model = KINDS.get(kind)
    row = model._default_manager.filter(pk=pk, **{str(way(model)): visit.workspace.pk}).first() if model else None
    if row is None:
        raise Http404
    proves = bool(visit.roles_in(None) & READS_TRAIL)
    context = {"kind": kind, "row": row, "changes": _changes(row, visit.workspace.pk, proves), "may_read_trail": proves}
    return render(request, "changes.html", context)


def _changes(row: Any, workspace: UUID, proves: bool) -> list[Change]:
    states = list(row.history.select_related("history_user").order_by("-history_date", "-history_id")[: MOST + 1])
    found = []
    for at, state in enumerate(states[:MOST]):
        older = states[at + 1] if at + 1 < len(states) else None
        fields = _fields(row, older, state)
        if fields:
            record = _record(workspace, row.pk, state.history_date) if proves else None
            found.append(Change(state.history_date, state.history_user, fields, record))
    return found


def _fields(row: Model, older: Any, newer: Any) -> list[Field]:
    listed = []
    for field in row._meta.concrete_fields:
        after = getattr(newer, field.attname)
        before = getattr(older, field.attname) if older is not None else None
        if older is None or before != after:
            listed.append(Field(field.name, _text(before) if older is not None else None, _text(after)))
    return listed


def _record(workspace: UUID, pk: UUID, at: datetime) -> records.Row | None:
    """Return the record about the row that is nearest in time."""
    near = records.newest(workspace, narrow=records.Filter(since=at - NEAR, until=at + NEAR), limit=200)
    about = [one for one in near if str(pk) in one.body.get("subjects", {}).values()]
    return min(about, key=lambda one: abs(records.recorded_at(one.id) - at), default=None)


def _text(value: Any) -> str:
    if value is None or value == "":
        return ""
    return value.isoformat(timespec="seconds") if isinstance(value, datetime) else str(value)
