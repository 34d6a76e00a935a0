"""Releases: what is live in each environment, since when, by whose word, and what is on its way."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.contrib import messages
from django.db.models import F, QuerySet, Window
from django.db.models.functions import RowNumber
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect

from audit.refusal import Refusal
from registry import activations, authentication, pdps
from registry.models import Activation, Approval, Environment, Pdp, Role, Slot, SlotHistory, Version
from registry.views import frame, moving, portions, proposals
from registry.views.frame import Visit, page

FEW = 10
PLACES = 6  # environments on one page
ROWS = 48  # of what is live, on one page
MOST = 20  # changes of one slot that are looked through for what it could be rolled back to
NEWEST = [F("at").desc(), F("id").desc()]
AGREED = ("activate", "founding")
REVIEWERS = frozenset({Role.REVIEWER, Role.SECURITY, Role.ADMIN})


@dataclass(frozen=True, slots=True)
class Live:
    """What stands in a slot: by which activation, approved by whom, and what it could be rolled back to."""

    slot: Slot
    activation: Activation | None
    voices: Sequence[Approval]
    earlier: Sequence[Version]


@dataclass(frozen=True, slots=True)
class Stand:
    """An environment: a page of what is live there, the first of the `count` activations on their way, and who decides.

    :param portion: of its slots, by id. :param points: the decision points heard from lately.
    """

    environment: Environment
    live: Sequence[Live]
    portion: portions.Portion[UUID]
    pending: Sequence[moving.Moving]
    count: int
    points: Sequence[Pdp]


@page()
def releases(request: HttpRequest, visit: Visit) -> HttpResponse:
    """Show every environment with its slots, pending activations, decision points and latest changes."""
    workspace = visit.workspace
    chosen = [each for each in visit.environments if visit.environment in (None, each)]
    shown = portions.cut(request, "environments", chosen, size=PLACES)
    stands = _places(request, visit, shown.rows)
    changes = SlotHistory.objects.filter(artifact__workspace=workspace).order_by("-at", "-id")
    if visit.environment is not None:
        changes = changes.filter(environment=visit.environment)
    unreviewed = Activation.objects.filter(
        workspace=workspace, kind="break_glass", state="live", reviewed_at=None
    ).select_related("version", "environment", "requested_by")
    context = {
        "environments": shown,
        "places": stands,
        "charter": _live(Slot.objects.filter(workspace=workspace, environment=None)),
        "changes": changes.select_related("environment", "version", "artifact", "activation__requested_by")[:FEW],
        "unreviewed": portions.cut(request, "reviews", unreviewed.order_by("requested_at", "pk"), size=FEW),
        "reviews": bool(visit.roles & REVIEWERS),
    }
    version = _version(stands)
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


def _places(request: HttpRequest, visit: Visit, environments: Sequence[Environment]) -> list[Stand]:
    """Return the environments with a page of what is live in each, all of them read together."""
    size = max(FEW, ROWS // max(1, len(environments)))
    slots = Slot.objects.filter(environment__in=environments).order_by("artifact__kind", "artifact__name")
    there: dict[UUID | None, list[UUID]] = defaultdict(list)
    for pk, place in slots.values_list("pk", "environment_id"):
        there[place].append(pk)
    parts = {each.pk: portions.cut(request, f"in-{each.name}", there[each.pk], size=size) for each in environments}
    wanted = [pk for part in parts.values() for pk in part.rows]
    live: dict[UUID | None, list[Live]] = defaultdict(list)
    for one in _live(Slot.objects.filter(pk__in=wanted)):
        live[one.slot.environment_id].append(one)
    pending: dict[UUID | None, list[moving.Moving]] = defaultdict(list)
    rows = Activation.objects.filter(environment__in=environments, state__in=moving.UNDER_WAY)
    known = rows.select_related("version", "requested_by").defer("version__content").order_by("requested_at")
    for on_the_way in moving.of(known, visit.now):
        pending[on_the_way.activation.environment_id].append(on_the_way)
    points: dict[UUID, list[Pdp]] = defaultdict(list)
    fresh = Pdp.objects.filter(environment__in=environments, last_seen__gt=visit.now - pdps.FRESH)
    for point in fresh.order_by("kind", "name"):
        points[point.environment_id].append(point)
    return [
        Stand(each, live[each.pk], parts[each.pk], pending[each.pk][:FEW], len(pending[each.pk]), points[each.pk])
        for each in environments
    ]


def _live(slots: QuerySet[Slot]) -> list[Live]:
    named = slots.select_related("artifact", "version").defer("version__content")
    rows = list(named.order_by("artifact__kind", "artifact__name"))
    past = SlotHistory.objects.filter(artifact__in=[row.artifact_id for row in rows])
    history: dict[tuple[UUID, UUID | None], list[SlotHistory]] = defaultdict(list)
    # Of each slot the newest entries, however often the others have changed.
    ranked = past.annotate(rank=Window(RowNumber(), partition_by=["artifact_id", "environment_id"], order_by=NEWEST))
    newest = ranked.filter(rank__lte=MOST).select_related("version", "activation__requested_by")
    for entry in newest.defer("version__content").order_by("-at", "-id"):
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


def _version(stands: Sequence[Stand]) -> object:
    there = sorted((str(one.slot.pk), str(one.slot.version_id)) for stand in stands for one in stand.live)
    on_the_way = sorted(
        (str(one.activation.pk), one.activation.state, len(one.behind)) for stand in stands for one in stand.pending
    )
    return there, on_the_way, [stand.count for stand in stands]
