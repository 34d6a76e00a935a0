"""The tables of the trail. Only `audit` imports this module; only named functions write, as their own database role.

Nothing points into these tables by foreign key and nothing points out: ids of workspaces and people are plain values.
Grants, triggers and checks that the ORM cannot say are in the migrations.
"""

from django.db import models
from django.db.models.functions import Now

from audit.uuid7 import uuid7


class Record(models.Model):
    """One decision, outcome or change. The columns beside `body` are projections of it; the body is what counts."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    workspace = models.UUIDField()
    event = models.TextField()
    actor = models.TextField()
    correlation_id = models.TextField()
    body = models.BinaryField()
    leaf_hash = models.BinaryField()

    class Meta:
        indexes = (
            models.Index(fields=["workspace", "id"], name="audit_record_newest"),
            models.Index(fields=["workspace", "correlation_id"], name="audit_record_correlation"),
            models.Index(fields=["workspace", "event", "id"], name="audit_record_event"),
        )

    def __str__(self) -> str:
        return f"{self.event} {self.id}"


class Pending(models.Model):
    """A record that is not in the tree yet. Filled by a trigger, emptied by the sequencer alone."""

    pk = models.CompositePrimaryKey("workspace", "record")
    workspace = models.UUIDField()
    record = models.UUIDField()
    leaf_hash = models.BinaryField()

    def __str__(self) -> str:
        return str(self.record)


class Leaf(models.Model):
    """Where a record stands in the log of its workspace: indices are dense and begin at 0."""

    pk = models.CompositePrimaryKey("workspace", "index")
    workspace = models.UUIDField()
    index = models.BigIntegerField()
    # Unique while unpartitioned; `pending` alone already lets a record in once, and fsck counts.
    record = models.UUIDField(unique=True)
    leaf_hash = models.BinaryField()

    def __str__(self) -> str:
        return f"{self.index} {self.record}"


class Tile(models.Model):
    """Up to 256 hashes of complete subtrees (c2sp.org/tlog-tiles). A full tile never changes."""

    pk = models.CompositePrimaryKey("workspace", "level", "n")
    workspace = models.UUIDField()
    level = models.SmallIntegerField()
    n = models.BigIntegerField()
    hashes = models.BinaryField()

    def __str__(self) -> str:
        return f"{self.level}/{self.n}"


class Head(models.Model):
    """The tree of one workspace: its size, root and frontier. The row is the sequencers' lock."""

    workspace = models.UUIDField(primary_key=True)
    size = models.BigIntegerField()
    root = models.BinaryField()
    frontier = models.BinaryField()

    def __str__(self) -> str:
        return f"{self.workspace} {self.size}"


class Checkpoint(models.Model):
    """A head that the publisher signed, as a note (c2sp.org/tlog-checkpoint), with the public key that verifies it."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    workspace = models.UUIDField()
    size = models.BigIntegerField()
    root = models.BinaryField()
    note = models.TextField()
    key = models.TextField()
    at = models.DateTimeField(db_default=Now())

    class Meta:
        constraints = (models.UniqueConstraint(fields=["workspace", "size", "key"], name="audit_checkpoint_once"),)
        indexes = (models.Index(fields=["workspace", "id"], name="audit_checkpoint_newest"),)

    def __str__(self) -> str:
        return f"{self.workspace} {self.size}"


class Halt(models.Model):
    """A log that the publisher refuses to sign, and why: see audit.halts."""

    workspace = models.UUIDField(primary_key=True)
    code = models.TextField()
    detail = models.TextField()
    since = models.DateTimeField(db_default=Now())

    def __str__(self) -> str:
        return f"{self.workspace} {self.code}"


class ValueKey(models.Model):
    """The data key of one data subject in one workspace, wrapped. Deleting the row erases every value under it."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    workspace = models.UUIDField()
    # A keyed hash: who the subject is stands nowhere in this table.
    subject = models.BinaryField()
    wrapped = models.BinaryField()
    kek = models.TextField()

    class Meta:
        constraints = (models.UniqueConstraint(fields=["workspace", "subject"], name="audit_value_key_subject"),)

    def __str__(self) -> str:
        return str(self.id)


class SealedValue(models.Model):
    """A personal or secret value, encrypted: one that a record commits to (`record`, `path`), or a stored outcome."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    workspace = models.UUIDField()
    record = models.UUIDField(null=True)
    path = models.TextField()
    key = models.UUIDField()
    box = models.BinaryField()

    class Meta:
        indexes = (
            models.Index(fields=["record"], name="audit_sealed_record", condition=models.Q(record__isnull=False)),
        )

    def __str__(self) -> str:
        return f"{self.record or self.id}{self.path}"


class Job(models.Model):
    """A piece of work on a log that takes longer than a request: see audit.jobs. It may be forgotten; records stay."""

    class State(models.TextChoices):
        QUEUED = "queued"
        RUNNING = "running"
        DONE = "done"
        FAILED = "failed"

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    workspace = models.UUIDField()
    kind = models.TextField(help_text="export or inspection")
    record = models.UUIDField(help_text="Of the request.")
    actor = models.TextField()
    detail = models.JSONField(default=dict)
    state = models.TextField(choices=State, default=State.QUEUED)
    done = models.BigIntegerField(default=0, help_text="Records worked on.")
    total = models.BigIntegerField()
    result = models.JSONField(null=True)
    code = models.TextField(blank=True, default="", help_text="Why it failed.")
    problem = models.TextField(blank=True, default="")
    fence = models.BigIntegerField(default=0)
    lease_until = models.DateTimeField(null=True)
    requested_at = models.DateTimeField()
    started_at = models.DateTimeField(null=True)
    finished_at = models.DateTimeField(null=True)

    class Meta:
        indexes = (
            models.Index(fields=["workspace", "kind", "id"], name="audit_job_newest"),
            models.Index(models.F("id"), condition=models.Q(state__in=["queued", "running"]), name="audit_job_due"),
        )

    def __str__(self) -> str:
        return f"{self.kind} {self.state} {self.id}"

    @property
    def percent(self) -> int:
        """Return how much is done, 0 to 100."""
        return min(100, 100 * self.done // self.total) if self.total else 100
