"""The kill switch as a page: stop, see what could not be stopped, let go on."""

from uuid import UUID

from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render

from audit.refusal import Refusal
from gateway import reach
from registry import stops
from registry.models import Stop
from registry.views import portions
from registry.views.frame import Visit, page

SCOPES = (
    ("agent", "One agent, in every environment"),
    ("tool", "One tool, whoever calls it"),
    ("workspace", "The whole workspace"),
)


@page("GET", "HEAD", "POST")
def stop_list(request: HttpRequest, visit: Visit) -> HttpResponse:
    """List what is stopped, and stop something."""
    if request.method != "POST":
        return _listed(request, visit)
    scope = request.POST.get("scope", "")
    try:
        row = stops.set(
            visit.workspace,
            scope=scope,
            target="" if scope == "workspace" else request.POST.get("target", "").strip(),
            reason=request.POST.get("reason", ""),
            by=visit.person,
            now=visit.now,
            correlation_id=visit.correlation_id,
        )
    except Refusal as refusal:
        return _listed(request, visit, refusal)
    messages.success(request, "It is stopped: every call that is decided from now on is denied.")
    return redirect("pages:stop", visit.workspace.slug, row.pk)


@page()
def stop(request: HttpRequest, visit: Visit, pk: UUID) -> HttpResponse:
    """Show one stop with what it came too late for."""
    row = _find(visit, pk)
    calls = reach.since(row)
    acting = [named for named, call in calls if call is not None and call.state in reach.ACTING]
    context = {
        "stop": row,
        "calls": calls,
        "acting": len(acting),
        "more": max(0, row.reach.get("under_way", 0) - len(calls)),
        "may_lift": row.lifted_at is None and bool(visit.roles & set(stops.ROLES)),
    }
    return render(request, "gateway/stop.html", context)


@page("POST")
def lifting(request: HttpRequest, visit: Visit, pk: UUID) -> HttpResponse:
    """Let calls go on."""
    row = stops.lift(_find(visit, pk), by=visit.person, now=visit.now, correlation_id=visit.correlation_id)
    messages.success(request, "The stop is lifted: calls are decided again.")
    return redirect("pages:stop", visit.workspace.slug, row.pk)


def _find(visit: Visit, pk: UUID) -> Stop:
    row = Stop.objects.select_related("by", "lifted_by").filter(pk=pk, workspace=visit.workspace).first()
    if row is None:
        raise Http404
    return row


def _listed(request: HttpRequest, visit: Visit, refusal: Refusal | None = None) -> HttpResponse:
    rows = Stop.objects.filter(workspace=visit.workspace).select_related("by", "lifted_by").order_by("-at", "pk")
    context = {
        "standing": portions.cut(request, "standing", rows.filter(lifted_at=None)),
        "past": portions.cut(request, "lifted", rows.exclude(lifted_at=None)),
        "scopes": SCOPES,
        "given": request.POST if refusal else request.GET,
        "may_stop": bool(visit.roles & set(stops.ROLES)),
        "refusal": refusal,
    }
    return render(request, "gateway/stops.html", context, status=refusal.status if refusal else 200)
