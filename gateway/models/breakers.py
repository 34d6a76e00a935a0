"""Which tools are away, and how often they may be asked twice: shared by all processes."""

from typing import ClassVar

from django.db import models
from django.db.models import Q
from django.db.models.functions import Now

from registry.models.row import Row


class Breaker(Row):
    """The circuit breaker of one tool or model in one environment. No row: it has never failed, and is closed.

    The id is made from (workspace, environment, kind, name). States move in gateway.breakers alone, under a row lock
    and by the database's clock.
    """

    class State(models.TextChoices):
        CLOSED = "closed", "closed: calls pass"
        OPEN = "open", "open: calls are refused until the time of the next probe"
        HALF_OPEN = "half_open", "half open: a few probes pass, everything else is refused"

    workspace_id = models.UUIDField()
    environment = models.TextField()
    kind = models.TextField()
    name = models.TextField()
    state = models.TextField(choices=State, default=State.CLOSED)
    failures = models.IntegerField(default=0, help_text="By how many failures outnumber answers while closed.")
    failed_at = models.DateTimeField(null=True, help_text="The last failure.")
    code = models.TextField(blank=True, default="", help_text="Of the last failure.")
    generation = models.BigIntegerField(
        default=0, help_text="Grows with each move: what an older call reports counts no more."
    )
    openings = models.IntegerField(default=0, help_text="In a row, without having closed: each waits longer.")
    probes = models.IntegerField(default=0, help_text="Let through since it is half open.")
    answered = models.IntegerField(default=0, help_text="Probes that were answered.")
    opened_at = models.DateTimeField(null=True)
    probe_at = models.DateTimeField(null=True, help_text="When open: the time of the next probe.")
    probe_until = models.DateTimeField(null=True, help_text="When half open: the probes' lease.")

    class Meta:
        constraints: ClassVar = [
            models.CheckConstraint(condition=Q(state__in=["closed", "open", "half_open"]), name="breaker_state"),
            models.CheckConstraint(condition=Q(kind__in=["tool", "model"]), name="breaker_kind"),
            models.CheckConstraint(
                condition=~Q(state="open") | Q(probe_at__isnull=False, opened_at__isnull=False),
                name="breaker_open_has_time",
            ),
            models.CheckConstraint(
                condition=~Q(state="half_open") | Q(probe_until__isnull=False), name="breaker_probe_has_lease"
            ),
            models.UniqueConstraint(fields=["workspace_id", "environment", "kind", "name"], name="breaker_once"),
        ]

    def __str__(self) -> str:
        return f"{self.kind} {self.name}@{self.environment} {self.state}"


class RetryBudget(Row):
    """How many more times a tool's calls may be tried again. The id is that of its breaker."""

    workspace_id = models.UUIDField()
    environment = models.TextField()
    kind = models.TextField()
    name = models.TextField()
    thousandths = models.BigIntegerField(help_text="Of a retry.")
    filled_at = models.DateTimeField(db_default=Now(), help_text="Until when time and calls have been credited.")

    class Meta:
        constraints: ClassVar = [
            models.CheckConstraint(condition=Q(thousandths__gte=0), name="retry_budget_not_negative"),
        ]

    def __str__(self) -> str:
        return f"{self.kind} {self.name}@{self.environment}"
