"""Which decision points there are, what each serves, and why one does not serve the newest bundle."""

from datetime import datetime, timedelta
from typing import Any

from django.db import connection
from django.db.models import BooleanField, Case, OuterRef, QuerySet, Subquery, Value, When
from django.db.models.functions import Now

from audit.refusal import Refusal
from audit.uuid7 import uuid7
from registry import opa
from registry.models import Bundle, Environment, Pdp

FRESH = timedelta(seconds=30)
MOST = 500  # decision points of an environment: each start of an OPA without a name of its own is a new one
FORGOTTEN = timedelta(days=1)
_REPORT = """
INSERT INTO registry_pdp (id, kind, name, environment_id, revision, version, problem, last_seen)
SELECT %(id)s, 'opa', %(name)s, %(environment)s, %(revision)s, %(version)s, %(problem)s, statement_timestamp()
 WHERE EXISTS (SELECT FROM registry_pdp
                WHERE kind = 'opa' AND name = %(name)s AND environment_id = %(environment)s)
    OR (SELECT count(*) FROM registry_pdp WHERE environment_id = %(environment)s) < %(most)s
ON CONFLICT (kind, name, environment_id) DO UPDATE SET
    revision = excluded.revision, version = excluded.version, problem = excluded.problem, last_seen = excluded.last_seen
"""


def report(environment: Environment, status: opa.Status) -> None:
    """Write down what an OPA says of itself, by the clock of the database. :raises Refusal: pdps_too_many (429)."""
    with connection.cursor() as cursor:
        cursor.execute(
            _REPORT,
            {
                "id": uuid7(),
                "environment": environment.pk,
                "name": status.name,
                "revision": status.revision,
                "version": status.version,
                "problem": status.problem,
                "most": MOST,
            },
        )
        if not cursor.rowcount:
            detail = f"The environment has {MOST} decision points already; silent ones are forgotten after a day."
            raise Refusal("pdps_too_many", detail, status=429)


def shown() -> "QuerySet[Pdp, Any]":
    """Return decision points with `fresh`: heard of lately, and `current`: serves the newest bundle."""
    bundles = Bundle.objects.filter(environment=OuterRef("environment")).order_by("-created_at", "-pk")
    newest = Subquery(bundles.values("revision")[:1])
    return Pdp.objects.select_related("environment", "environment__workspace").annotate(
        fresh=_flag(last_seen__gt=Now() - FRESH), current=_flag(revision=newest)
    )


def forget_silent(*, now: datetime) -> int:
    """Delete the rows of decision points that the database has not heard of for a day; return how many."""
    return Pdp.objects.filter(last_seen__lt=Now() - FORGOTTEN).delete()[0]


def _flag(**condition: Any) -> Case:
    return Case(When(**condition, then=Value(True)), default=Value(False), output_field=BooleanField())
