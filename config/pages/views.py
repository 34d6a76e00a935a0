"""Choose a workspace, see at one glance what waits and what is live."""

from collections import defaultdict
from typing import Any

from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils.http import url_has_allowed_host_and_scheme
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_POST, require_safe

from gateway import deciders
from gateway.models import Alarm, Call, Credential, Hold
from registry import pdps
from registry.models import Environment, Grant, Membership, Person, Proposal, Slot, Stop
from registry.views import portions, queue
from registry.views.frame import ENVIRONMENT_COOKIE, Visit, page

FEW = 6
MOST_LIVE = 12  # of what is live in one environment, on the first page
MOST_PLACES = 12  # environments there
THEMES = ("light", "dark", "system")
YEAR = 365 * 24 * 3600


@require_safe
@never_cache
@login_required
def start(request: HttpRequest) -> HttpResponse:
    """Lead to the visitor's workspace, or let them choose one."""
    assert isinstance(request.user, Person)  # noqa: S101 - login_required
    members = Membership.objects.filter(person=request.user, active=True).select_related("workspace")
    found = portions.cut(request, "workspaces", members.order_by("workspace__name", "pk"), size=4 * portions.PAGE)
    if len(found.rows) == 1 and not found.beginning:
        return redirect("pages:home", found.rows[0].workspace.slug)
    return render(request, "start.html", {"members": found})


@require_POST
def theme(request: HttpRequest) -> HttpResponse:
    """Keep the choice of colours in a cookie that says nothing else."""
    response = redirect(_back(request, "/"))
    chosen = request.POST.get("theme")
    if chosen in THEMES:
        secure = request.is_secure()
        response.set_cookie("placet_theme", chosen, max_age=YEAR, httponly=True, samesite="Lax", secure=secure)
    return response


@page("POST")
def environment(request: HttpRequest, visit: Visit) -> HttpResponse:
    """Keep which environment the visitor looks at, in a cookie of this workspace alone; no name means all."""
    response = redirect(_back(request, reverse("pages:home", args=[visit.workspace.slug])))
    chosen = request.POST.get("environment", "")
    where = reverse("pages:home", args=[visit.workspace.slug])
    if chosen in {each.name for each in visit.environments}:
        secure = request.is_secure()
        response.set_cookie(
            ENVIRONMENT_COOKIE, chosen, max_age=YEAR, path=where, httponly=True, samesite="Lax", secure=secure
        )
    else:
        response.delete_cookie(ENVIRONMENT_COOKIE, path=where, samesite="Lax")
    return response


@page()
def home(request: HttpRequest, visit: Visit) -> HttpResponse:
    """Show what waits for the visitor, what is live, and what was not allowed lately."""
    workspace = visit.workspace
    narrow: dict[str, Any] = {"environment": visit.environment} if visit.environment else {}
    named: dict[str, Any] = {"environment": visit.environment.name} if visit.environment else {}
    open_ones = Proposal.objects.filter(workspace=workspace, state="open", expires_at__gt=visit.now, **narrow)
    listed = list(open_ones.select_related("version", "environment", "proposer").order_by("expires_at")[:50])
    waiting = dict(queue.groups(visit, listed))
    waits = Hold.objects.filter(workspace_id=workspace.pk, state="open", expires_at__gt=visit.now, **named)
    holds = waits.order_by("expires_at")
    shown = list(holds[: 2 * FEW])
    excluded = deciders.refusals(shown, visit.person)
    mine = [hold for hold, refusal in zip(shown, excluded, strict=True) if refusal is None][:FEW]
    calls = Call.objects.filter(workspace_id=workspace.pk, **named)
    standing = Stop.objects.filter(workspace=workspace, lifted_at=None).select_related("by").order_by("-at")
    context = {
        "proposals": waiting["Waits for you"][:FEW],
        "others": len(waiting.get("Waits for others", ())),
        "yours": waiting.get("Yours", [])[:FEW],
        "holds": mine,
        "unknown": calls.filter(state="unknown").order_by("-id")[:FEW],
        "stops": standing[:FEW],
        "more_stops": len(standing[FEW:]),
        "live": _live(visit),
        "more_places": 0 if visit.environment else len(visit.environments[MOST_PLACES:]),
        "refused": calls.filter(state="denied").order_by("-id")[:FEW],
    }
    return render(request, "home.html", context)


@page()
def settings(request: HttpRequest, visit: Visit) -> HttpResponse:
    """Show who may do what, the environments with their decision points, and the credentials. Changes go over REST."""
    workspace = visit.workspace
    members = (
        Membership.objects.filter(workspace=workspace)
        .select_related("person")
        .prefetch_related("grants__environment", "grants__granted_by", "grants__confirmed_by")
        .order_by("-active", "person__name", "pk")
    )
    points = pdps.shown().filter(environment__workspace=workspace)
    keyed = Credential.objects.filter(workspace=workspace).exclude(kind="executor").select_related("owner")
    people = portions.cut(request, "people", members)
    context = {
        "people": people,
        "members": [(member, _granted(member)) for member in people.rows],
        "environments": portions.cut(request, "environments", visit.environments),
        "alarms": portions.cut(request, "alarms", Alarm.objects.filter(workspace_id=workspace.pk).order_by("-pk")),
        "pdps": portions.cut(
            request,
            "decision-points",
            points.order_by("environment__protected", "environment__name", "-last_seen", "pk"),
        ),
        "credentials": portions.cut(
            request, "credentials", keyed.prefetch_related("keys").order_by("-created_at", "pk")
        ),
    }
    return render(request, "settings.html", context)


def _granted(member: Membership) -> list[Grant]:
    """Return what a member was granted and still holds."""
    return sorted(
        (grant for grant in member.grants.all() if grant.revoked_at is None),
        key=lambda grant: (grant.role, grant.environment.name if grant.environment else ""),
    )


def _back(request: HttpRequest, otherwise: str) -> str:
    """Return where the form said it was sent from, if that is on this site."""
    there = request.POST.get("next", "")
    return there if url_has_allowed_host_and_scheme(there, allowed_hosts=None) else otherwise


def _live(visit: Visit) -> list[tuple[Environment, list[Slot], int]]:
    """Return environments with the first of what is live there, and how much more there is."""
    slots: dict[object, list[Slot]] = defaultdict(list)
    shown = [each for each in visit.environments if visit.environment in (None, each)][:MOST_PLACES]
    rows = Slot.objects.filter(workspace=visit.workspace, environment__in=shown, version__isnull=False)
    named = rows.select_related("version", "artifact").defer("version__content")
    for slot in named.order_by("artifact__kind", "artifact__name"):
        slots[slot.environment_id].append(slot)
    return [(each, slots[each.pk][:MOST_LIVE], len(slots[each.pk][MOST_LIVE:])) for each in shown]
