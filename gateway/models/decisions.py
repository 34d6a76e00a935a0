"""What OPA servers say they decided, compared with what we asked; and what did not fit."""

from typing import ClassVar

from django.db import models
from django.db.models import Q
from django.db.models.functions import Now

from registry.models.row import Row


class DecisionLog(Row):
    """One decision in an OPA server's log. Of its content we keep a digest; the row is deleted after some days."""

    class State(models.TextChoices):
        WAITING = "waiting", "waiting: the call is ours, its decision is not on record yet"
        MATCHED = "matched"
        BYPASSED = "bypassed", "bypassed: no call of ours asked for it"
        MISMATCHED = "mismatched", "mismatched: our side has another decision"

    workspace_id = models.UUIDField()
    environment = models.TextField()
    decision_id = models.TextField()
    pdp = models.TextField(help_text="The OPA's label `id`.")
    revision = models.TextField(blank=True, default="")
    call = models.UUIDField(null=True, help_text="As the input names it.")
    allow = models.BooleanField(null=True)
    gist = models.TextField(blank=True, default="", help_text="Digest of what gateway.gist compares.")
    at = models.DateTimeField(help_text="By the OPA's clock.")
    received_at = models.DateTimeField(db_default=Now())
    state = models.TextField(choices=State, default=State.WAITING)
    why = models.TextField(blank=True, default="")

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["workspace_id", "environment", "decision_id"], name="decision_log_once"),
            models.CheckConstraint(
                condition=Q(state__in=["waiting", "matched", "bypassed", "mismatched"]), name="decision_log_state"
            ),
        ]
        indexes: ClassVar = [
            models.Index(fields=["received_at"], condition=Q(state="waiting"), name="decision_log_waiting"),
            models.Index(fields=["received_at"], name="decision_log_received"),
        ]

    def __str__(self) -> str:
        return f"{self.decision_id} {self.state}"


class Alarm(Row):
    """What somebody has to look into: decisions that do not fit what the gateway asked. Its record is in the trail."""

    class Kind(models.TextChoices):
        BYPASSED = "bypassed", "bypassed: an OPA server decided what no call of ours asked for"
        MISMATCHED = "mismatched", "mismatched: an OPA server logged another decision than we have"
        UNLOGGED = "unlogged", "unlogged: an OPA server did not log what it decided for us"

    workspace_id = models.UUIDField()
    environment = models.TextField()
    kind = models.TextField(choices=Kind)
    pdp = models.TextField(blank=True, default="", help_text="The OPA's label `id`.")
    count = models.IntegerField(help_text="Decisions that it is about.")
    reasons = models.JSONField(default=dict, help_text="Why -> how many.")
    decisions = models.JSONField(default=list, help_text="Ids of the first ones, as OPA names them.")
    calls = models.JSONField(default=list, help_text="Calls that the first ones name.")
    record = models.UUIDField()
    at = models.DateTimeField(db_default=Now())

    class Meta:
        constraints: ClassVar = [
            models.CheckConstraint(condition=Q(kind__in=["bypassed", "mismatched", "unlogged"]), name="alarm_kind"),
        ]
        indexes: ClassVar = [models.Index(fields=["workspace_id", "-id"], name="alarm_newest")]

    def __str__(self) -> str:
        return f"{self.kind} {self.environment}"
