"""What was decided after something ended: the order is that of the commits, see tests.races.commits."""

from tests.gateway.stage import query

_LATE = """
SELECT convert_from(r.body, 'UTF8')::jsonb #>> '{subjects,call}', pg_xact_commit_timestamp(r.xmin) - ended.at
FROM audit_record r, (SELECT pg_xact_commit_timestamp(xmin) AS at FROM audit_record
                      WHERE workspace = %s AND event = %s AND correlation_id = %s) ended
WHERE r.workspace = %s AND r.event = 'gateway.call.decided' AND r.correlation_id LIKE %s
  AND convert_from(r.body, 'UTF8')::jsonb #>> '{data,verdict}' = 'allow'
  AND pg_xact_commit_timestamp(r.xmin) > ended.at
"""
_DECIDED = """
SELECT convert_from(body, 'UTF8')::jsonb #>> '{data,verdict}', count(*) FROM audit_record
WHERE workspace = %s AND event = 'gateway.call.decided' AND correlation_id LIKE %s GROUP BY 1
"""


def late(workspace, *, event, ending, calls):
    """Return the calls that were allowed by a decision which was committed after the record of an ending was.

    :param event: of that record. :param ending: its correlation id. :param calls: pattern of the calls' ones.
    """
    return query(_LATE, workspace, event, ending, workspace, calls)


def counts(workspace, calls):
    """Return how many decisions there were, by verdict."""
    return dict(query(_DECIDED, workspace, calls))
