"""Comments on the page of a proposal: made, answered, settled."""

from typing import Any
from uuid import UUID

from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import reverse

from audit.refusal import Refusal
from registry import comments
from registry.models import Comment
from registry.views import proposals
from registry.views.frame import Visit, page


@page("POST")
def comment(request: HttpRequest, visit: Visit, pk: UUID) -> HttpResponse:
    """Say something about a proposal, a part of it or a line; or answer somebody."""
    row = proposals.find(visit, pk)
    how: dict[str, Any] = {"author": visit.person, "now": visit.now, "correlation_id": visit.correlation_id}
    given = request.POST
    try:
        if given.get("answers"):
            first = _find(visit, _uuid(given["answers"]))
            made = comments.answer(first, text=given.get("text", ""), **how)
        else:
            made = comments.add(
                row,
                text=given.get("text", ""),
                digest=given.get("digest") or None,
                path=given.get("path", ""),
                line=_line(given.get("line", "")),
                **how,
            )
    except Refusal as refusal:
        if refusal.status == 404:
            raise
        return proposals.show(request, visit, row, refusal)
    messages.success(request, "Your comment is on record.")
    return redirect(f"{reverse('pages:proposal', args=[visit.workspace.slug, row.pk])}#comment-{made.pk}")


@page("POST")
def resolution(request: HttpRequest, visit: Visit, pk: UUID) -> HttpResponse:
    """Say that a comment is settled, or that it is not."""
    row = _find(visit, pk)
    resolved = request.POST.get("resolved", "1") == "1"
    how: dict[str, Any] = {"actor": visit.person, "now": visit.now, "correlation_id": visit.correlation_id}
    comments.settle(row, resolved=resolved, **how)
    address = reverse("pages:proposal", args=[visit.workspace.slug, row.proposal_id])
    return redirect(f"{address}#comment-{(row.answers or row).pk}")


def _find(visit: Visit, pk: UUID) -> Comment:
    rows = Comment.objects.select_related("proposal", "version", "answers__proposal", "answers__version")
    row = rows.filter(pk=pk, proposal__workspace=visit.workspace).first()
    if row is None:
        raise Http404
    return row


def _uuid(text: str) -> UUID:
    try:
        return UUID(text)
    except ValueError as error:
        raise Http404 from error


def _line(text: str) -> int | None:
    if not text.strip():
        return None
    if not (text.strip().isascii() and text.strip().isdecimal() and len(text.strip()) < 8):
        raise Refusal("line_unknown", "A line is a whole number from 1 on; leave it empty for the whole.", field="line")
    return int(text)
