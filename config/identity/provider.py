"""The organisation's OpenID provider: asked through our one way out, and its ID token believed only when it is signed.

allauth asks with `requests`, to any address, and skips the signature of a token that came over TLS. Here each request
is made by `gateway.connect`, and every ID token is checked against the provider's keys.
"""

import base64
import json
import time
from typing import Any
from urllib.parse import urlencode, urlsplit

from allauth.socialaccount.helpers import render_authentication_error
from allauth.socialaccount.models import SocialApp
from allauth.socialaccount.providers.oauth2.client import OAuth2Error

# The exception that allauth catches; nothing of the library that it comes from is used to ask anybody.
from allauth.socialaccount.providers.oauth2.views import OAuth2CallbackView, OAuth2LoginView, RequestException
from allauth.socialaccount.providers.openid_connect.views import OpenIDConnectOAuth2Adapter
from django.http import Http404, HttpRequest, HttpResponse
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet

from gateway import connect, federation

SECONDS = 5.0
MOST_BYTES = 262_144


class Answer:
    """What allauth reads of a response."""

    def __init__(self, status: int, headers: dict[str, str], content: bytes) -> None:
        self.status_code, self.headers, self.content = status, headers, content

    @property
    def text(self) -> str:
        """Return the body as text."""
        return self.content.decode("utf-8", "replace")

    def json(self) -> Any:
        """Return the body as JSON. :raises RequestException: it is none."""
        try:
            return json.loads(self.content)
        except ValueError as error:
            raise RequestException("The provider's answer is no JSON.") from error

    def raise_for_status(self) -> None:
        """Do nothing for a good status. :raises RequestException: for another."""
        if self.status_code >= 400:
            raise RequestException(f"The provider answered {self.status_code}.")


class Session:
    """What allauth uses of a `requests.Session`, over `gateway.connect`."""

    def __enter__(self) -> "Session":
        return self

    def __exit__(self, *_: object) -> None:
        """Keep nothing."""

    def get(self, url: str, headers: dict[str, str] | None = None) -> Answer:
        """Ask with GET."""
        return self.request("GET", url, headers=headers)

    def request(
        self,
        method: str,
        url: str,
        params: dict[str, str] | None = None,
        data: dict[str, str] | None = None,
        headers: dict[str, str] | None = None,
        auth: Any = None,
    ) -> Answer:
        """Make one request. :raises RequestException: none was made, or no usable answer came."""
        sent = dict(headers or {})
        if auth is not None:
            pair = base64.b64encode(f"{auth.username}:{auth.password}".encode()).decode()
            sent["Authorization"] = f"Basic {pair}"
        if data is not None:
            sent["Content-Type"] = "application/x-www-form-urlencoded"
        where = f"{url}{'&' if urlsplit(url).query else '?'}{urlencode(params)}" if params else url
        try:
            answer = connect.fetch(
                where,
                purpose="oidc",
                deadline=time.monotonic() + SECONDS,
                most_bytes=MOST_BYTES,
                method=method,
                headers=sent,
                body=urlencode(data).encode() if data is not None else b"",
            )
        except connect.ConnectRefused as error:
            raise RequestException(error.code) from error
        return Answer(answer.status, dict(answer.headers), answer.body)


class Provider(OpenIDConnectOAuth2Adapter):  # type: ignore[misc]
    """The provider as allauth drives it, with our check of its ID token."""

    def _decode_id_token(self, app: SocialApp, id_token: str) -> dict[str, Any]:
        config = self.openid_config
        with Session() as session:
            answer = session.get(config["jwks_uri"])
            answer.raise_for_status()
        # Without a claim that says otherwise it is our clock that counts, with the grace that agents' tokens have.
        rules = jwt.JWTClaimsRegistry(
            leeway=federation.SKEW_SECONDS,
            iss={"essential": True, "value": config["issuer"]},
            aud={"essential": True, "value": app.client_id},
            exp={"essential": True},
            iat={"essential": True},
            sub={"essential": True},
        )
        try:
            keys = KeySet.import_key_set(answer.json())
            decoded = jwt.decode(id_token, keys, algorithms=list(federation.ALGORITHMS))
            rules.validate(decoded.claims)
        except (JoseError, ValueError, KeyError, TypeError) as error:
            raise OAuth2Error("The ID token cannot be believed.") from error
        claims: dict[str, Any] = decoded.claims
        return claims


def login(request: HttpRequest, provider_id: str) -> HttpResponse:
    """Ask whether to go to the provider, and go."""
    return _run(OAuth2LoginView, request, provider_id)


def callback(request: HttpRequest, provider_id: str) -> HttpResponse:
    """Take the provider's answer."""
    return _run(OAuth2CallbackView, request, provider_id)


def _run(view: Any, request: HttpRequest, provider_id: str) -> HttpResponse:
    adapter = Provider(request, provider_id)
    try:
        shown: HttpResponse = view.adapter_view(adapter)(request)
    except SocialApp.DoesNotExist as error:
        raise Http404 from error
    except RequestException as error:
        shown = render_authentication_error(request, adapter.get_provider(), exception=error)
    return shown
