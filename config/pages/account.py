"""One's own account: what proves who one is, and where one is signed in."""

from typing import Any, cast

from allauth.account.adapter import get_adapter
from allauth.account.utils import get_next_redirect_url
from allauth.mfa.models import Authenticator
from allauth.mfa.recovery_codes.views import view_recovery_codes
from allauth.mfa.totp.views import deactivate_totp
from allauth.socialaccount.models import SocialAccount
from allauth.usersessions.models import UserSession
from allauth.usersessions.views import ListUserSessionsView
from django.conf import settings
from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils.http import urlencode

from registry.models import Membership, Person
from registry.views import portions

sessions = ListUserSessionsView.as_view(success_url="/account/")


@login_required
def overview(request: HttpRequest) -> HttpResponse:
    """Show password, second factors, identities and sessions, each with what can be done about it."""
    person = cast(Person, request.user)
    factors = list(Authenticator.objects.filter(user=person).order_by("created_at"))
    codes = next((row for row in factors if row.type == Authenticator.Type.RECOVERY_CODES), None)
    members = Membership.objects.filter(person=person, active=True).select_related("workspace")
    context = {
        "app": next((row for row in factors if row.type == Authenticator.Type.TOTP), None),
        "keys": [row for row in factors if row.type == Authenticator.Type.WEBAUTHN],
        "codes": codes,
        "codes_left": len(codes.wrap().get_unused_codes()) if codes else 0,
        "identities": SocialAccount.objects.filter(user=person),
        "provider": settings.PLACET_OIDC_NAME,
        "sessions": portions.cut(request, "sessions", sessions_of(person)),
        "workspaces": portions.cut(request, "workspaces", members.order_by("workspace__name", "pk")),
    }
    return render(request, "account/overview.html", context)


def sessions_of(person: Person) -> list[UserSession]:
    """Return where a person is signed in, the newest first."""
    return sorted(UserSession.objects.purge_and_list(person), key=lambda row: row.created_at, reverse=True)


@login_required
def confirm(request: HttpRequest) -> HttpResponse:
    """Lead to the strongest way in which the visitor can prove again who they are; they come back afterwards."""
    there = get_next_redirect_url(request) or "/"
    methods: list[dict[str, Any]] = get_adapter().get_reauthentication_methods(request.user)
    if not methods:
        # Nothing of theirs is here: the organisation's provider has to vouch for them again.
        context = {"there": there, "provider": settings.PLACET_OIDC_NAME}
        return render(request, "account/confirm.html", context)
    return redirect(f"{methods[0]['url']}?{urlencode({'next': there})}")


@login_required
def codes(request: HttpRequest) -> HttpResponse:
    """Show new recovery codes, once; afterwards how many are left."""
    if not Authenticator.objects.filter(user=cast(Person, request.user), type="recovery_codes").exists():
        return redirect("account")
    shown: HttpResponse = view_recovery_codes(request)
    return shown


@login_required
def app_removal(request: HttpRequest) -> HttpResponse:
    """Remove the authenticator app, if there is one."""
    if not Authenticator.objects.filter(user=cast(Person, request.user), type="totp").exists():
        return redirect("account")
    shown: HttpResponse = deactivate_totp(request)
    return shown


def cancelled(request: HttpRequest) -> HttpResponse:
    """Say that the visitor turned back at the provider."""
    return render(request, "socialaccount/login_cancelled.html")
