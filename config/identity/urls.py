"""Addresses of sign-in and of one's own account. Each change and its record share one transaction."""

from collections.abc import Callable, Iterable
from functools import wraps
from typing import Any

from allauth.account import views as account
from allauth.account.adapter import get_adapter
from allauth.mfa.base import views as factors
from allauth.mfa.recovery_codes import views as recovery_codes
from allauth.mfa.totp import views as totp
from allauth.mfa.webauthn import views as keys
from django.conf import settings
from django.contrib.auth import views as django
from django.db import transaction
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import URLPattern, path
from django.utils import timezone
from django.utils.http import urlencode
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods

from config.identity import provider
from config.pages import account as own
from registry import authentication

GET, POST = ("GET", "HEAD"), ("POST",)
View = Callable[..., HttpResponse]


def page(view: View, methods: Iterable[str] = (*GET, *POST)) -> View:
    """Return `view` for `methods` alone, never cached, in one transaction."""

    @wraps(view)
    @never_cache
    @require_http_methods(list(methods))
    def shown(request: HttpRequest, **about: Any) -> HttpResponse:
        with transaction.atomic():
            return view(request, **about)

    return shown


def change(view: View) -> View:
    """Return the page of a change to one's account. allauth asks for a fresh proof first; where it lets pass whoever
    has neither a password nor a factor here, we ask for a fresh sign-in."""

    @wraps(view)
    def shown(request: HttpRequest, **about: Any) -> HttpResponse:
        if request.user.is_authenticated and not get_adapter().get_reauthentication_methods(request.user):
            proof = authentication.of(request)
            if proof is None or timezone.now() - proof.at > settings.PLACET_STEP_UP:
                return redirect(f"/account/confirm/?{urlencode({'next': request.path})}")
        return view(request, **about)

    return page(shown)


urlpatterns: list[URLPattern] = [
    # Not in a transaction: what is counted against who guesses passwords must stay whatever happens.
    path("login/", never_cache(require_http_methods([*GET, *POST])(account.login)), name="account_login"),
    path("logout/", django.LogoutView.as_view(), name="account_logout"),
    path("login/factor/", page(factors.authenticate), name="mfa_authenticate"),
    path("login/inactive/", page(account.account_inactive, GET), name="account_inactive"),
    path("login/cancelled/", page(own.cancelled, GET), name="socialaccount_login_cancelled"),
    # allauth names the identities of a person, their factors and their keys; we show all of them on one page.
    path("account/", page(own.overview, GET), name="account"),
    path("account/", page(own.overview, GET), name="mfa_index"),
    path("account/", page(own.overview, GET), name="mfa_list_webauthn"),
    path("account/", page(own.overview, GET), name="socialaccount_connections"),
    path("account/", page(own.overview, GET), name="account_set_password"),
    path("account/password/", page(account.password_change), name="account_change_password"),
    path("account/confirm/", page(own.confirm), name="account_confirm"),
    path("account/confirm/password/", page(account.reauthenticate), name="account_reauthenticate"),
    path("account/confirm/code/", page(factors.reauthenticate), name="mfa_reauthenticate"),
    path("account/confirm/key/", page(keys.reauthenticate_webauthn), name="mfa_reauthenticate_webauthn"),
    path("account/app/", change(totp.activate_totp), name="mfa_activate_totp"),
    path("account/app/removal/", change(own.app_removal), name="mfa_deactivate_totp"),
    path("account/codes/", page(own.codes, GET), name="mfa_view_recovery_codes"),
    path("account/codes/new/", change(recovery_codes.generate_recovery_codes), name="mfa_generate_recovery_codes"),
    path("account/keys/", change(keys.add_webauthn), name="mfa_add_webauthn"),
    path("account/keys/<int:pk>/removal/", change(keys.remove_webauthn), name="mfa_remove_webauthn"),
    path("account/sessions/", page(own.sessions), name="usersessions_list"),
]
PROVIDER: list[URLPattern] = [
    path("oidc/<str:provider_id>/login/", page(provider.login), name="openid_connect_login"),
    path("oidc/<str:provider_id>/callback/", page(provider.callback, GET), name="openid_connect_callback"),
]
if settings.PLACET_OIDC_NAME:
    urlpatterns += PROVIDER
