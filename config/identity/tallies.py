"""Django's cache, in PostgreSQL and as JSON: what allauth counts must be shared by all web processes and be kept.

Valkey would lose it when it restarts, and with it the memory of which one-time codes were used; and both of Django's
shared caches unpickle what they read, so that whoever can write a row could run code.
"""

import json
from typing import Any

from django.core.cache.backends.base import DEFAULT_TIMEOUT, BaseCache
from django.db import connection

_ADD = """
INSERT INTO registry_tally AS held (key, value, expires_at) VALUES (%s, %s, now() + %s * interval '1 s')
ON CONFLICT (key) DO UPDATE SET value = EXCLUDED.value, expires_at = EXCLUDED.expires_at
 WHERE %s OR held.expires_at <= now()
RETURNING 1
"""
_GET = "SELECT value::text FROM registry_tally WHERE key = %s AND expires_at > clock_timestamp()"
# Swept here, a few at a time: whoever fails to sign in pays for it.
_SWEEP = """
DELETE FROM registry_tally WHERE key IN (
    SELECT key FROM registry_tally WHERE expires_at <= now() LIMIT 20 FOR UPDATE SKIP LOCKED)
"""
_FOREVER = 400 * 24 * 3600


class Tallies(BaseCache):
    """A cache of JSON values over the table of tallies."""

    def __init__(self, location: str, params: dict[str, Any]) -> None:
        super().__init__(params)

    def add(self, key: Any, value: Any, timeout: Any = DEFAULT_TIMEOUT, version: int | None = None) -> bool:
        """Set a value that is not there or has expired; say whether that was so."""
        return self._put(key, value, timeout, version, over=False)

    def get(self, key: Any, default: Any = None, version: int | None = None) -> Any:
        """Return the value, or `default`."""
        with connection.cursor() as cursor:
            cursor.execute(_GET, [self.make_and_validate_key(key, version=version)])
            row = cursor.fetchone()
        return json.loads(row[0]) if row else default

    def set(self, key: Any, value: Any, timeout: Any = DEFAULT_TIMEOUT, version: int | None = None) -> None:
        """Set a value."""
        self._put(key, value, timeout, version, over=True)

    def touch(self, key: Any, timeout: Any = DEFAULT_TIMEOUT, version: int | None = None) -> bool:
        """Keep a value for longer; say whether it was there."""
        with connection.cursor() as cursor:
            cursor.execute(
                """UPDATE registry_tally SET expires_at = now() + %s * interval '1 s'
                   WHERE key = %s AND expires_at > now()""",
                [self._seconds(timeout), self.make_and_validate_key(key, version=version)],
            )
            return bool(cursor.rowcount)

    def delete(self, key: Any, version: int | None = None) -> bool:
        """Forget a value; say whether it was there."""
        with connection.cursor() as cursor:
            cursor.execute(
                "DELETE FROM registry_tally WHERE key = %s", [self.make_and_validate_key(key, version=version)]
            )
            return bool(cursor.rowcount)

    def clear(self) -> None:
        """Forget everything."""
        with connection.cursor() as cursor:
            cursor.execute("DELETE FROM registry_tally")

    def _put(self, key: Any, value: Any, timeout: Any, version: int | None, *, over: bool) -> bool:
        name, seconds = self.make_and_validate_key(key, version=version), self._seconds(timeout)
        with connection.cursor() as cursor:
            cursor.execute(_ADD, [name, json.dumps(value), seconds, over])
            put = bool(cursor.fetchone())
            cursor.execute(_SWEEP)
        return put

    def _seconds(self, timeout: Any) -> float:
        seconds = self.default_timeout if timeout is DEFAULT_TIMEOUT else timeout
        return _FOREVER if seconds is None else float(seconds)
