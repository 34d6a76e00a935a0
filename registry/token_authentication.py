"""Who sent this request: the access token of a person. Keys of agents are the gateway's."""

from django.utils import timezone
from rest_framework.authentication import BaseAuthentication
from rest_framework.request import Request

from registry import tokens
from registry.models import AccessToken, Person


class AccessTokenAuthentication(BaseAuthentication):
    """Authenticate `Authorization: Bearer placet_person_…`; `request.auth` is then the token."""

    def authenticate(self, request: Request) -> tuple[Person, AccessToken] | None:
        """Return the person; None if it is no access token. :raises Refusal: 401 for one that is not good."""
        scheme, _, secret = request.META.get("HTTP_AUTHORIZATION", "").partition(" ")
        if scheme.lower() != "bearer" or not secret.strip().startswith(tokens.PREFIX):
            return None
        correlation_id = str(getattr(request, "correlation_id", ""))
        token = tokens.authenticate(secret.strip(), now=timezone.now(), correlation_id=correlation_id)
        return token.person, token

    def authenticate_header(self, request: Request) -> str:
        """Return the challenge of a 401."""
        return 'Bearer realm="placet"'
