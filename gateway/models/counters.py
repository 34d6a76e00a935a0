"""What was used and what is reserved."""

from typing import ClassVar

from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import F, Q

from registry.models.row import Row


class Counter(Row):
    """What one session, run or tool has used, and what calls under way have reserved of it.

    The id is the session's, the run's, or made from (workspace, environment, tool): see gateway.limits.
    """

    workspace_id = models.UUIDField()
    scope = models.TextField(help_text="session, run, or tool:<environment>:<name>")
    calls = models.BigIntegerField(default=0)
    under_way = models.BigIntegerField(default=0)
    tokens = models.BigIntegerField(default=0, help_text="Used and reserved.")
    cost_micro_usd = models.BigIntegerField(default=0, help_text="Used and reserved.")
    started_at = models.DateTimeField(db_default=models.functions.Now())
    touched_at = models.DateTimeField(db_default=models.functions.Now())
    waits_since = models.DateTimeField(null=True, help_text="A run that waits for a person since then.")
    waited_ms = models.BigIntegerField(
        default=0, db_default=0, help_text="Spent waiting for persons: it counts for no budget."
    )

    class Meta:
        constraints: ClassVar = [
            models.CheckConstraint(
                condition=Q(calls__gte=0, under_way__gte=0, tokens__gte=0, cost_micro_usd__gte=0),
                name="counter_not_negative",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.scope} {self.id}"


class Lease(Row):
    """What one call under way has reserved. Deleting the row gives it back, so it is given back once."""

    call = models.UUIDField(unique=True)
    fence = models.BigIntegerField()
    counters = ArrayField(models.UUIDField())
    upstream = models.UUIDField(null=True, help_text="Where it keeps a place: see gateway.upstreams.")
    tokens = models.BigIntegerField(default=0)
    cost_micro_usd = models.BigIntegerField(default=0)
    until = models.DateTimeField()

    class Meta:
        indexes: ClassVar = [
            models.Index(F("until"), name="lease_until"),
            models.Index(F("upstream"), name="lease_upstream"),
        ]

    def __str__(self) -> str:
        return f"of {self.call}"
