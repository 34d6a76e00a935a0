"""Who agreed to what: proposals, approvals, activations, and what has been live."""

from typing import ClassVar

from django.db import models
from django.db.models import Q

from registry.models.artifacts import Artifact, Version
from registry.models.people import Environment, Person, Role, Workspace
from registry.models.row import Row, history


class Proposal(Row):
    """One request to approve a version for an environment (null for a charter). The database's clock sets its times."""

    workspace = models.ForeignKey(Workspace, on_delete=models.PROTECT, related_name="proposals")
    version = models.ForeignKey(Version, on_delete=models.PROTECT, related_name="proposals")
    environment = models.ForeignKey(Environment, on_delete=models.PROTECT, null=True, related_name="proposals")
    proposer = models.ForeignKey(Person, on_delete=models.PROTECT, related_name="+")
    state = models.CharField(max_length=20, default="open")
    reason = models.TextField(blank=True, default="")
    opened_at = models.DateTimeField()
    expires_at = models.DateTimeField()
    concluded_at = models.DateTimeField(null=True)
    charter_digest = models.CharField(max_length=71)

    history = history()

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["version", "environment"],
                name="proposal_open_unique",
                condition=Q(state="open"),
                nulls_distinct=False,
            ),
            models.CheckConstraint(
                name="proposal_state",
                condition=Q(state__in=["open", "approved", "withdrawn", "rejected", "expired"]),
            ),
        ]

    def __str__(self) -> str:
        return f"{self.version_id}: {self.state}"


class Approval(Row):
    """One person's verdict on one version, bound to its digest. Only `withdrawn_at` can change, once.

    A request for changes keeps the proposal from its quorum until whoever made it withdraws it. `version` is the
    proposal's version or one of its pinned parts. A trigger refuses rows that name a contributor.
    """

    class Verdict(models.TextChoices):
        """What a person says about a proposal."""

        APPROVE = "approve"
        REJECT = "reject"
        REQUEST_CHANGES = "request_changes"

    proposal = models.ForeignKey(Proposal, on_delete=models.PROTECT, related_name="approvals")
    version = models.ForeignKey(Version, on_delete=models.PROTECT, related_name="approvals")
    digest = models.CharField(max_length=71)
    environment = models.ForeignKey(Environment, on_delete=models.PROTECT, null=True, related_name="approvals")
    approver = models.ForeignKey(Person, on_delete=models.PROTECT, related_name="+")
    role = models.CharField(max_length=20, choices=Role.choices)
    verdict = models.CharField(max_length=20)
    comment = models.TextField(blank=True, default="")
    at = models.DateTimeField()
    expires_at = models.DateTimeField()
    withdrawn_at = models.DateTimeField(null=True)

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["proposal", "version", "approver"],
                name="approval_unique",
                condition=Q(withdrawn_at=None),
            ),
            models.CheckConstraint(
                name="approval_verdict", condition=Q(verdict__in=["approve", "reject", "request_changes"])
            ),
            models.CheckConstraint(name="approval_role", condition=Q(role__in=Role.values)),
        ]

    def __str__(self) -> str:
        return f"{self.verdict} by {self.approver_id}"


class Activation(Row):
    """One attempt to make a version live: requested, then published by the bundler, then live or failed."""

    workspace = models.ForeignKey(Workspace, on_delete=models.PROTECT, related_name="activations")
    environment = models.ForeignKey(Environment, on_delete=models.PROTECT, null=True, related_name="activations")
    artifact = models.ForeignKey(Artifact, on_delete=models.PROTECT, related_name="activations")
    version = models.ForeignKey(Version, on_delete=models.PROTECT, related_name="activations")
    previous = models.ForeignKey(Version, on_delete=models.PROTECT, null=True, related_name="+")
    proposal = models.ForeignKey(Proposal, on_delete=models.PROTECT, null=True, related_name="activations")
    kind = models.CharField(max_length=20)
    state = models.CharField(max_length=20, default="requested")
    revision = models.CharField(max_length=100, blank=True, default="")
    failure = models.CharField(max_length=100, blank=True, default="")
    reason = models.TextField(blank=True, default="")
    requested_by = models.ForeignKey(Person, on_delete=models.PROTECT, null=True, related_name="+")
    requested_at = models.DateTimeField()
    published_at = models.DateTimeField(null=True)
    finished_at = models.DateTimeField(null=True)
    # Break-glass only: when it reverts by itself, and the review that has to follow.
    expires_at = models.DateTimeField(null=True)
    reverted_at = models.DateTimeField(null=True)
    review_due_at = models.DateTimeField(null=True)
    reviewed_by = models.ForeignKey(Person, on_delete=models.PROTECT, null=True, related_name="+")
    reviewed_at = models.DateTimeField(null=True)
    review = models.TextField(blank=True, default="")

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["environment", "artifact"],
                name="activation_pending_unique",
                condition=Q(state__in=["requested", "published"]),
                nulls_distinct=False,
            ),
            models.CheckConstraint(
                name="activation_state", condition=Q(state__in=["requested", "published", "live", "failed"])
            ),
            models.CheckConstraint(
                name="activation_kind", condition=Q(kind__in=["activate", "rollback", "break_glass", "revert"])
            ),
            models.CheckConstraint(
                name="activation_break_glass",
                condition=~Q(kind="break_glass") | Q(expires_at__isnull=False, review_due_at__isnull=False),
            ),
        ]

    def __str__(self) -> str:
        return f"{self.kind} {self.version_id}: {self.state}"


class SlotHistory(Row):
    """What was live in a slot, and by which activation. Append-only."""

    environment = models.ForeignKey(Environment, on_delete=models.PROTECT, null=True, related_name="slot_history")
    artifact = models.ForeignKey(Artifact, on_delete=models.PROTECT, related_name="slot_history")
    version = models.ForeignKey(Version, on_delete=models.PROTECT, null=True, related_name="slot_history")
    activation = models.ForeignKey(Activation, on_delete=models.PROTECT, null=True, related_name="slot_history")
    kind = models.CharField(max_length=20)
    at = models.DateTimeField()

    class Meta:
        constraints: ClassVar = [
            models.CheckConstraint(
                name="slot_history_kind",
                condition=Q(kind__in=["founding", "activate", "rollback", "break_glass", "revert"]),
            ),
        ]

    def __str__(self) -> str:
        return f"{self.version_id} by {self.kind}"


class Evidence(Row):
    """A finding about a version that a gate can ask for (impact, evaluation); the report itself lies elsewhere."""

    version = models.ForeignKey(Version, on_delete=models.PROTECT, related_name="evidence")
    environment = models.ForeignKey(Environment, on_delete=models.PROTECT, null=True, related_name="evidence")
    kind = models.CharField(max_length=50)
    digest = models.CharField(max_length=71)
    at = models.DateTimeField()

    def __str__(self) -> str:
        return self.kind
