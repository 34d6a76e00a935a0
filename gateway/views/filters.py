"""The filters of a list of calls, as they stand in an address."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from gateway.listing import VERDICTS, Filters
from gateway.models import Call

STATES = list(Call.State.values)
WORDS = ("agent", "name", "code", "label", "environment", "text")
IDS = ("run", "session", "credential")
TIMES = ("since", "until")


def read(given: Mapping[str, str]) -> tuple[Filters, list[str]]:
    """Return the filters, and what was given but cannot be used: it does not narrow the list, and the page says so."""
    chosen: dict[str, Any] = {name: given.get(name, "").strip() for name in WORDS}
    wrong: list[str] = []
    for names, parse, form in ((IDS, identity, "an id"), (TIMES, moment, "a date with a time")):
        for name in names:
            if text := given.get(name, "").strip():
                chosen[name] = parse(text)
                wrong += [f"{text!r} is not {form} ({name})"] if chosen[name] is None else []
    for name, known in (("verdict", list(VERDICTS)), ("state", STATES)):
        if text := given.get(name, "").strip():
            chosen[name] = text if text in known else ""
            wrong += [f"{text!r} is not a {name}: {', '.join(known)}"] if text not in known else []
    return Filters(**chosen), wrong


def identity(text: str) -> UUID | None:
    """Return the id that `text` is, None if it is none."""
    try:
        return UUID(text)
    except ValueError:
        return None


def moment(text: str) -> datetime | None:
    """Return a time as a browser's form writes it; without a zone it is UTC."""
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        return None
    return at if at.tzinfo else at.replace(tzinfo=UTC)
