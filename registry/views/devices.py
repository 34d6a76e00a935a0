"""Pages on which a person lets a program act as them, and takes that back."""

import time
from typing import Any
from uuid import UUID

from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils import timezone
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from audit.refusal import Refusal
from registry import devices, tokens
from registry.models import AccessToken, Person
from registry.views.frame import refused

# A code is one of 25 thousand million and lives ten minutes; this keeps a signed-in guesser slow as well.
MOST_MISSES = 10
_MISSES = "device_misses"


@require_http_methods(["GET", "HEAD", "POST"])
@never_cache
@login_required
def device(request: HttpRequest) -> HttpResponse:
    """Ask for a code, show which program asks, and take the answer."""
    person, now = _person(request), timezone.now()
    code = (request.POST or request.GET).get("code", "").strip()
    if code and _guesses(request) >= MOST_MISSES:
        detail = "Too many codes that nobody was given. Wait ten minutes, then run `placet login` again."
        return refused(request, Refusal("device_codes_limited", detail, status=429))
    row = devices.find(code) if code else None
    if code and row is None:
        request.session[_MISSES] = [*request.session.get(_MISSES, []), time.time()][-MOST_MISSES:]
    verdict = request.POST.get("verdict")
    context: dict[str, Any] = {"login": row, "code": code, "missed": bool(code) and row is None}
    if request.method == "POST" and row is not None and verdict in ("confirm", "refuse"):
        try:
            confirm = verdict == "confirm"
            row = devices.decide(row, person=person, confirm=confirm, now=now, correlation_id=_correlation(request))
        except Refusal as refusal:
            return refused(request, refusal)
        context = {"decided": row}
    return render(request, "registry/device.html", context)


@require_safe
@never_cache
@login_required
def access_tokens(request: HttpRequest) -> HttpResponse:
    """Show the visitor's own access tokens that have not ended."""
    return render(request, "registry/access_tokens.html", {"tokens": tokens.standing(_person(request))})


@require_POST
@login_required
def revocation(request: HttpRequest, pk: UUID) -> HttpResponse:
    """End one of the visitor's own access tokens."""
    person = _person(request)
    try:
        row: AccessToken = tokens.of(person, pk)
    except Refusal as refusal:
        return refused(request, refusal)
    tokens.revoke(row, actor=person.actor, now=timezone.now(), correlation_id=_correlation(request))
    return redirect("pages:access-tokens")


def _person(request: HttpRequest) -> Person:
    assert isinstance(request.user, Person)  # noqa: S101 - login_required
    return request.user


def _guesses(request: HttpRequest) -> int:
    since = time.time() - devices.LIFE.total_seconds()
    return len([at for at in request.session.get(_MISSES, []) if at > since])


def _correlation(request: HttpRequest) -> str:
    return str(getattr(request, "correlation_id", ""))
