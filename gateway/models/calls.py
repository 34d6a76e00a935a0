"""Calls, claimed and decided, and what came of each attempt."""

from typing import ClassVar

from django.db import models
from django.db.models import F, Q
from django.db.models.fields.json import KT
from django.db.models.functions import Collate

from gateway.models.credentials import Credential
from gateway.models.sessions import Session
from registry.models.row import Row


class Call(Row):
    """The claim of one call: one per (workspace, credential, key) is live. Its state moves in gateway.calls alone."""

    class State(models.TextChoices):
        CLAIMED = "claimed", "claimed: nothing decided yet"
        DECIDED = "decided", "decided: allowed and under way"
        PARKED = "parked", "parked: waits for a person"
        DENIED = "denied"
        COMPLETED = "completed"
        FAILED = "failed", "failed: not executed, or its result is withheld"
        UNKNOWN = "unknown", "unknown: it may have happened"

    workspace_id = models.UUIDField()
    environment = models.TextField()
    agent = models.TextField()
    # Indexed below, together with the id: the newest of one credential or session are found without sorting. The
    # database does not check these references, which cost each call three looks and two locks: no role may delete what
    # they lead to, and a call enters what it has just read.
    credential = models.ForeignKey(Credential, models.PROTECT, related_name="+", db_index=False, db_constraint=False)
    key = models.TextField(help_text="The caller's idempotency key.")
    live = models.BooleanField(default=True, help_text="False: the claim has expired and its key is free again.")
    fingerprint = models.BinaryField(help_text="HMAC-SHA256 of session, kind, name and arguments as received.")
    kind = models.TextField()
    name = models.TextField()
    asked_session = models.UUIDField(null=True, help_text="As the caller named it; null: the sticky one.")
    session = models.ForeignKey(
        Session, models.PROTECT, null=True, related_name="+", db_index=False, db_constraint=False
    )
    run = models.JSONField(null=True, help_text="{id, step, starter} of the run that makes this call.")
    correlation_id = models.TextField()
    state = models.TextField(choices=State, default=State.CLAIMED)
    code = models.TextField(blank=True, default="", help_text="Why it ended so.")
    again = models.BooleanField(default=False, help_text="The same key may open a further attempt.")
    attempt = models.IntegerField(default=0, help_text="Number of attempts that were decided.")
    fence = models.BigIntegerField(default=1)
    lease_until = models.DateTimeField()
    effect = models.TextField(blank=True, default="")
    release = models.TextField(blank=True, default="")
    tool_digest = models.TextField(blank=True, default="")
    decided_record = models.UUIDField(null=True)
    outcome_record = models.UUIDField(null=True)
    counted_in = models.UUIDField(
        null=True, help_text="The run or session whose budget of steps counts it; null: none."
    )
    fallback = models.TextField(blank=True, default="", db_default="", help_text="The tool that was asked instead.")
    instead_of = models.UUIDField(null=True, help_text="The call in whose place this one was made.")
    opened_at = models.DateTimeField(db_default=models.functions.Now())
    repeatable_until = models.DateTimeField(null=True, help_text="End of the dedup window, from the first decision on.")
    finished_at = models.DateTimeField(null=True)
    expires_at = models.DateTimeField(help_text="When the key may be used for something else.")

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["workspace_id", "credential", "key"], condition=Q(live=True), name="call_key_once"
            ),
            models.CheckConstraint(
                condition=Q(state__in=["claimed", "decided", "parked", "denied", "completed", "failed", "unknown"]),
                name="call_state",
            ),
            models.CheckConstraint(condition=Q(kind__in=["tool", "model"]), name="call_kind"),
            models.CheckConstraint(
                condition=Q(state__in=["claimed", "decided", "parked", "unknown"]) | Q(finished_at__isnull=False),
                name="call_finished_has_time",
            ),
        ]
        indexes: ClassVar = [
            models.Index(fields=["workspace_id", "-id"], name="call_newest"),
            models.Index(fields=["lease_until"], condition=Q(state__in=["claimed", "decided"]), name="call_leased"),
            models.Index(fields=["expires_at"], condition=Q(live=True), name="call_expires"),
            models.Index(fields=["session", "id"], name="call_of_session"),
            models.Index(fields=["instead_of"], condition=Q(instead_of__isnull=False), name="call_instead_of"),
            # What gateway.listing finds calls by. Each ends with the id or leads to few rows, so that a page costs the
            # same at a million calls; what most calls have in common (no code, completed, no run) is left out.
            models.Index(fields=["credential", "id"], name="call_of_credential"),
            models.Index(fields=["workspace_id", "name", "id"], name="call_of_name"),
            models.Index(fields=["workspace_id", "agent", "id"], name="call_of_agent"),
            models.Index(fields=["workspace_id", "code", "id"], condition=~Q(code=""), name="call_of_code"),
            models.Index(
                fields=["workspace_id", "state", "id"],
                condition=Q(state__in=["parked", "denied", "failed", "unknown"]),
                name="call_not_done",
            ),
            models.Index(KT("run__id"), F("id"), condition=Q(run__isnull=False), name="call_of_run"),
            models.Index(F("workspace_id"), Collate("key", "C"), name="call_of_key"),
            models.Index(F("workspace_id"), Collate("correlation_id", "C"), name="call_of_correlation"),
        ]

    def __str__(self) -> str:
        return f"{self.name} {self.id}"


class Attempt(Row):
    """One decision about a call, and what came of it. Each attempt has exactly one decision record."""

    call = models.ForeignKey(Call, models.PROTECT, related_name="attempts", db_index=False, db_constraint=False)
    number = models.IntegerField()
    fence = models.BigIntegerField()
    verdict = models.TextField()
    state = models.TextField()
    code = models.TextField(blank=True, default="")
    hold = models.UUIDField(null=True, help_text="The hold whose approval this attempt used.")
    decision_id = models.TextField(db_default="", help_text="Under which an OPA server logs the decision.")
    gist = models.TextField(db_default="", help_text="What the engine said, to compare with that log: gateway.gist.")
    log_state = models.TextField(db_default="", help_text="Of that log: expected, logged or missing; empty: none.")
    decided_record = models.UUIDField()
    outcome_record = models.UUIDField(null=True)
    decided_at = models.DateTimeField(db_default=models.functions.Now())
    finished_at = models.DateTimeField(null=True)

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["call", "number"], name="attempt_number_once"),
            models.CheckConstraint(condition=Q(verdict__in=["allow", "deny", "hold"]), name="attempt_verdict"),
            models.CheckConstraint(
                condition=Q(verdict="allow", state__in=["decided", "completed", "failed", "unknown"])
                | Q(verdict="deny", state="denied")
                | Q(verdict="hold", state="parked"),
                name="attempt_state_fits_verdict",
            ),
        ]
        indexes: ClassVar = [
            models.Index(fields=["decided_at"], condition=Q(log_state="expected"), name="attempt_log_expected"),
        ]

    def __str__(self) -> str:
        return f"attempt {self.number} of {self.call_id}"
