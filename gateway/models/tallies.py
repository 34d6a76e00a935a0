"""How many decisions there were, five minutes at a time."""

from typing import ClassVar

from django.contrib.postgres.fields import ArrayField
from django.db import models

from registry.models.row import Row


class Tally(Row):
    """The attempts decided in one stretch of time, counted: for charts, made anew from the attempts at any time."""

    workspace_id = models.UUIDField()
    start = models.DateTimeField()
    allow = models.IntegerField()
    deny = models.IntegerField()
    hold = models.IntegerField()
    durations = ArrayField(models.IntegerField(), help_text="Executed attempts by duration: see gateway.tallies.EDGES.")

    class Meta:
        constraints: ClassVar = [models.UniqueConstraint(fields=["workspace_id", "start"], name="tally_once")]
        indexes: ClassVar = [models.Index(models.F("start"), name="tally_newest")]

    def __str__(self) -> str:
        return f"{self.start} {self.workspace_id}"
