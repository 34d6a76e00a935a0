"""Retry budgets: a tool in trouble is not asked several times as often as one that is well.

A tool's calls earn retries, at most a share of their number, into one bucket that all processes take from. Earning is
counted in each process and credited when one of its calls wants a retry: a call that needs none costs no statement.
"""

from collections import Counter
from threading import Lock
from typing import Any
from uuid import UUID

import structlog
from django.conf import settings
from django.db import DatabaseError, connection

from gateway.breakers import Named, Place, id_of

logger = structlog.get_logger(__name__)
WHOLE = 1000  # thousandths of a retry
START = 10 * WHOLE  # of a tool that nobody knows yet
MOST = 100 * WHOLE
TRICKLE_SECONDS = 10  # time earns a retry each: a tool that is seldom called is not without
_TAKE = """
INSERT INTO gateway_retrybudget AS b (id, workspace_id, environment, kind, name, thousandths, filled_at)
VALUES (%(id)s, %(workspace)s, %(environment)s, %(kind)s, %(name)s, least(%(start)s + %(earned)s, %(most)s) - %(whole)s,
        clock_timestamp())
ON CONFLICT (id) DO UPDATE SET filled_at = clock_timestamp(), thousandths = least(%(most)s, b.thousandths + %(earned)s
    + floor(extract(epoch FROM clock_timestamp() - b.filled_at) * %(whole)s / %(trickle)s)::bigint) - %(whole)s
WHERE b.thousandths + %(earned)s
    + floor(extract(epoch FROM clock_timestamp() - b.filled_at) * %(whole)s / %(trickle)s)::bigint >= %(whole)s
RETURNING thousandths
"""
_earned: Counter[UUID] = Counter()
_lock = Lock()


def earn(place: Place, contract: Named) -> None:
    """Count a call that may be tried again: its share of a retry is credited to the tool."""
    if contract.content.get("retry", {}).get("attempts", 1) > 1:
        with _lock:
            _earned[id_of(place, contract)] += 1


def take(place: Place, contract: Named) -> bool:
    """Take one retry from the tool's budget; False if it is used up, or cannot be asked."""
    pk = id_of(place, contract)
    with _lock:
        calls = _earned.pop(pk, 0)
    given: dict[str, Any] = {
        "id": pk,
        "workspace": place.workspace,
        "environment": place.environment,
        "kind": contract.kind,
        "name": contract.name,
        "start": START,
        "earned": min(MOST, calls * WHOLE * settings.PLACET_RETRY_PERCENT // 100),
        "most": MOST,
        "whole": WHOLE,
        "trickle": TRICKLE_SECONDS,
    }
    try:
        with connection.cursor() as cursor:
            cursor.execute(_TAKE, given)
            taken = cursor.fetchone() is not None
    except DatabaseError as error:
        logger.error("a retry budget cannot be asked", exc_info=error)
        connection.close_if_unusable_or_obsolete()
        taken = False
    if not taken:
        with _lock:
            _earned[pk] += calls
    return taken
