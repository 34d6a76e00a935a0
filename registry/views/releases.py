"""Releases: what is live in each environment, since when, by whose word, and what is on its way."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect

from audit.refusal import Refusal
from registry import activations, authentication, pdps
from registry.models import Activation, Approval, Pdp, Role, Slot, SlotHistory, Version
from registry.views import frame, moving, proposals
from registry.views.frame import Visit, page

FEW = 10
MOST = 500
AGREED = ("activate", "founding")
REVIEWERS = frozenset({Role.REVIEWER, Role.SECURITY, Role.ADMIN})


@dataclass(frozen=True, slots=True)
class Live:
    """What stands in a slot: by which activation, approved by whom, and what it could be rolled back to."""

    slot: Slot
    activation: Activation | None
    voices: Sequence[Approval]
    earlier: Sequence[Version]


@page()
def releases(request: HttpRequest, visit: Visit) -> HttpResponse:
    """Show every environment with its slots, pending activations, decision points and latest changes."""
    workspace = visit.workspace
    shown = [each for each in visit.environments if visit.environment in (None, each)]
    live: dict[UUID | None, list[Live]] = defaultdict(list)
    for one in _live(visit):
        live[one.slot.environment_id].append(one)
    pending: dict[UUID | None, list[moving.Moving]] = defaultdict(list)
    rows = Activation.objects.filter(workspace=workspace, state__in=moving.UNDER_WAY)
    for on_the_way in moving.of(rows.select_related("version", "requested_by").order_by("requested_at"), visit.now):
        pending[on_the_way.activation.environment_id].append(on_the_way)
    points: dict[UUID, list[Pdp]] = defaultdict(list)
    fresh = Pdp.objects.filter(environment__workspace=workspace, last_seen__gt=visit.now - pdps.FRESH)
    for point in fresh.order_by("kind", "name"):
        points[point.environment_id].append(point)
    changes = SlotHistory.objects.filter(artifact__workspace=workspace).order_by("-at", "-id")
    if visit.environment is not None:
        changes = changes.filter(environment=visit.environment)
    context = {
        "places": [(each, live[each.pk], pending[each.pk], points[each.pk]) for each in shown],
        "charter": live[None],
        "changes": changes.select_related("environment", "version", "artifact", "activation__requested_by")[:FEW],
        "unreviewed": Activation.objects.filter(
            workspace=workspace, kind="break_glass", state="live", reviewed_at=None
        ).select_related("version", "environment", "requested_by"),
        "reviews": bool(visit.roles & REVIEWERS),
    }
    version = _version(live, pending)
    return frame.live(
        request, "registry/releases.html", "registry/places.html", context, name="places", version=version
    )


@page("POST")
def review(request: HttpRequest, visit: Visit, pk: UUID) -> HttpResponse:
    """Write down a second person's review of a break-glass activation."""
    row = Activation.objects.filter(pk=pk, workspace=visit.workspace).first()
    if row is None:
        raise Http404
    comment = request.POST.get("comment", "")
    how: dict[str, Any] = {"now": visit.now, "correlation_id": visit.correlation_id}
    activations.review(row, reviewer=visit.person, comment=comment, **how)
    messages.success(request, "Your review is on record.")
    return redirect("pages:releases", visit.workspace.slug)


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


def _live(visit: Visit) -> list[Live]:
    slots = Slot.objects.filter(workspace=visit.workspace).select_related("artifact", "version")
    rows = list(slots.defer("version__content").order_by("artifact__kind", "artifact__name"))
    past = SlotHistory.objects.filter(artifact__in=[row.artifact_id for row in rows])
    history: dict[tuple[UUID, UUID | None], list[SlotHistory]] = defaultdict(list)
    for entry in (
        past.select_related("version", "activation__requested_by")
        .defer("version__content")
        .order_by("-at", "-id")[:MOST]
    ):
        history[entry.artifact_id, entry.environment_id].append(entry)
    versions = [row.version_id for row in rows if row.version_id is not None]
    said: dict[tuple[UUID, UUID | None], list[Approval]] = defaultdict(list)
    given = Approval.objects.filter(version__in=versions, verdict="approve", withdrawn_at=None)
    for voice in given.select_related("approver").order_by("at"):
        said[voice.version_id, voice.environment_id].append(voice)
    found = []
    for row in rows:
        entries = history[row.artifact_id, row.environment_id]
        earlier = {
            entry.version.pk: entry.version
            for entry in entries
            if entry.version is not None and entry.version_id != row.version_id and entry.kind in AGREED
        }
        latest = entries[0].activation if entries else None
        voices = said[row.version_id, row.environment_id] if row.version_id is not None else []
        found.append(Live(row, latest, voices, list(earlier.values())[:3]))
    return found


def _version(
    live: Mapping[UUID | None, Sequence[Live]], pending: Mapping[UUID | None, Sequence[moving.Moving]]
) -> object:
    there = sorted((str(one.slot.pk), str(one.slot.version_id)) for those in live.values() for one in those)
    on_the_way = sorted(
        (str(one.activation.pk), one.activation.state, len(one.behind)) for those in pending.values() for one in those
    )
    return there, on_the_way
