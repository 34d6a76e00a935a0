"""Calls parked for a person, and what that person said."""

from typing import ClassVar

from django.conf import settings
from django.db import models
from django.db.models import Q

from gateway.models.calls import Call
from registry.models.row import Row, texts


class Hold(Row):
    """A call parked for a person: what was shown, who may not decide it, and what was decided."""

    class State(models.TextChoices):
        OPEN = "open"
        APPROVED = "approved"
        REJECTED = "rejected"
        RELEASED = "released", "released: used, once"
        VOID = "void", "void: what was shown has changed"
        EXPIRED = "expired"

    workspace_id = models.UUIDField()
    environment = models.TextField()
    agent = models.TextField()
    call = models.ForeignKey(Call, models.PROTECT, related_name="holds")
    attempt = models.IntegerField(help_text="The attempt that parked.")
    state = models.TextField(choices=State, default=State.OPEN)
    codes = texts(help_text="Reason codes that the person sees.")
    requirements = models.JSONField(default=list, help_text="[{code, role, quorum}]: each must be met.")
    digest = models.TextField(help_text="HMAC over executed arguments, tool, policy, baseline, release and codes.")
    name = models.TextField(help_text="The tool or model.")
    tool_digest = models.TextField()
    policy = models.TextField()
    baseline = models.TextField()
    release = models.TextField()
    decided_record = models.UUIDField(help_text="Its sealed values hold the arguments as they would be executed.")
    on_behalf_of = models.TextField(null=True)  # noqa: DJ001 - null is "nobody"
    run_starter = models.TextField(null=True)  # noqa: DJ001 - null is "no run"
    session_opener = models.TextField()
    credential_owner = models.TextField(null=True)  # noqa: DJ001 - null is "the executor's own credential"
    opened_at = models.DateTimeField(db_default=models.functions.Now())
    expires_at = models.DateTimeField()
    decided_at = models.DateTimeField(null=True)
    closed_at = models.DateTimeField(null=True)

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["call"], condition=Q(state__in=["open", "approved"]), name="hold_one_open_per_call"
            ),
            models.CheckConstraint(
                condition=Q(state__in=["open", "approved", "rejected", "released", "void", "expired"]),
                name="hold_state",
            ),
        ]
        indexes: ClassVar = [
            models.Index(fields=["workspace_id", "-id"], name="hold_newest"),
            models.Index(fields=["expires_at"], condition=Q(state__in=["open", "approved"]), name="hold_waiting"),
        ]

    def __str__(self) -> str:
        return f"{self.name} {self.id}"


class HoldApproval(Row):
    """One person's word on one hold, bound to the digest that they saw."""

    class Verdict(models.TextChoices):
        APPROVED = "approved"
        REJECTED = "rejected"

    hold = models.ForeignKey(Hold, models.PROTECT, related_name="approvals")
    approver = models.ForeignKey(settings.AUTH_USER_MODEL, models.PROTECT, related_name="+")
    verdict = models.TextField(choices=Verdict)
    digest = models.TextField()
    comment = models.TextField(blank=True, default="")
    at = models.DateTimeField(db_default=models.functions.Now())

    class Meta:
        constraints: ClassVar = [models.UniqueConstraint(fields=["hold", "approver"], name="hold_approval_once")]

    def __str__(self) -> str:
        return f"{self.verdict} {self.hold_id}"
