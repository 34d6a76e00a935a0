"""What has happened to a row: its fields from change to change, and the records of the trail that name it."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from audit import records
from registry.models import Person, Proposal

MOST = 200
PREFIXES = ("registry.proposal.", "registry.approval.", "registry.comment.", "registry.activation.")
MARGIN = timedelta(minutes=1)  # between the clock of a record and the database's


@dataclass(frozen=True, slots=True)
class Changed:
    """One change of a row. `fields` are (name, before, after); empty for the first."""

    at: datetime
    by: Person | None
    fields: Sequence[tuple[str, str, str]]


def fields(row: Any) -> list[Changed]:
    """Return how the fields of a row with a history changed, the oldest first. For people; evidence is the trail."""
    found: list[Changed] = []
    before = None
    for state in row.history.select_related("history_user").order_by("history_date", "history_id"):
        told: list[tuple[str, str, str]] = []
        if before is not None:
            names = [each.attname for each in state.tracked_fields]
            pairs = [(name, getattr(before, name), getattr(state, name)) for name in names]
            told = [_told(*pair) for pair in pairs if pair[1] != pair[2]]
        found.append(Changed(state.history_date, state.history_user, told))
        before = state
    return found


def _told(name: str, before: object, after: object) -> tuple[str, str, str]:
    return name.removesuffix("_id"), _words(before), _words(after)


def _words(value: object) -> str:
    return value.strftime("%Y-%m-%d %H:%M:%S UTC") if isinstance(value, datetime) else str(value or "nothing")


def recorded(row: Proposal) -> list[records.Row]:
    """Return the records of the trail that name a proposal, the oldest first; the newest of them if there are many."""
    found: list[records.Row] = []
    for prefix in PREFIXES:
        narrow = records.Filter(event=prefix, since=row.opened_at - MARGIN)
        found += [
            each
            for each in records.newest(row.workspace_id, narrow=narrow, limit=MOST)
            if each.body.get("subjects", {}).get("proposal") == str(row.pk)
        ]
    return sorted(found, key=lambda each: each.id)
