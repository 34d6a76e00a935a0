"""Django's PostgreSQL backend, quicker where it matters.

- A statement marked `audit.prepared.Prepared` is prepared once per connection and executed by name, so PostgreSQL
  plans it once; everything else goes the usual way, parameters pasted in.
- Whether a kept connection still stands is seen on its socket. Asking the server (`SELECT 1`) costs every request a
  round trip.
- A connection may be put away between two requests, and whichever thread is next takes the one that was used last.
"""

import select
import time
from typing import Any

from django.db.backends.postgresql import base
from django.db.backends.postgresql.operations import DatabaseOperations
from django.db.backends.utils import CursorWrapper
from psycopg import ClientCursor
from psycopg.pq import TransactionStatus

from audit.prepared import Prepared
from config.database import idle

# A connection that lay idle for longer is asked: a firewall on the way may have forgotten it and told nobody.
QUIET_SECONDS = 30.0


class _Choosing:
    """Lets the text of a statement choose how its parameters travel; the cursor beneath is made when that is known."""

    db: "DatabaseWrapper"
    _beneath: Any = None

    @property
    def cursor(self) -> Any:
        """The cursor beneath."""
        if self._beneath is None:
            self._beneath = self.db.client_cursor()
        return self._beneath

    @cursor.setter
    def cursor(self, made: Any) -> None:
        self._beneath = made

    def close(self) -> None:
        """Close what was made."""
        if self._beneath is not None:
            self._beneath.close()

    def _execute(self, sql: Any, params: Any, *ignored: Any) -> Any:
        made, bound = type(self._beneath), type(sql) is Prepared
        if bound and made is not base.ServerBindingCursor:
            self.close()
            self._beneath = self.db.bound_cursor()
        elif not bound and made is base.ServerBindingCursor:
            self.close()
            self._beneath = None
        return super()._execute(sql, params, *ignored)  # type: ignore[misc]


class Cursor(_Choosing, CursorWrapper):
    """A cursor for both kinds of statements."""


class DebugCursor(_Choosing, base.CursorDebugWrapper):
    """The same, noting what it executes."""


class Operations(DatabaseOperations):
    """What Django asks about SQL."""

    def last_executed_query(self, cursor: Any, sql: Any, params: Any) -> str:
        """Return what was executed; of a prepared statement what it would be with its parameters pasted in."""
        if type(sql) is not Prepared:
            return super().last_executed_query(cursor, sql, params)
        return ClientCursor(self.connection.connection).mogrify(str(sql), params)


class DatabaseWrapper(base.DatabaseWrapper):
    """A connection."""

    ops_class = Operations

    def __init__(self, *given: Any, **named: Any) -> None:
        super().__init__(*given, **named)
        self._asked_at = 0.0

    def create_cursor(self, name: str | None = None) -> Any:
        """Return a cursor with a name; any other is made when its first statement is known."""
        return None if name is None else super().create_cursor(name)

    def client_cursor(self) -> Any:
        """Return a cursor that pastes parameters in."""
        return super().create_cursor()

    def bound_cursor(self) -> Any:
        """Return a cursor that sends parameters apart."""
        cursor: Any = base.ServerBindingCursor
        return cursor(self.connection)

    def make_cursor(self, cursor: Any) -> Cursor:
        return Cursor(cursor, self)

    def make_debug_cursor(self, cursor: Any) -> DebugCursor:
        return DebugCursor(cursor, self)

    def connect(self) -> None:
        """Take a connection that was put away, or make one."""
        while (found := idle.take(idle.place_of(self.settings_dict))) is not None:
            # What Django sets for a new one; the rest of its work was done when it was made.
            self.in_atomic_block = self.needs_rollback = self.closed_in_transaction = self.errors_occurred = False
            self.savepoint_ids, self.atomic_blocks, self.run_on_commit = [], [], []
            self.autocommit = self.health_check_enabled = self.health_check_done = True
            self.close_at = None
            self.connection, self._asked_at = found
            if self.is_usable():
                return
            self.close()
        super().connect()

    def put_away(self) -> None:
        """Leave the connection to whoever needs one next; one that is amid something, or failed, stays."""
        connection = self.connection
        if connection is None or self.in_atomic_block or self.errors_occurred or not self.get_autocommit():
            return
        if connection.info.transaction_status == TransactionStatus.IDLE:
            self.connection = None
            idle.put(idle.place_of(self.settings_dict), connection, self._asked_at)

    def is_usable(self) -> bool:
        """Say whether the connection still stands: nothing waits on its socket, not even its end."""
        now, quiet_since = time.monotonic(), self._asked_at
        self._asked_at = now
        calm = not self.errors_occurred and now - quiet_since < QUIET_SECONDS
        if calm and self.connection is not None and not _speaks(self.connection):
            return True
        return super().is_usable()


def _speaks(connection: Any) -> bool:
    """Say whether the server has sent something unasked: that it ends, mostly."""
    if connection.closed:
        return True
    waiting = select.poll()
    waiting.register(connection.fileno(), select.POLLIN)
    return bool(waiting.poll(0))
