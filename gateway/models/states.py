"""What agents remember between sessions."""

from typing import ClassVar

from django.db import models
from django.db.models import Q

from registry.models.row import Row, texts


class State(Row):
    """One value that an agent remembers. The value itself is sealed in the record of its last write."""

    workspace_id = models.UUIDField()
    environment = models.TextField()
    agent = models.TextField()
    key = models.TextField()
    version = models.BigIntegerField(default=1)
    record = models.UUIDField(help_text="Of the last write: its sealed values hold the value, its id is the ETag.")
    labels = texts(help_text="Of the session that wrote it; whoever reads it has them from then on.")
    bytes = models.IntegerField(help_text="Of canonical JSON.")
    written_by = models.TextField(help_text="Actor.")
    written_at = models.DateTimeField()

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["workspace_id", "environment", "agent", "key"], name="state_key_once"),
            models.CheckConstraint(condition=Q(version__gte=1), name="state_version"),
        ]
        indexes: ClassVar = [models.Index(fields=["workspace_id", "-id"], name="state_newest")]

    def __str__(self) -> str:
        return f"{self.key} of {self.agent}@{self.environment}"
