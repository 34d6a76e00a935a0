"""How long it takes until somebody goes on with the step that a dead worker held: seen in the database alone."""

import threading
import time
from typing import NamedTuple

import psycopg

_HELD = """
SELECT id, fence FROM agents_step
WHERE state = 'leased' AND split_part(lease_owner, '/', 2)::int = ANY(%s) AND lease_until > clock_timestamp()
"""
_FENCE = "SELECT fence, state FROM agents_step WHERE id = %s"
LONGEST = 120.0


class Recovery(NamedTuple):
    """What was taken up again: after which fault, and how many seconds later. `seconds` None: not within LONGEST."""

    name: str
    at: float
    seconds: float | None


class Recoveries:
    """Watches the steps that a process held when it was killed."""

    def __init__(self, site):
        self.site = site
        self.seen: list[Recovery] = []
        self._threads: list[threading.Thread] = []

    def held(self, pids):
        """Return (id, fence) of the steps that these processes have leased; none if the database is away."""
        try:
            with self.site.connect() as connection:
                return connection.execute(_HELD, [list(pids)]).fetchall()
        except psycopg.Error:
            return []

    def watch(self, name, held):
        """Measure from now on until each of those steps is claimed again."""
        for step, fence in held:
            thread = threading.Thread(target=self._watch, args=(name, step, fence), daemon=True)
            thread.start()
            self._threads.append(thread)

    def settle(self):
        """Wait until every measurement has come to its end."""
        for thread in self._threads:
            thread.join(LONGEST)

    def _watch(self, name, step, fence):
        began, at, connection = time.monotonic(), time.time(), None
        while time.monotonic() - began < LONGEST:
            try:
                connection = connection or self.site.connect()
                row = connection.execute(_FENCE, [step]).fetchone()
            except psycopg.Error:
                connection = None
            else:
                if row is None or row[1] != "leased" or row[0] != fence:
                    # Done by the one that was killed, just before; or taken up by another.
                    if row is not None and row[0] != fence:
                        self.seen.append(Recovery(name, at, time.monotonic() - began))
                    return
            time.sleep(0.02)
        self.seen.append(Recovery(name, at, None))
