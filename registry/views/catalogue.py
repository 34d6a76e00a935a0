"""The registry as pages: artifacts by kind, one artifact with its versions, one version with all that is known."""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from uuid import UUID

from django.db.models import Case, F, OuterRef, Q, Subquery, When
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render

from audit.refusal import Refusal
from registry import transitions
from registry.models import Approval, Artifact, Environment, Kind, Pin, Proposal, Slot, SlotHistory, Version, Workspace
from registry.views import comparison, known, portions
from registry.views.frame import Visit, page

PAGE = 100  # artifacts on one page
FEW = 5  # proposals of one version in a list of versions
NOUNS = {
    Kind.AGENT: "agents",
    Kind.POLICY: "policies",
    Kind.PROMPT: "prompts",
    Kind.TOOL: "tools",
    Kind.MODEL: "models",
    Kind.DATASET: "datasets",
    Kind.RUNBOOK: "runbooks",
    Kind.CHARTER: "charter",
}


# Who may end the life of a version, and what it means.
ENDS = {
    "deprecated": ({"author", "operator"}, "it should no longer be used; it stays live where it is"),
    "retired": ({"operator"}, "nothing new may propose it"),
    "revoked": ({"security", "admin"}, "every call that needs it is denied from now on, and it never comes back"),
}


@dataclass(frozen=True, slots=True)
class Place:
    """Where a version is live: by itself, or as a part of a live release."""

    environment: str
    version: Version
    release: Version | None = None


def live_places(workspace: Workspace) -> dict[UUID, list[Place]]:
    """Return, by artifact, where which of its versions is live."""
    places: dict[UUID, list[Place]] = defaultdict(list)
    slots = Slot.objects.filter(workspace=workspace, version__isnull=False).select_related("version", "environment")
    for slot in slots.order_by(F("environment__created_at").asc(nulls_first=True), "environment__name"):
        if slot.version is not None:
            name = slot.environment.name if slot.environment else "workspace"
            places[slot.artifact_id].append(Place(name, slot.version))
    pins = Pin.objects.filter(version__slots__workspace=workspace).select_related("part", "version")
    for pin in pins.annotate(environment=F("version__slots__environment__name")).order_by(
        "environment", "version__name"
    ):
        places[pin.part.artifact_id].append(Place(pin.environment, pin.part, pin.version))
    return places


@page()
def artifacts(request: HttpRequest, visit: Visit) -> HttpResponse:
    """List what is registered, by kind."""
    kind = request.GET.get("kind", "")
    word = request.GET.get("q", "").strip()
    newest = Version.objects.filter(artifact=OuterRef("pk")).order_by("-number")
    rows = Artifact.objects.filter(workspace=visit.workspace).annotate(
        newest_at=Subquery(newest.values("created_at")[:1]),
        place=Case(*(When(kind=name, then=number) for number, name in enumerate(NOUNS)), default=len(NOUNS)),
    )
    if kind in Kind.values:
        rows = rows.filter(kind=kind)
    if word:
        rows = rows.filter(name__icontains=word)
    after, _, name = request.GET.get("after", "").partition("/")
    if after in NOUNS:
        here = list(NOUNS).index(Kind(after))
        rows = rows.filter(Q(place__gt=here) | Q(place=here, name__gt=name))
    found = list(rows.order_by("place", "name")[: PAGE + 1])
    places = live_places(visit.workspace)
    listed: dict[str, list[tuple[Artifact, list[Place]]]] = {name: [] for name in NOUNS}
    for row in found[:PAGE]:
        listed[row.kind].append((row, places.get(row.pk, [])))
    groups = [(kind, NOUNS[Kind(kind)], rows) for kind, rows in listed.items() if rows]
    last = found[PAGE - 1] if len(found) > PAGE else None
    context = {
        "groups": groups,
        "kind": kind,
        "q": word,
        "kinds": NOUNS.items(),
        "given": request.GET,
        "next": f"{last.kind}/{last.name}" if last else None,
    }
    return render(request, "registry/artifacts.html", context)


@page()
def artifact(request: HttpRequest, visit: Visit, kind: str, name: str) -> HttpResponse:
    """Show one artifact: its versions, where they are live, who asked for what."""
    row = _artifact(visit, kind, name)
    rows = row.versions.select_related("lifecycle").prefetch_related("contributors__person").defer("content")
    versions = portions.cut(request, "versions", rows.order_by("-number"))
    asked: dict[UUID, list[Proposal]] = defaultdict(list)
    those = Proposal.objects.filter(version__in=versions.rows).select_related("environment")
    for proposal in those.order_by("-opened_at"):
        asked[proposal.version_id].append(proposal)
    places: dict[UUID, list[Place]] = defaultdict(list)
    for place in live_places(visit.workspace).get(row.pk, []):
        places[place.version.pk].append(place)
    listed = [(row, places[row.pk], asked[row.pk][:FEW], len(asked[row.pk][FEW:])) for row in versions.rows]
    return render(request, "registry/artifact.html", {"artifact": row, "listed": listed, "versions": versions})


@page()
def version(request: HttpRequest, visit: Visit, kind: str, name: str, number: int) -> HttpResponse:
    """Show one version: content, or the difference to another one; checks, provenance, approvals, use."""
    return show(request, visit, find(visit, kind, name, number))


def find(visit: Visit, kind: str, name: str, number: int) -> Version:
    """Return a version of the visitor's workspace. :raises Http404: if there is none."""
    rows = Version.objects.select_related("lifecycle", "artifact")
    row = rows.filter(workspace=visit.workspace, kind=kind, name=name, number=number).first()
    if row is None:
        raise Http404
    return row


def show(request: HttpRequest, visit: Visit, shown: Version, refusal: Refusal | None = None) -> HttpResponse:
    """Return the page of a version, with what was refused there."""
    row = shown.artifact
    shown.lifecycle.refresh_from_db()
    places = live_places(visit.workspace).get(row.pk, [])
    used = Pin.objects.filter(part=shown).select_related("version").defer("version__content")
    asked = shown.proposals.select_related("environment", "proposer")
    given = Approval.objects.filter(version=shown).select_related("approver", "environment", "version")
    said = portions.cut(request, "approvals", given.order_by("-at", "pk"))
    context = {
        "artifact": row,
        "may_write": "author" in visit.roles,
        "may_identify": "admin" in visit.roles_in(None),
        "ends": _ends(visit, shown),
        "lost_places": _lost_places(visit, shown),
        "version": shown,
        "can_propose": shown.lifecycle.state in ("available", "deprecated")
        and visit.roles & ({"author", "admin"} if shown.kind == Kind.CHARTER else {"author"}),
        "refusal": refusal,
        "given": {name: request.POST.get(name, "") for name in ("reason", "state", "environment")},
        "others": row.versions.exclude(pk=shown.pk).order_by("-number").values_list("number", flat=True)[:200],
        "places": [place for place in places if place.version.pk == shown.pk],
        "used_by": portions.cut(request, "used-by", used.order_by("version__name", "-version__number")),
        "proposals": portions.cut(request, "proposals", asked.order_by("-opened_at", "pk")),
        "said": said,
        "voices": known.voices(said.rows),
        "environments": visit.environments,
        "hands": known.hands([shown]),
        **known.of([shown]),
        **_content(request, shown),
    }
    return render(request, "registry/version.html", context, status=refusal.status if refusal else 200)


def _ends(visit: Visit, version: Version) -> list[tuple[str, str]]:
    """Return (state, what it means) of each end that the visitor may bring about."""
    everywhere = visit.roles_in(None)
    return [
        (state, words)
        for state, (roles, words) in ENDS.items()
        if everywhere & roles and state in transitions.LIFECYCLE[version.lifecycle.state]
    ]


def _lost_places(visit: Visit, version: Version) -> list[Environment | None]:
    """Return where the version was live by agreement, is no more, and the visitor may bring it back."""
    agreed = SlotHistory.objects.filter(version=version, kind__in=("activate", "founding"))
    was = set(agreed.values_list("environment_id", flat=True))
    live = set(Slot.objects.filter(version=version).values_list("environment_id", flat=True))
    places: list[Environment | None] = [None, *visit.environments]
    return [
        place
        for place in places
        if (place.pk if place else None) in was - live
        and version.lifecycle.state != "revoked"
        and visit.roles_in(place) & ({"operator"} if place else {"operator", "admin"})
    ]


def _content(request: HttpRequest, version: Version) -> dict[str, object]:
    against = request.GET.get("against", "")
    base = (
        Version.objects.filter(artifact_id=version.artifact_id, number=int(against)).first()
        if _number(against)
        else None
    )
    if base is not None:
        shown = comparison.compare(version, base, f"version {base.number}")
    else:
        shown = comparison.compare(version, None, "", deep=False)
    pins: Iterable[Pin] = ()
    if version.kind == Kind.AGENT:
        pins = version.pins.select_related("part", "part__lifecycle").order_by("part__kind", "part__name")
    return {"comparison": shown, "against": base, "pins": pins}


def _artifact(visit: Visit, kind: str, name: str) -> Artifact:
    row = Artifact.objects.filter(workspace=visit.workspace, kind=kind, name=name).first()
    if row is None:
        raise Http404
    return row


def _number(text: str) -> bool:
    return text.isdecimal() and text.isascii() and len(text) < 10
