"""The registry of events: what may stand in the trail, with one line of documentation each."""

import re
from collections.abc import Mapping

EVENTS = {
    "audit.export.created": "Somebody asked for an export of the trail; the record fixes what it holds.",
    "audit.export.downloaded": "Somebody fetched the content of an export.",
    "audit.inspection.requested": "Somebody, or the daily turn, asked for a check of the log from its source rows.",
    "audit.inspection.finished": "The check of a log has ended; the record says whether the log is whole.",
    "audit.key.announced": "The next key of this log's checkpoints, in a note that the present one signs.",
    "audit.key.rotated": "A key of the instance was followed by a new one; what is old still verifies.",
    "audit.key.retired": "Old halves of a key of the instance were dropped.",
    "audit.key.rewrapped": "The keys of sealed values were wrapped anew.",
    "audit.loss.acknowledged": "A person went on without records that were published, or without the key that signed.",
    "audit.backup.restored": "A person accepted a database that came back, and what it lacks of what was promised.",
    "audit.checkpoint.adopted": "A person went on from a log's last known checkpoint: its copy outside was missing.",
    "audit.subject.erased": "The key of a data subject's sealed values was destroyed; they can never be read again.",
}

_NAME = re.compile(r"[a-z]+(\.[a-z][a-z_]*){2}")
_registered: dict[str, str] = {}


def register(events: Mapping[str, str]) -> None:
    """Add an app's events (`<app>.<noun>.<past participle>` -> one line). Called from AppConfig.ready.

    :raises ValueError: if a name is malformed, or is taken with another meaning.
    """
    for name, line in events.items():
        if not _NAME.fullmatch(name) or not line:
            raise ValueError(f"{name!r} is no event: expected <app>.<noun>.<past participle> and one line about it.")
        if _registered.setdefault(name, line) != line:
            raise ValueError(f"The event {name} is registered twice with different meanings.")


def registered() -> dict[str, str]:
    """Return every event and its line, by name."""
    return dict(sorted(_registered.items()))


def require(event: str) -> None:
    """Do nothing if `event` is registered. :raises ValueError: if not."""
    if event not in _registered:
        raise ValueError(f"The event {event!r} is not registered; add it to EVENTS in its app's events.py.")
