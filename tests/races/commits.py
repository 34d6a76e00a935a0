"""What was committed, in the order in which it was: the database's own word, not ours.

`pg_xact_commit_timestamp` is taken while a transaction still holds its locks. So of two transactions of which one
waited for a lock of the other, the one that was first has the earlier time, to the microsecond.
"""

import json
from datetime import datetime
from typing import NamedTuple

from tests.gateway.stage import query

_RECORDS = """
SELECT id, event, actor, correlation_id, convert_from(body, 'UTF8'), pg_xact_commit_timestamp(xmin)
FROM audit_record WHERE workspace = %s AND (%s::uuid IS NULL OR id > %s::uuid) ORDER BY 6, id
"""


class Record(NamedTuple):
    """One record. `at`: when it was committed."""

    id: object
    event: str
    actor: str
    correlation_id: str
    body: dict
    at: datetime

    @property
    def data(self):
        return self.body["data"]

    @property
    def subjects(self):
        return self.body["subjects"]


def records(workspace, after=None):
    """Return the records of a workspace in the order of their commits; of those made after the record `after`.

    Only sound while nobody writes: an id is made before its transaction commits.
    """
    rows = query(_RECORDS, workspace, after, after)
    return [Record(*row[:4], json.loads(row[4]), row[5]) for row in rows]


def clock():
    """Return the time of the database's clock."""
    return query("SELECT clock_timestamp()")[0][0]
