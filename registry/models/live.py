"""What is in force right now: slots, bundles, stops."""

from typing import ClassVar

from django.db import models
from django.db.models import Q

from registry.models.artifacts import Artifact, Version
from registry.models.people import Environment, Person, Workspace
from registry.models.row import Row, history


class Slot(Row):
    """Which version of an artifact is live in an environment (null for the charter). Agents, baseline, charter only.

    `version` is null when an activation was undone and nothing stood there before. After `expires_at` (break-glass
    only, by the database's clock) the slot counts as empty, whether or not somebody has come to revert it.
    """

    workspace = models.ForeignKey(Workspace, on_delete=models.PROTECT, related_name="slots")
    environment = models.ForeignKey(Environment, on_delete=models.PROTECT, null=True, related_name="slots")
    artifact = models.ForeignKey(Artifact, on_delete=models.PROTECT, related_name="slots")
    version = models.ForeignKey(Version, on_delete=models.PROTECT, null=True, related_name="slots")
    changed_at = models.DateTimeField()
    expires_at = models.DateTimeField(null=True)

    history = history()

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["environment", "artifact"], name="slot_unique", nulls_distinct=False),
        ]

    def __str__(self) -> str:
        return f"{self.artifact_id}: {self.version_id}"


class Bundle(Row):
    """A signed bundle as published for one environment. Append-only."""

    workspace = models.ForeignKey(Workspace, on_delete=models.PROTECT, related_name="bundles")
    environment = models.ForeignKey(Environment, on_delete=models.PROTECT, related_name="bundles")
    revision = models.CharField(max_length=100)
    content = models.BinaryField()
    manifest = models.JSONField(default=dict)
    signatures = models.JSONField(
        default=dict, db_default={}, help_text="Of older keys that still sign: name -> signature over the same files."
    )
    created_at = models.DateTimeField()

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["environment", "revision"], name="bundle_revision_unique"),
        ]
        # Every decision point asks for the newest one again and again.
        indexes: ClassVar = [models.Index(fields=["environment", "-created_at", "-id"], name="bundle_newest")]

    def __str__(self) -> str:
        return self.revision


class Stop(Row):
    """The kill switch: while not lifted, no call of the workspace, the agent or the tool is decided.

    `target` is the name of the agent or tool, empty for the whole workspace.
    """

    workspace = models.ForeignKey(Workspace, on_delete=models.PROTECT, related_name="stops")
    scope = models.CharField(max_length=20)
    target = models.CharField(max_length=128, blank=True, default="")
    reason = models.TextField()
    by = models.ForeignKey(Person, on_delete=models.PROTECT, related_name="+")
    at = models.DateTimeField()
    reach = models.JSONField(default=dict, help_text="What was under way and could not be stopped, as it was set.")
    lifted_by = models.ForeignKey(Person, on_delete=models.PROTECT, null=True, related_name="+")
    lifted_at = models.DateTimeField(null=True)

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["workspace", "scope", "target"], name="stop_unique", condition=Q(lifted_at=None)
            ),
            models.CheckConstraint(name="stop_scope", condition=Q(scope__in=["workspace", "agent", "tool"])),
            models.CheckConstraint(
                name="stop_target",
                condition=Q(scope="workspace", target="") | (~Q(scope="workspace") & ~Q(target="")),
            ),
        ]

    def __str__(self) -> str:
        return f"{self.scope} {self.target}".strip()
