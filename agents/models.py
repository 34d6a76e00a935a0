"""What the executor remembers: runs and their steps. PostgreSQL is the truth; a message only says where to look.

States move in agents.states alone, along tables that the database guards too.
"""

from typing import ClassVar

from django.db import models
from django.db.models import F, Q
from django.db.models.functions import Now

from registry.models.row import Row

# An indeterminate step is not among them: while it waits for a person, what came before it may be undone.
OPEN_STEP = ("ready", "leased", "decided", "retry_at")
ENDED_RUN = ("succeeded", "failed", "cancelled", "compensated", "compensation_failed")


class Run(Row):
    """One task given to an agent. It keeps the release that was live when it began."""

    class State(models.TextChoices):
        QUEUED = "queued"
        RUNNING = "running"
        WAITING = "waiting"
        SUCCEEDED = "succeeded"
        FAILED = "failed"
        CANCELLED = "cancelled"
        COMPENSATING = "compensating"
        COMPENSATED = "compensated"
        COMPENSATION_FAILED = "compensation_failed"

    class Wait(models.TextChoices):
        NOTHING = "", "nothing"
        HOLD = "hold", "hold: a person has to decide a call"
        TIMER = "timer", "timer: the step is tried again later"
        BUDGET = "budget", "budget: a rate or concurrency limit has to have room again"
        PERSON = "person", "person: somebody has to settle or requeue a step, or cancel the run"

    workspace_id = models.UUIDField()
    environment = models.TextField()
    agent = models.TextField()
    release = models.TextField(help_text="Digest of the release that the run keeps.")
    session = models.ForeignKey("gateway.Session", models.PROTECT, related_name="+")
    starter = models.TextField(help_text="Actor who started it.")
    on_behalf_of = models.TextField(null=True)  # noqa: DJ001 - null is "nobody"
    key = models.TextField(help_text="The starter's idempotency key.")
    fingerprint = models.BinaryField(help_text="HMAC of what was asked under the key.")
    correlation_id = models.TextField()
    state = models.TextField(choices=State, default=State.QUEUED)
    wait = models.TextField(choices=Wait, default=Wait.NOTHING, blank=True)
    code = models.TextField(blank=True, default="", help_text="Why it ended or waits.")
    created_record = models.UUIDField(help_text="Its sealed values hold goal and inputs.")
    answer_record = models.UUIDField(null=True, help_text="Its sealed values hold the final answer.")
    created_at = models.DateTimeField(db_default=Now())
    started_at = models.DateTimeField(null=True)
    finished_at = models.DateTimeField(null=True)
    cancel_requested_at = models.DateTimeField(null=True)
    cancelled_by = models.TextField(blank=True, default="", help_text="Actor.")
    cancel_code = models.TextField(blank=True, default="")
    compensate = models.BooleanField(
        default=False, db_default=False, help_text="Whoever cancelled it wants undone what can be."
    )
    compensation_session = models.ForeignKey(
        "gateway.Session", models.PROTECT, null=True, related_name="+", help_text="Of its compensations."
    )

    class Meta:
        constraints: ClassVar = [
            models.CheckConstraint(
                condition=Q(
                    state__in=[
                        "queued", "running", "waiting", "succeeded", "failed", "cancelled",
                        "compensating", "compensated", "compensation_failed",
                    ]
                ),
                name="run_state",
            ),
            models.CheckConstraint(
                condition=Q(state="waiting", wait__in=["hold", "timer", "budget", "person"])
                | Q(state="compensating", wait__in=["", "hold", "timer", "budget", "person"])
                | (~Q(state__in=["waiting", "compensating"]) & Q(wait="")),
                name="run_waits_for_something",
            ),
            models.CheckConstraint(
                condition=Q(state__in=ENDED_RUN, finished_at__isnull=False)
                | (~Q(state__in=ENDED_RUN) & Q(finished_at__isnull=True)),
                name="run_ended_has_time",
            ),
            models.UniqueConstraint(fields=["workspace_id", "starter", "key"], name="run_key_once"),
        ]  # fmt: skip
        indexes: ClassVar = [
            models.Index(fields=["workspace_id", "-id"], name="run_newest"),
            models.Index(fields=["workspace_id", "-id"], condition=Q(state="waiting"), name="run_waits"),
            models.Index(fields=["session"], condition=~Q(state__in=ENDED_RUN), name="run_unfinished"),
        ]

    def __str__(self) -> str:
        return f"{self.agent}@{self.environment} {self.id}"


class Step(Row):
    """One model or tool call of a run, under one key for all its attempts (which are the gateway's)."""

    class State(models.TextChoices):
        READY = "ready"
        LEASED = "leased", "leased: a worker has it"
        DECIDED = "decided", "decided: parked, waits for a person without a lease"
        DONE = "done"
        RETRY_AT = "retry_at"
        INDETERMINATE = "indeterminate", "indeterminate: it may have happened; a person has to say"
        DEAD = "dead"

    run = models.ForeignKey(Run, models.PROTECT, related_name="steps")
    no = models.IntegerField()
    kind = models.TextField()
    name = models.TextField(help_text="The model or tool, as the release pins it.")
    state = models.TextField(choices=State, default=State.READY)
    code = models.TextField(blank=True, default="", help_text="Why it was denied, is tried again, or died.")
    key = models.TextField(unique=True, help_text="HMAC of workspace, run, step, tool and arguments.")
    fence = models.BigIntegerField(default=0)
    lease_owner = models.TextField(blank=True, default="")
    lease_until = models.DateTimeField(null=True)
    attempts = models.IntegerField(default=0, help_text="How often it was claimed.")
    crashes = models.IntegerField(default=0, help_text="Claims in a row of which nobody heard again.")
    failures = models.IntegerField(default=0, help_text="Tries that ended in a failure that may pass.")
    not_before = models.DateTimeField(null=True)
    rung_at = models.DateTimeField(db_default=Now(), help_text="When the doorbell last rang for it.")
    call = models.ForeignKey("gateway.Call", models.PROTECT, null=True, related_name="+")
    hold = models.UUIDField(null=True)
    undoes = models.ForeignKey(
        "self", models.PROTECT, null=True, related_name="+", help_text="The step that this one compensates."
    )
    record = models.UUIDField(null=True, help_text="Its sealed values hold what the model sees of the step.")
    created_at = models.DateTimeField(db_default=Now())
    finished_at = models.DateTimeField(null=True)

    class Meta:
        constraints: ClassVar = [
            models.CheckConstraint(
                condition=Q(state__in=["ready", "leased", "decided", "done", "retry_at", "indeterminate", "dead"]),
                name="step_state",
            ),
            models.CheckConstraint(condition=Q(kind__in=["model", "tool"]), name="step_kind"),
            models.CheckConstraint(
                condition=Q(state="leased", lease_until__isnull=False)
                | (~Q(state="leased") & Q(lease_until__isnull=True)),
                name="step_lease_fits_state",
            ),
            models.CheckConstraint(
                condition=~Q(state="retry_at") | Q(not_before__isnull=False), name="step_retry_has_time"
            ),
            models.CheckConstraint(
                condition=~Q(state="done") | Q(record__isnull=False, finished_at__isnull=False),
                name="step_done_has_output",
            ),
            models.CheckConstraint(
                condition=~Q(state="decided") | Q(hold__isnull=False, call__isnull=False), name="step_decided_has_hold"
            ),
            models.UniqueConstraint(fields=["run", "no"], name="step_number_once"),
            # A run takes one step at a time: whoever works on it cannot be two. And undoes each step once.
            models.UniqueConstraint(fields=["undoes"], name="step_undone_once"),
            models.UniqueConstraint(fields=["run"], condition=Q(state__in=OPEN_STEP), name="step_one_open"),
        ]
        indexes: ClassVar = [
            models.Index(F("rung_at"), condition=Q(state__in=["ready", "leased", "retry_at"]), name="step_to_ring"),
            models.Index(F("id"), condition=Q(state__in=["decided", "indeterminate"]), name="step_parked"),
        ]

    def __str__(self) -> str:
        return f"step {self.no} of {self.run_id}"
