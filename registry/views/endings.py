"""What those who may do with a version on its page: end its life, bring it back, check it again, name a committer."""

from typing import Any

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import reverse

from audit.refusal import Refusal
from registry import activations, authentication, contributors, versions, workspaces
from registry.models import Person, Version
from registry.views import catalogue, frame
from registry.views.frame import Visit, page

ENDS = {"deprecated": versions.deprecate, "retired": versions.retire, "revoked": versions.revoke}


@page("POST")
def lifecycle(request: HttpRequest, visit: Visit, kind: str, name: str, number: int) -> HttpResponse:
    """Deprecate, retire or revoke a version."""
    version = catalogue.find(visit, kind, name, number)
    state = request.POST.get("state", "")
    try:
        _require_seen(request, version)
        if state not in ENDS:
            raise Refusal("state_unknown", "Choose deprecated, retired or revoked.", field="state")
        ENDS[state](version, reason=request.POST.get("reason", ""), **_by(visit))
    except Refusal as refusal:
        return catalogue.show(request, visit, version, refusal)
    return _done(request, visit, version, f"Version {version.number} is {state}.")


@page("POST")
def rollback(request: HttpRequest, visit: Visit, kind: str, name: str, number: int) -> HttpResponse:
    """Bring back a version that was live in a slot by agreement."""
    version = catalogue.find(visit, kind, name, number)
    try:
        _require_seen(request, version)
        where = request.POST.get("environment", "")
        environment = workspaces.environment(visit.workspace.pk, where) if kind != "charter" else None
        how = _by(visit) | {"proof": authentication.of(request)}
        activations.roll_back(version, environment, reason=request.POST.get("reason", ""), **how)
    except Refusal as refusal:
        if refusal.code == "step_up_required":
            return frame.confirm(request, _address(visit, version))
        return catalogue.show(request, visit, version, refusal)
    messages.success(request, f"{version.name} {version.number} is on its way back.")
    return redirect("pages:releases", visit.workspace.slug)


@page("POST")
def checks(request: HttpRequest, visit: Visit, kind: str, name: str, number: int) -> HttpResponse:
    """Run the admission checks of a version once more."""
    version = catalogue.find(visit, kind, name, number)
    try:
        rows = versions.check_again(version, **_by(visit))
    except Refusal as refusal:
        return catalogue.show(request, visit, version, refusal)
    failed = sum(not row.passed for row in rows)
    return _done(request, visit, version, f"Checked again: {len(rows) - failed} passed, {failed} failed.")


@page("POST")
def identity(request: HttpRequest, visit: Visit, kind: str, name: str, number: int) -> HttpResponse:
    """Say which member an unknown commit identity of a version belongs to."""
    version = catalogue.find(visit, kind, name, number)
    try:
        person = Person.objects.filter(
            username=request.POST.get("username", ""), memberships__workspace=visit.workspace
        ).first()
        if person is None:
            raise Refusal("person_unknown", "No member has this user name.", field="username")
        contributors.identify(version, request.POST.get("identity", ""), person, **_by(visit))
    except Refusal as refusal:
        return catalogue.show(request, visit, version, refusal)
    return _done(request, visit, version, f"{person.get_full_name()} is a contributor of this version from now on.")


def _by(visit: Visit) -> dict[str, Any]:
    return {"actor": visit.person, "now": visit.now, "correlation_id": visit.correlation_id}


def _require_seen(request: HttpRequest, version: Version) -> None:
    if request.POST.get("digest") != version.digest:
        raise Refusal("digest_mismatch", "The page showed another version; reload it.", status=412)


def _address(visit: Visit, version: Version) -> str:
    return reverse("pages:version", args=[visit.workspace.slug, version.kind, version.name, version.number])


def _done(request: HttpRequest, visit: Visit, version: Version, words: str) -> HttpResponse:
    messages.success(request, words)
    return redirect(_address(visit, version))
