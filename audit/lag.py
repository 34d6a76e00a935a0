"""How long the oldest record waits for a signature: a stopped sequencer, a stopped publisher and a lost key alike."""

from uuid import UUID

from django.db import connections

# The oldest pending record, and the first one past the newest checkpoint. Version 7 ids begin with Unix milliseconds.
_OLDEST = """
SELECT extract(epoch FROM clock_timestamp()),
       (SELECT record FROM audit_pending WHERE workspace = %(log)s ORDER BY record LIMIT 1),
       (SELECT record FROM audit_leaf WHERE workspace = %(log)s AND index =
           coalesce((SELECT size FROM audit_checkpoint WHERE workspace = %(log)s ORDER BY size DESC LIMIT 1), 0))
"""


def seconds(workspace: UUID, *, using: str = "default") -> float:
    """Return the age of the oldest record of a log that no checkpoint covers yet; 0 if each one is covered."""
    with connections[using].cursor() as cursor:
        cursor.execute(_OLDEST, {"log": workspace})
        now, *waiting = cursor.fetchone()
    ages = [float(now) - (record.int >> 80) / 1000 for record in waiting if record is not None]
    return max(0.0, *ages) if ages else 0.0


def logs(*, using: str = "default") -> list[UUID]:
    """Return the workspaces that have a log."""
    with connections[using].cursor() as cursor:
        cursor.execute("SELECT workspace FROM audit_head UNION SELECT DISTINCT workspace FROM audit_pending")
        return [row[0] for row in cursor.fetchall()]
