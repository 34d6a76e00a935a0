"""Comments on proposals."""

from typing import Any
from uuid import UUID

from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from audit.refusal import not_found
from registry import comments
from registry.api.agreement import ROWS
from registry.api.exchange import View, asked, body, documented, made
from registry.models import Comment, Proposal


class CommentShape(serializers.Serializer[Any]):
    id = serializers.UUIDField()
    proposal = serializers.UUIDField(source="proposal_id")
    version = serializers.UUIDField(source="version_id")
    digest = serializers.CharField()
    path = serializers.CharField(help_text="JSON pointer into the content; empty for the whole.")
    line = serializers.IntegerField(allow_null=True)
    text = serializers.CharField()
    answers = serializers.UUIDField(source="answers_id", allow_null=True)
    author = serializers.UUIDField(source="author_id")
    username = serializers.CharField(source="author.username")
    at = serializers.DateTimeField()


class NewComment(serializers.Serializer[Any]):
    text = serializers.CharField(max_length=comments.LONGEST)
    digest = serializers.CharField(required=False, allow_null=True, default=None, max_length=71)
    path = serializers.CharField(required=False, allow_blank=True, default="", max_length=500)
    line = serializers.IntegerField(required=False, allow_null=True, default=None, min_value=1, max_value=1_000_000)
    answers = serializers.UUIDField(required=False, allow_null=True, default=None)


class ResolutionShape(serializers.Serializer[Any]):
    id = serializers.UUIDField()
    comment = serializers.UUIDField(source="comment_id")
    resolved = serializers.BooleanField()
    by = serializers.UUIDField(source="by_id")
    at = serializers.DateTimeField()


class NewResolution(serializers.Serializer[Any]):
    resolved = serializers.BooleanField(default=True)


class Comments(View):
    """What people say about one proposal."""

    @documented("List comments on a proposal", gives=CommentShape, listed=True)
    def get(self, request: Request, pk: UUID) -> Response:
        proposal = self.row(request, ROWS, pk, "proposal")
        return self.page(request, proposal.comments.select_related("author"), CommentShape)

    @documented("Comment on a proposal", takes=NewComment, gives=CommentShape, code=201)
    def post(self, request: Request, pk: UUID) -> Response:
        proposal = self.row(request, ROWS, pk, "proposal")
        asks = body(request, NewComment)
        says = {"author": self.person(request), "text": asks["text"], **asked(request)}
        if asks["answers"] is not None:
            first = (
                proposal.comments.select_related("proposal", "version", "answers").filter(pk=asks["answers"]).first()
            )
            if first is None:
                raise not_found("comment")
            return made(CommentShape(comments.answer(first, **says)).data)
        where = {name: asks[name] for name in ("digest", "path", "line")}
        return made(CommentShape(comments.add(proposal, **where, **says)).data)


class Resolutions(View):
    """Whether a comment is settled."""

    @documented("Settle a comment, or reopen it", takes=NewResolution, gives=ResolutionShape, code=201)
    def post(self, request: Request, pk: UUID) -> Response:
        row = Comment.objects.select_related("proposal", "answers__proposal").filter(pk=pk).first()
        self.row(request, Proposal.objects.all(), row.proposal_id if row else pk, "comment")
        comment = Comment.objects.select_related("proposal", "answers__proposal").get(pk=pk)
        known = set(comment.resolutions.values_list("pk", flat=True))
        resolved = body(request, NewResolution)["resolved"]
        settled = comments.settle(comment, resolved=resolved, actor=self.person(request), **asked(request))
        return made(ResolutionShape(settled).data, created=settled.pk not in known)
