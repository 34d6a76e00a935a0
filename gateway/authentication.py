"""Who sent this request: the bearer key or JWT of an agent, for REST views and for the call endpoint alike."""

from django.http import HttpRequest
from django.utils import timezone
from rest_framework.authentication import BaseAuthentication
from rest_framework.request import Request

from audit.refusal import Refusal
from gateway import credentials, federation
from gateway.admission import Caller, acquaintances
from gateway.principal import Principal


class CredentialUser:
    """What `request.user` is for a credential: signed in, but no person, so no role and no grant ever fits it."""

    is_authenticated = True
    is_anonymous = False
    is_active = True
    is_staff = False
    is_superuser = False
    pk = None

    def __init__(self, principal: Principal) -> None:
        self.principal = principal
        self.actor = principal.actor

    def __str__(self) -> str:
        return self.actor


class CredentialAuthentication(BaseAuthentication):
    """Authenticate `Authorization: Bearer <key>`; `request.auth` is then the Principal."""

    def authenticate(self, request: Request) -> tuple[CredentialUser, Principal] | None:
        """Return the user, None without a bearer. :raises Refusal: 401 for a key that is not, or no longer, good."""
        if "HTTP_AUTHORIZATION" not in request.META:
            return None
        principal = bearer(request._request)
        return CredentialUser(principal), principal

    def authenticate_header(self, request: Request) -> str:
        """Return the challenge of a 401."""
        return 'Bearer realm="placet"'


def bearer(request: HttpRequest) -> Principal:
    """Return who the bearer key of `request` belongs to. :raises Refusal: 401."""
    scheme, _, key = request.META.get("HTTP_AUTHORIZATION", "").partition(" ")
    if scheme.lower() != "bearer" or not key:
        raise Refusal(
            "credential_missing", "Send `Authorization: Bearer <key>` with a key of this workspace.", status=401
        )
    key = key.strip()
    try:
        if federation.looks_like(key):
            principal = federation.authenticate(key, now=timezone.now())
        else:
            principal = credentials.authenticate(key)
    except Refusal:
        # Who has a key that was revoked takes no turns of the agent that it belonged to.
        acquaintances.forget(request.META["HTTP_AUTHORIZATION"])
        raise
    who = Caller(str(principal.workspace), principal.agent or "", str(principal.id))
    acquaintances.remember(request.META["HTTP_AUTHORIZATION"], who)
    return principal
