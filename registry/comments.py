"""Comments on a proposal: on the whole of it, on a member of one of its parts, on a line. They block nothing."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from django.db import transaction
from django.db.models import Q

from audit import log
from audit.canonical import JSON
from audit.refusal import Refusal, not_found
from registry import clock, memberships, versions
from registry.models import Comment, Person, Proposal, Resolution, Version

LONGEST = 4000


@dataclass(frozen=True, slots=True)
class Thread:
    """A comment with its answers. `settled` is what was said last about whether it is; None: nothing."""

    first: Comment
    answers: Sequence[Comment]
    settled: Resolution | None

    @property
    def open(self) -> bool:
        """Say whether it still waits for somebody."""
        return self.settled is None or not self.settled.resolved


def add(
    proposal: Proposal,
    *,
    author: Person,
    text: str,
    now: datetime,
    correlation_id: str,
    digest: str | None = None,
    path: str = "",
    line: int | None = None,
) -> Comment:
    """Say something about a proposal, open or not. Any member may.

    :param digest: of the version that it is about: the proposed one (None), a part of it, or an earlier version of
        either. :param path: JSON pointer into its content. :param line: from 1, of the text there.
    :raises Refusal: not_found, text_missing, text_too_long, digest_unknown, path_unknown, line_unknown.
    """
    _require_member(author, proposal)
    version = _version(proposal, digest)
    _require_place(version, path, line)
    with transaction.atomic():
        return _add(proposal, version, path, line, None, author, text, now, correlation_id)


def answer(comment: Comment, *, author: Person, text: str, now: datetime, correlation_id: str) -> Comment:
    """Answer a comment, or the one that it answers. :raises Refusal: not_found, text_missing, text_too_long."""
    _require_member(author, comment.proposal)
    first = comment.answers or comment
    with transaction.atomic():
        return _add(first.proposal, first.version, first.path, first.line, first, author, text, now, correlation_id)


def settle(comment: Comment, *, resolved: bool, actor: Person, now: datetime, correlation_id: str) -> Resolution:
    """Say that a comment with its answers is settled, or that it is not. Idempotent. :raises Refusal: not_found."""
    _require_member(actor, comment.proposal)
    first = comment.answers or comment
    with transaction.atomic():
        # Nobody else settles it between the look and the row.
        Proposal.objects.select_for_update().get(pk=first.proposal_id)
        latest = Resolution.objects.filter(comment=first).order_by("-at", "-id").first()
        if latest is not None and latest.resolved == resolved:
            return latest
        row = Resolution.objects.create(comment=first, resolved=resolved, by=actor, at=clock.read())
        log.append(
            "registry.comment.resolved" if resolved else "registry.comment.reopened",
            workspace=first.proposal.workspace_id,
            actor=actor.actor,
            correlation_id=correlation_id,
            now=now,
            subjects={"proposal": str(first.proposal_id), "comment": str(first.pk), "version": first.digest},
            data={},
        )
    return row


def threads(proposal: Proposal) -> list[Thread]:
    """Return what was said, the oldest first, in two queries."""
    rows = list(
        Comment.objects.filter(proposal=proposal)
        .select_related("author", "version")
        .defer("version__content")
        .order_by("at", "id")
    )
    answers: dict[UUID, list[Comment]] = defaultdict(list)
    for row in rows:
        if row.answers_id is not None:
            answers[row.answers_id].append(row)
    said = Resolution.objects.filter(comment__in=[row.pk for row in rows]).select_related("by")
    latest = {row.comment_id: row for row in said.order_by("at", "id")}
    return [Thread(row, answers[row.pk], latest.get(row.pk)) for row in rows if row.answers_id is None]


def _add(
    proposal: Proposal,
    version: Version,
    path: str,
    line: int | None,
    first: Comment | None,
    author: Person,
    text: str,
    now: datetime,
    correlation_id: str,
) -> Comment:
    if not text.strip():
        raise Refusal("text_missing", "Write what you want to say.", field="text")
    if len(text) > LONGEST:
        raise Refusal("text_too_long", f"A comment has at most {LONGEST} characters; shorten it.", field="text")
    row = Comment.objects.create(
        proposal=proposal,
        version=version,
        digest=version.digest,
        path=path,
        line=line,
        text=text,
        answers=first,
        author=author,
        at=clock.read(),
    )
    subjects = {"proposal": str(proposal.pk), "comment": str(row.pk), "version": version.digest}
    if first is not None:
        subjects["answers"] = str(first.pk)
    log.append(
        "registry.comment.added",
        workspace=proposal.workspace_id,
        actor=author.actor,
        correlation_id=correlation_id,
        now=now,
        subjects=subjects,
        data={"path": path, "line": line, "text": log.Sealed(text, subject=author.actor)},
    )
    return row


def _require_member(person: Person, proposal: Proposal) -> None:
    if not memberships.is_member(person, proposal.workspace_id):
        raise not_found("proposal")


def _version(proposal: Proposal, digest: str | None) -> Version:
    if digest in (None, "", proposal.version.digest):
        return proposal.version
    shown = Q(artifact=proposal.version.artifact_id) | Q(artifact__versions__pinned_by__version=proposal.version)
    row = Version.objects.filter(shown, workspace=proposal.workspace_id, digest=digest).first()
    if row is None:
        detail = "A comment is about the proposed version, a part of it, or an earlier version of either."
        raise Refusal("digest_unknown", detail, field="digest")
    return row


def _require_place(version: Version, path: str, line: int | None) -> None:
    value: JSON = versions.content_of(version)
    for part in path.removeprefix("/").split("/") if path else ():
        name = part.replace("~1", "/").replace("~0", "~")
        found = _member(value, name)
        if not path.startswith("/") or found is None:
            detail = f"The content of this version has nothing at {path!r}; use a JSON pointer such as /template."
            raise Refusal("path_unknown", detail, field="path")
        value = found[0]
    if line is not None and not (isinstance(value, str) and 1 <= line <= len(value.removesuffix("\n").split("\n"))):
        raise Refusal("line_unknown", "There is no such line in that text; lines count from 1.", field="line")


def _member(value: JSON, name: str) -> tuple[JSON] | None:
    if isinstance(value, Mapping):
        return (value[name],) if name in value else None
    if isinstance(value, list) and name.isdecimal() and name.isascii() and int(name) < len(value):
        return (value[int(name)],)
    return None
