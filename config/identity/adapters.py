"""Where allauth asks us: nobody signs up, secrets are sealed, strangers are refused, changes are recorded."""

import base64
from typing import Any, cast

from allauth.account.adapter import DefaultAccountAdapter
from allauth.core import context
from allauth.core.exceptions import ImmediateHttpResponse
from allauth.mfa.adapter import DefaultMFAAdapter
from allauth.socialaccount.adapter import DefaultSocialAccountAdapter
from allauth.socialaccount.providers.base import AuthProcess
from cryptography.fernet import Fernet, MultiFernet
from django.core.cache import cache
from django.core.exceptions import ValidationError
from django.db import transaction
from django.http import HttpRequest
from django.shortcuts import render
from django.urls import reverse
from django.utils import timezone

from audit import keys
from audit.uuid7 import uuid7
from config.identity.provider import Session
from registry import people
from registry.models import Person

THROTTLED_SECONDS = 300


def correlation_id(request: HttpRequest | None) -> str:
    """Return the id under which what `request` causes is recorded."""
    return str(getattr(request, "correlation_id", "") or uuid7())


def shown(person: Person) -> str:
    """Return how a person is called on a page."""
    return person.get_full_name()


class Accounts(DefaultAccountAdapter):  # type: ignore[misc]
    """Passwords and sessions."""

    error_messages = DefaultAccountAdapter.error_messages | {
        "username_password_mismatch": "Please enter a correct username and password; both may be case-sensitive.",
        "too_many_login_attempts": "Too many failed attempts. Wait five minutes, then try again.",
    }

    def is_open_for_signup(self, request: HttpRequest) -> bool:
        """Nobody signs up: people are made with manage.py and added to a workspace by its admins."""
        return False

    def pre_authenticate(self, request: HttpRequest, **credentials: Any) -> None:
        """Refuse who failed too often; once for each wait, put it on record."""
        try:
            super().pre_authenticate(request, **credentials)
        except ValidationError:
            _record_throttling(request, str(credentials.get("username", "")))
            raise

    def set_password(self, user: Person, password: str) -> None:
        """Change a password, with its record."""
        request = context.request
        people.set_password(
            user, password, actor=user.actor, now=timezone.now(), correlation_id=correlation_id(request)
        )

    def get_password_change_redirect_url(self, request: HttpRequest) -> str:
        """Lead back to the account."""
        return reverse("account")

    def get_reauthentication_methods(self, user: Any) -> list[dict[str, Any]]:
        """Return how `user` can prove again who they are: by a second factor, if they have one, and by nothing less."""
        methods = super().get_reauthentication_methods(user)
        stronger = [method for method in methods if method["id"] != "reauthenticate"]
        return cast(list[dict[str, Any]], stronger or methods)

    def send_mail(self, template_prefix: str, email: str, context: dict[str, Any]) -> None:
        """Send nothing: an installation has no mail server, and no flow here needs one."""


class Factors(DefaultMFAAdapter):  # type: ignore[misc]
    """Second factors. Their secrets are useless to who reads the database alone."""

    error_messages = DefaultMFAAdapter.error_messages | {
        "incorrect_code": "That code is not right, or was used before."
    }

    def encrypt(self, text: str) -> str:
        """Return `text`, sealed with the key in PLACET_HOME/keys/factors."""
        return _seal().encrypt(text.encode()).decode()

    def decrypt(self, encrypted_text: str) -> str:
        """Return what was sealed. :raises cryptography.fernet.InvalidToken: for anything else."""
        return _seal().decrypt(encrypted_text.encode()).decode()

    def get_totp_label(self, user: Person) -> str:
        """Name the account in an authenticator app."""
        return user.username

    def _get_site_name(self) -> str:
        return "Placet"


class Identities(DefaultSocialAccountAdapter):  # type: ignore[misc]
    """Identities at the organisation's OpenID provider."""

    def is_open_for_signup(self, request: HttpRequest, sociallogin: Any) -> bool:
        """Nobody signs up."""
        return False

    def get_requests_session(self) -> Session:
        """Ask the provider through our one way out."""
        return Session()

    def pre_social_login(self, request: HttpRequest, sociallogin: Any) -> None:
        """Link an identity to the person with its verified address, once; refuse an identity that nobody knows.

        Whoever is signed in links nothing: a session that was stolen would be given a way of its own to sign in.
        """
        if sociallogin.state.get("process") == AuthProcess.CONNECT:
            raise ImmediateHttpResponse(render(request, "account/signup_closed.html", status=403))
        if sociallogin.is_existing or request.user.is_authenticated:
            return
        claims = (sociallogin.account.extra_data or {}).get("id_token") or {}
        email = claims.get("email")
        person = None
        if isinstance(email, str) and email and claims.get("email_verified") is True:
            person = Person.objects.filter(email__iexact=email, is_active=True).first()
        if person is None:
            raise ImmediateHttpResponse(render(request, "account/signup_closed.html", {"email": email}, status=403))
        sociallogin.account.linked_by = person.actor
        with transaction.atomic():
            sociallogin.connect(request, person)


def _record_throttling(request: HttpRequest, username: str) -> None:
    person = Person.objects.filter(username=username).first()
    if person is None or not cache.add(f"placet.throttled:{person.pk}", 1, timeout=THROTTLED_SECONDS):
        return
    with transaction.atomic():
        people.record(
            "registry.login.throttled",
            person,
            actor="system:web",
            now=timezone.now(),
            correlation_id=correlation_id(request),
        )


def _seal() -> MultiFernet:
    """Return what seals with the newest secret and opens with any."""
    return MultiFernet([Fernet(base64.urlsafe_b64encode(one)) for one in keys.every_secret("factors")])
