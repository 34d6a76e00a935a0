"""Exports of the trail and checks of it, for people: ask, see how far it is, fetch."""

from uuid import UUID

from django.contrib import messages
from django.http import HttpRequest, HttpResponse, HttpResponseBase, StreamingHttpResponse
from django.shortcuts import redirect

from audit import files, formats, inspections, jobs, records
from audit.refusal import Refusal
from config.pages import trail
from gateway.views.filters import moment
from registry.views.frame import Visit, live, page


@page("POST")
def create(request: HttpRequest, visit: Visit) -> HttpResponse:
    """Fix what an export holds, and have it written."""
    trail.require_export(visit)
    try:
        job = files.create(
            visit.workspace.pk,
            form=request.POST.get("format", ""),
            first=_whole(request.POST.get("first", "")),
            narrow={
                "event": request.POST.get("event", "").strip() or None,
                "recorded_since": _moment(request, "recorded_since"),
                "recorded_until": _moment(request, "recorded_until"),
            },
            actor=visit.person.actor,
            now=visit.now,
            correlation_id=visit.correlation_id,
        )
    except Refusal as refusal:
        return trail.show(request, visit, refusal)
    return redirect("pages:export", visit.workspace.slug, job.pk)


@page()
def export(request: HttpRequest, visit: Visit, pk: UUID) -> HttpResponse:
    """Show one export: what it holds, how far it is, how to verify it."""
    trail.require_export(visit)
    job = jobs.get(visit.workspace.pk, pk, kind=files.KIND)
    context = {
        "job": job,
        "format": formats.FORMATS[job.detail["format"]],
        "holds": records.get(job.record).body["data"],
        "name": files.name(job),
        "state": records.state(visit.workspace.pk),
        "may_read_trail": trail.may_read(visit),
    }
    version = (job.state, job.done, job.code)
    return live(request, "audit/export.html", "audit/progress.html", context, name="export", version=version)


@page()
def content(request: HttpRequest, visit: Visit, pk: UUID) -> HttpResponseBase:
    """Send the file; that it was fetched is on record first."""
    trail.require_export(visit)
    job = jobs.get(visit.workspace.pk, pk, kind=files.KIND)
    how = {"actor": visit.person.actor, "now": visit.now, "correlation_id": visit.correlation_id}
    chunks = files.content(job, **how)  # type: ignore[arg-type]
    headers = {"Content-Disposition": f'attachment; filename="{files.name(job)}"', "Cache-Control": "no-store"}
    media = formats.FORMATS[job.detail["format"]].media_type
    return StreamingHttpResponse(chunks, content_type=media, headers=headers)


@page("POST")
def inspection(request: HttpRequest, visit: Visit) -> HttpResponse:
    """Have the log checked from its source rows."""
    trail.require(visit)
    how = {"actor": visit.person.actor, "now": visit.now, "correlation_id": visit.correlation_id}
    try:
        inspections.request(visit.workspace.pk, **how)  # type: ignore[arg-type]
    except Refusal as refusal:
        return trail.show(request, visit, refusal)
    messages.success(request, "The check is asked for. This page shows its result.")
    return redirect("pages:trail", visit.workspace.slug)


def _whole(text: str) -> int:
    if not text.strip():
        return 0
    try:
        return int(text)
    except ValueError as error:
        raise Refusal("first_out_of_range", "The first index is a whole number.", field="first") from error


def _moment(request: HttpRequest, name: str) -> str | None:
    text = request.POST.get(name, "").strip()
    if not text:
        return None
    at = moment(text)
    if at is None:
        raise Refusal("time_invalid", f"{text!r} is not a date with a time.", field=name)
    return at.isoformat()
