"""How long the oldest record waits for a signature: a stopped sequencer, a stopped publisher and a lost key alike."""

from uuid import UUID

from django.db import connections

# The oldest pending record, and the first one past the newest checkpoint. Version 7 ids begin with Unix milliseconds.
_OLDEST = """
SELECT log, extract(epoch FROM clock_timestamp()),
       (SELECT record FROM audit_pending WHERE workspace = log ORDER BY record LIMIT 1),
       (SELECT record FROM audit_leaf WHERE workspace = log AND index =
           coalesce((SELECT size FROM audit_checkpoint WHERE workspace = log ORDER BY size DESC LIMIT 1), 0))
FROM {logs} AS logs (log)
"""
_ONE = _OLDEST.format(logs="(SELECT %s::uuid)")
_ALL = _OLDEST.format(logs="(SELECT workspace FROM audit_head UNION SELECT workspace FROM audit_pending)")


def seconds(workspace: UUID, *, using: str = "default") -> float:
    """Return the age of the oldest record of a log that no checkpoint covers yet; 0 if each one is covered."""
    return _ages(_ONE, [workspace], using)[workspace]


def every(*, using: str = "default") -> dict[UUID, float]:
    """Return `seconds` of every log, by its workspace, in one statement: a scrape must not cost a query a workspace."""
    return _ages(_ALL, [], using)


def _ages(statement: str, parameters: list[UUID], using: str) -> dict[UUID, float]:
    with connections[using].cursor() as cursor:
        cursor.execute(statement, parameters)
        rows = cursor.fetchall()
    return {
        log: max([0.0, *(float(now) - (record.int >> 80) / 1000 for record in waiting if record is not None)])
        for log, now, *waiting in rows
    }
