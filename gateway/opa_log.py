"""PURE. An upload of OPA's decision log in our words.

Source: OPA's documentation of decision logs and v1/plugins/logs/plugin.go of 1.20.2 (EventV1).
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

from audit.refusal import Refusal
from audit.uuid7 import uuid7
from gateway import gist

LARGEST = 8 << 20  # bytes of an upload, unpacked
MOST = 10_000  # decisions of an upload
PATH = "placet/decision"
_FIRST_YEAR, _LAST_YEAR = 2000, 9000


class Logged(NamedTuple):
    """One decision in a log. `call`: that its input names; `why`: what is wrong with it already."""

    id: UUID
    decision_id: str
    pdp: str
    revision: str
    call: UUID | None
    allow: bool | None
    gist: str
    at: datetime
    why: str


def read(events: Any) -> list[Logged]:
    """Return the decisions of an upload. :raises Refusal: log_malformed, log_too_long (413)."""
    if not isinstance(events, list):
        raise _malformed("it is no list")
    if len(events) > MOST:
        raise Refusal("log_too_long", f"An upload has at most {MOST} decisions.", status=413)
    rows = [_one(event) for event in events]
    if len({row.pdp for row in rows}) > 1:
        # An OPA uploads its own decisions alone; each name more would be an alarm more, with a record of its own.
        raise _malformed("it names more than one decision point")
    return rows


def _one(event: Any) -> Logged:
    """Return one decision. What names no call, or is about something else than our decision, says why already."""
    if not isinstance(event, Mapping):
        raise _malformed("a decision is no object")
    labels, asked, result = (event.get(name) for name in ("labels", "input", "result"))
    call = _call(asked)
    why = "" if call else "call_missing"
    if event.get("path") != PATH:
        why = "other_path"
    allow = result.get("allow") if isinstance(result, Mapping) else None
    return Logged(
        uuid7(),
        _text(event.get("decision_id"), "decision_id"),
        _text(labels.get("name", labels.get("id")) if isinstance(labels, Mapping) else None, "labels.id"),
        _revision(event.get("bundles")),
        call,
        allow if isinstance(allow, bool) else None,
        gist.of_result(result),
        _time(event.get("timestamp")),
        why,
    )


def _call(asked: Any) -> UUID | None:
    named = asked.get("call") if isinstance(asked, Mapping) else None
    try:
        return UUID(named["id"]) if isinstance(named, Mapping) else None
    except (KeyError, TypeError, ValueError, AttributeError):
        return None


def _revision(bundles: Any) -> str:
    found = next(iter(bundles.values()), None) if isinstance(bundles, Mapping) else None
    revision = found.get("revision") if isinstance(found, Mapping) else None
    return revision[:100] if isinstance(revision, str) and revision.isprintable() else ""


def _time(value: Any) -> datetime:
    try:
        at = datetime.fromisoformat(value)
    except (TypeError, ValueError) as error:
        raise _malformed("a timestamp is missing or no time") from error
    if at.tzinfo is None:
        raise _malformed("a timestamp has no zone")
    if not _FIRST_YEAR <= at.year <= _LAST_YEAR:
        # The database would keep it, but we could not read it again: whoever sorts the logs would fail for ever.
        raise _malformed("a timestamp is not of our times")
    return at


def _text(value: Any, name: str) -> str:
    if not isinstance(value, str) or not 0 < len(value) <= 200 or not value.isprintable():
        raise _malformed(f"a {name} is missing, or not of 1 to 200 printable characters")
    return value


def _malformed(what: str) -> Refusal:
    return Refusal("log_malformed", f"This is not an upload of OPA's decision log: {what}.", field="body")
