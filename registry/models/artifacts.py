"""What an agent is made of: artifacts and their immutable versions, with what is known about where they came from."""

from typing import ClassVar

from django.db import models
from django.db.models import Q

from registry.models.people import Person, Workspace
from registry.models.row import Row


class Kind(models.TextChoices):
    """The kinds of artifact; each has a JSON Schema in registry/schemas."""

    MODEL = "model"
    PROMPT = "prompt"
    TOOL = "tool"
    POLICY = "policy"
    AGENT = "agent"
    DATASET = "dataset"
    RUNBOOK = "runbook"
    CHARTER = "charter"


class Artifact(Row):
    """A name under which versions are kept. `count` is how many there are: taking the next number locks the row."""

    workspace = models.ForeignKey(Workspace, on_delete=models.PROTECT, related_name="artifacts")
    kind = models.CharField(max_length=20, choices=Kind.choices)
    name = models.CharField(max_length=128)
    count = models.PositiveIntegerField(default=0)
    created_at = models.DateTimeField()

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["workspace", "kind", "name"], name="artifact_unique"),
            models.CheckConstraint(name="artifact_kind", condition=Q(kind__in=Kind.values)),
            models.CheckConstraint(name="artifact_charter_name", condition=~Q(kind="charter") | Q(name="charter")),
        ]

    def __str__(self) -> str:
        return f"{self.kind}/{self.name}"


class Version(Row):
    """One immutable state of an artifact. `content` is canonical JSON; `digest` covers kind, name and content."""

    workspace = models.ForeignKey(Workspace, on_delete=models.PROTECT, related_name="versions")
    artifact = models.ForeignKey(Artifact, on_delete=models.PROTECT, related_name="versions")
    kind = models.CharField(max_length=20, choices=Kind.choices)
    name = models.CharField(max_length=128)
    number = models.PositiveIntegerField()
    digest = models.CharField(max_length=71)
    content = models.BinaryField()
    created_at = models.DateTimeField()
    # Not a column: whether versions.create stored these bytes just now, or found them.
    stored = False

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["workspace", "digest"], name="version_digest_unique"),
            models.UniqueConstraint(fields=["artifact", "number"], name="version_number_unique"),
            models.CheckConstraint(name="version_digest", condition=Q(digest__regex="^sha256:[0-9a-f]{64}$")),
        ]

    def __str__(self) -> str:
        return f"{self.kind}/{self.name} {self.number}"


class Lifecycle(models.Model):
    """Whether a version may still be used. One row beside each version; also what approvals and revocation lock."""

    version = models.OneToOneField(Version, on_delete=models.PROTECT, primary_key=True, related_name="lifecycle")
    state = models.CharField(max_length=20, default="available")
    changed_at = models.DateTimeField()

    class Meta:
        constraints: ClassVar = [
            models.CheckConstraint(
                name="lifecycle_state", condition=Q(state__in=["available", "deprecated", "retired", "revoked"])
            ),
        ]

    def __str__(self) -> str:
        return self.state


class Pin(Row):
    """A part of a release: the agent version `version` runs with `part`. Written once, with the version."""

    version = models.ForeignKey(Version, on_delete=models.PROTECT, related_name="pins")
    part = models.ForeignKey(Version, on_delete=models.PROTECT, related_name="pinned_by")

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["version", "part"], name="pin_unique"),
        ]

    def __str__(self) -> str:
        return f"{self.version_id} pins {self.part_id}"


class Provenance(Row):
    """Where a version came from, as told by who brought it. Append-only; outside the digest."""

    version = models.ForeignKey(Version, on_delete=models.PROTECT, related_name="provenance")
    by = models.ForeignKey(Person, on_delete=models.PROTECT, related_name="+")
    at = models.DateTimeField()
    repository = models.CharField(max_length=500, blank=True, default="")
    commit = models.CharField(max_length=64, blank=True, default="")
    path = models.CharField(max_length=500, blank=True, default="")
    builder = models.CharField(max_length=500, blank=True, default="")
    identities = models.JSONField(default=list)
    materials = models.JSONField(default=list)
    statements = models.JSONField(default=list)
    parents = models.JSONField(default=list)

    def __str__(self) -> str:
        return self.commit or self.path


class Contributor(Row):
    """Somebody who had a hand in a version and so can never approve it. Append-only.

    A row without a person is a commit identity that nobody claimed: it blocks every approval until a later row with
    the same identity names the person.
    """

    version = models.ForeignKey(Version, on_delete=models.PROTECT, related_name="contributors")
    person = models.ForeignKey(Person, on_delete=models.PROTECT, null=True, related_name="+")
    identity = models.CharField(max_length=320)
    how = models.CharField(max_length=20)
    at = models.DateTimeField()

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["version", "person", "identity", "how"], name="contributor_unique", nulls_distinct=False
            ),
            models.CheckConstraint(
                name="contributor_how",
                condition=Q(how__in=["creator", "commit", "proposer", "credential_owner", "identified", "mapper"]),
            ),
        ]

    def __str__(self) -> str:
        return self.how


class Check(Row):
    """The outcome of one admission check of a version. Append-only; the latest of a name counts."""

    version = models.ForeignKey(Version, on_delete=models.PROTECT, related_name="checks")
    name = models.CharField(max_length=100)
    passed = models.BooleanField()
    output = models.TextField(blank=True, default="")
    at = models.DateTimeField()

    def __str__(self) -> str:
        return f"{self.name}: {'passed' if self.passed else 'failed'}"
