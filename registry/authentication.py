"""How a person last proved who they are, and whether that is enough to decide where an environment is protected."""

import time
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from allauth.account.authentication import get_authentication_records
from allauth.mfa.models import Authenticator
from django.conf import settings
from django.contrib.auth import SESSION_KEY
from django.contrib.auth.signals import user_logged_in
from django.dispatch import receiver
from django.http import HttpRequest
from rest_framework.request import Request

from audit.refusal import Refusal
from registry.models import Environment, Person

SECOND_FACTORS = frozenset({"totp", "webauthn", "recovery_codes"})
_SIGNED_IN = "placet_signed_in_at"
_WORDS = {"socialaccount": "oidc"}


@dataclass(frozen=True, slots=True)
class Authentication:
    """What the session of a person says about their sign-in.

    :param at: when they last gave a proof; aware, the clock of the host that checked it.
    :param methods: what they gave since then or at sign-in: `password`, `oidc`, `totp`, `webauthn`, `recovery_codes`.
    :param enrolled: whether the person has a second factor.
    """

    at: datetime
    methods: tuple[str, ...]
    enrolled: bool

    @property
    def second_factor(self) -> bool:
        """Say whether a second factor was given."""
        return bool(SECOND_FACTORS & set(self.methods))

    def recorded(self) -> dict[str, object]:
        """Return what a record says about it."""
        return {"at": self.at.isoformat(), "methods": sorted(self.methods)}


def recorded(authentication: Authentication | None) -> dict[str, object]:
    """Return the member `authenticated` of a record: null where nothing is known, which no protected place accepts."""
    return {"authenticated": authentication.recorded() if authentication else None}


def require_recent(authentication: Authentication | None, environment: Environment | None, *, now: datetime) -> None:
    """Do nothing if the sign-in is fresh enough to decide in `environment`; None (a charter) counts as protected.

    Elsewhere nothing is asked. Who has a second factor has to have given it, in this session, within the time.

    :raises Refusal: step_up_required, second_factor_required.
    """
    if environment is not None and not environment.protected:
        return
    minutes = int(settings.PLACET_STEP_UP.total_seconds() // 60)
    where = environment.name if environment else "the whole workspace"
    fresh = authentication is not None and now - authentication.at < settings.PLACET_STEP_UP
    if authentication is None or not fresh or (authentication.enrolled and not authentication.second_factor):
        detail = f"To decide for {where} you must have proved within {minutes} minutes who you are; do it again."
        raise Refusal("step_up_required", detail, status=403, address="/account/confirm/")
    if settings.PLACET_SECOND_FACTOR == "required" and not authentication.second_factor:
        detail = f"To decide for {where} you need a second factor; add one to your account first."
        raise Refusal("second_factor_required", detail, status=403, address="/account/")


def of(request: HttpRequest | Request) -> Authentication | None:
    """Return how the person behind a session proved who they are; None for a credential, a program and nobody.

    Who has a second factor counts as having proved it when they last gave that factor.
    """
    person: Any = request.user
    # A program's request may carry the cookie of some other session: that one proves nothing about the token's person.
    if getattr(request, "auth", None) is not None:
        return None
    if not isinstance(person, Person) or _SIGNED_IN not in request.session:
        return None
    if request.session.get(SESSION_KEY) != str(person.pk):
        return None  # they came with a token; the session beside it is somebody else's
    given = [(_method(record), record["at"]) for record in get_authentication_records(_plain(request), person)]
    enrolled = Authenticator.objects.filter(user=person).exclude(type="recovery_codes").exists()
    times = [at for method, at in given if not enrolled or method in SECOND_FACTORS]
    last = max(times, default=0.0 if enrolled else request.session[_SIGNED_IN])
    since = last - settings.PLACET_STEP_UP.total_seconds()
    methods = tuple(sorted({method for method, at in given if at > since}))
    return Authentication(datetime.fromtimestamp(last, UTC), methods, enrolled)


@receiver(user_logged_in)
def note_sign_in(request: HttpRequest | None = None, **_: object) -> None:
    """Keep in the session when it began."""
    if request is not None:
        request.session[_SIGNED_IN] = time.time()


def _plain(request: HttpRequest | Request) -> HttpRequest:
    return request._request if isinstance(request, Request) else request


def _method(record: dict[str, Any]) -> str:
    """Return the word for what one record of allauth tells."""
    return str(record["type"]) if record["method"] == "mfa" else _WORDS.get(record["method"], str(record["method"]))
