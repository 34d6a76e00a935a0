"""Releases: what is live in each environment, since when, by whose word, and what is on its way."""

from collections import defaultdict
from uuid import UUID

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render

from audit.refusal import Refusal
from registry import activations, authentication, pdps
from registry.models import Activation, Pdp, Slot, SlotHistory
from registry.views import proposals
from registry.views.frame import Visit, page

FEW = 10


@page()
def releases(request: HttpRequest, visit: Visit) -> HttpResponse:
    """Show every environment with its slots, pending activations, decision points and latest changes."""
    workspace = visit.workspace
    slots: dict[UUID | None, list[Slot]] = defaultdict(list)
    live = Slot.objects.filter(workspace=workspace).select_related("artifact", "version")
    for slot in live.order_by("artifact__kind", "artifact__name"):
        slots[slot.environment_id].append(slot)
    pending: dict[UUID | None, list[Activation]] = defaultdict(list)
    moving = Activation.objects.filter(workspace=workspace, state__in=["requested", "published"])
    for activation in moving.select_related("version", "requested_by").order_by("requested_at"):
        pending[activation.environment_id].append(activation)
    points: dict[UUID, list[Pdp]] = defaultdict(list)
    fresh = Pdp.objects.filter(environment__workspace=workspace, last_seen__gt=visit.now - pdps.FRESH)
    for point in fresh.order_by("kind", "name"):
        points[point.environment_id].append(point)
    changes = SlotHistory.objects.filter(artifact__workspace=workspace).order_by("-at", "-id")
    context = {
        "places": [
            (environment, slots[environment.pk], pending[environment.pk], points[environment.pk])
            for environment in visit.environments
            if visit.environment in (None, environment)
        ],
        "charter": slots[None],
        "changes": changes.select_related("environment", "version", "artifact", "activation__requested_by")[:FEW],
    }
    return render(request, "registry/releases.html", context)


@page("POST")
def activation(request: HttpRequest, visit: Visit, pk: UUID) -> HttpResponse:
    """Ask that an approved proposal go live."""
    row = proposals.find(visit, pk)
    try:
        if request.POST.get("digest") != row.version.digest:
            raise Refusal("digest_mismatch", "The page showed another version; reload it.", status=412)
        activations.request(
            row,
            actor=visit.person,
            reason=request.POST.get("reason", ""),
            now=visit.now,
            correlation_id=visit.correlation_id,
            proof=authentication.of(request),
        )
    except Refusal as refusal:
        return proposals.answer(request, visit, row, refusal)
    messages.success(request, "The activation is requested. It is live when every decision point has the bundle.")
    return redirect("pages:proposal", visit.workspace.slug, row.pk)
