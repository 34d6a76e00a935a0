"""Connections that no request uses at the moment, the one used last on top.

A web process has far more threads than requests at work. With a connection to each thread every call would meet another
backend, whose plans and caches have gone cold; so a thread has one for as long as its request takes.
"""

import os
from collections import defaultdict
from collections.abc import Mapping
from typing import Any

from django.db import connections

Idle = tuple[Any, float]  # psycopg's connection, and when it was last asked whether it stands (monotonic seconds)
Place = tuple[str, ...]  # which database, and as whom: what one may do must never change hands

_idle: defaultdict[Place, list[Idle]] = defaultdict(list)  # appending and popping are atomic
_inherited: list[object] = []


def place_of(settings: Mapping[str, Any]) -> Place:
    """Return where a connection with these settings of Django's leads."""
    return tuple(str(settings[name]) for name in ("NAME", "USER", "HOST", "PORT", "OPTIONS"))


def take(place: Place) -> Idle | None:
    """Return the connection that was used last, None if none is idle."""
    try:
        return _idle[place].pop()
    except IndexError:
        return None


def put(place: Place, connection: Any, asked_at: float) -> None:
    """Keep a connection for whoever needs one next."""
    _idle[place].append((connection, asked_at))


def put_away(**signal: object) -> None:
    """Put this thread's connections away: a receiver of Django's `request_finished`."""
    connection: Any
    for connection in connections.all(initialized_only=True):
        connection.put_away()


def _forget() -> None:
    """In a fork the parent's connections stay the parent's: neither used nor closed."""
    global _idle
    _inherited.append(_idle)
    _idle = defaultdict(list)


os.register_at_fork(after_in_child=_forget)
