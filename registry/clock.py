"""The database's clock: the one that decides about expiry, so that a host with a wrong clock decides nothing."""

from datetime import datetime

from django.db import connections


def read(*, using: str = "default") -> datetime:
    """Return the time of the current transaction in the database (aware, UTC)."""
    with connections[using].cursor() as cursor:
        cursor.execute("SELECT statement_timestamp()")
        row: tuple[datetime] = cursor.fetchone()
    return row[0]
