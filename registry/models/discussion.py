"""What people say about a proposal beside their verdicts: comments, and whether what they are about is settled."""

from typing import ClassVar

from django.db import models
from django.db.models import Q

from registry.models.agreement import Proposal
from registry.models.artifacts import Version
from registry.models.people import Person
from registry.models.row import Row


class Comment(Row):
    """What one person said. Append-only. It hangs on bytes that never change: a digest, a member of it, a line.

    `path` is a JSON pointer into the content of `version` ("" for the whole of it), `line` counts from 1 within the
    text there. An answer stands where the comment that it answers does.
    """

    proposal = models.ForeignKey(Proposal, on_delete=models.PROTECT, related_name="comments")
    version = models.ForeignKey(Version, on_delete=models.PROTECT, related_name="comments")
    digest = models.CharField(max_length=71)
    path = models.CharField(max_length=500, blank=True, default="")
    line = models.PositiveIntegerField(null=True)
    text = models.TextField()
    answers = models.ForeignKey("self", on_delete=models.PROTECT, null=True, related_name="answered_by")
    author = models.ForeignKey(Person, on_delete=models.PROTECT, related_name="+")
    at = models.DateTimeField()

    class Meta:
        constraints: ClassVar = [
            models.CheckConstraint(name="comment_text", condition=~Q(text="")),
            models.CheckConstraint(name="comment_line", condition=Q(line=None) | Q(line__gte=1)),
        ]

    def __str__(self) -> str:
        return f"{self.path}:{self.line}" if self.line else self.path


class Resolution(Row):
    """Somebody said that a comment is settled, or that it is not. Append-only; the latest counts."""

    comment = models.ForeignKey(Comment, on_delete=models.PROTECT, related_name="resolutions")
    resolved = models.BooleanField()
    by = models.ForeignKey(Person, on_delete=models.PROTECT, related_name="+")
    at = models.DateTimeField()

    def __str__(self) -> str:
        return "resolved" if self.resolved else "reopened"
