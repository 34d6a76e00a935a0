"""Sign-in with the organisation's OpenID provider: a tiny real one on loopback that can be made to lie."""

import json
import secrets
import time
from urllib.parse import parse_qs, urlsplit

import pytest
from allauth.socialaccount.models import SocialAccount
from joserfc import jwt
from joserfc.jwk import RSAKey

from gateway import connect
from registry import people as persons
from registry.models import Person
from tests.gateway.web import Web, plain
from tests.pages.reading import words

KEY = RSAKey.generate_key(2048, {"kid": "one"})
OTHER = RSAKey.generate_key(2048, {"kid": "one"})
LOGIN = "/oidc/organisation/login/"


class Idp(Web):
    """Issues one ID token for each code; `claims` and `key` are what tests change."""

    def __init__(self):
        super().__init__()
        self.claims, self.key = {}, KEY
        self.routes |= {
            "/.well-known/openid-configuration": self._told(self.discovery),
            "/token": self._told(self.tokens),
            "/jwks": self._told(lambda: {"keys": [KEY.as_dict(private=False)]}),
        }

    def _told(self, make):
        return lambda handler, body: plain(handler, content=json.dumps(make()).encode())

    def discovery(self):
        return {
            "issuer": self.url, "authorization_endpoint": f"{self.url}/authorize",
            "token_endpoint": f"{self.url}/token", "jwks_uri": f"{self.url}/jwks",
            "token_endpoint_auth_methods_supported": ["client_secret_post"],
        }  # fmt: skip

    def tokens(self):
        at = int(time.time())
        given = {"iss": self.url, "aud": "placet", "iat": at, "exp": at + 60, "sub": "sub-1"} | self.claims
        token = jwt.encode({"alg": "RS256", "kid": "one"}, given, self.key)
        return {"access_token": "unused", "token_type": "Bearer", "id_token": token}


@pytest.fixture
def idp(settings):
    with Idp() as web:
        app = {"provider_id": "organisation", "name": "Example", "client_id": "placet", "secret": "s3cret"}
        app["settings"] = {"server_url": web.url, "fetch_userinfo": False}
        settings.SOCIALACCOUNT_PROVIDERS = {"openid_connect": {"APPS": [app], "OAUTH_PKCE_ENABLED": True}}
        settings.PLACET_OIDC_NAME, settings.PLACET_EGRESS_ALLOW = "Example", web.here
        settings.ROOT_URLCONF = "tests.pages.oidc_urls"
        web.claims = {"sub": f"sub-{secrets.token_hex(6)}"}
        yield web
    connect.close()


@pytest.fixture
def come_back(visitor):
    """Return a function that goes to the provider and comes back: (browser, answer)."""

    def go(browser=None, there="/account/", process="login"):
        browser = browser or visitor()
        asked = browser.post(f"{LOGIN}?process={process}&next={there}")
        query = parse_qs(urlsplit(asked.headers["Location"]).query)
        assert query["code_challenge_method"] == ["S256"]
        back = f"/oidc/organisation/callback/?code=c0de&state={query['state'][0]}"
        return browser, browser.get(back)

    return go


def test_the_sign_in_page_offers_the_provider(idp, visitor):
    assert "Sign in with Example" in words(visitor().get("/login/"))


def test_a_verified_address_of_a_person_is_linked_once_and_on_record(idp, come_back, alice, trail):
    idp.claims |= {"email": alice.email.upper(), "email_verified": True}
    browser, answer = come_back()
    assert answer.headers["Location"] == "/account/"
    assert alice.username in words(browser.get("/account/"))
    assert trail() == ["registry.identity.linked"]
    idp.claims["email"] = "changed@example.com"
    assert come_back()[1].headers["Location"] == "/account/"
    assert trail() == ["registry.identity.linked"]
    # Whoever may sign in with the provider can still use the password.
    alice.refresh_from_db()
    assert alice.check_password("correct horse")


@pytest.mark.parametrize("verified", [False, "true", None])
def test_an_address_that_is_not_verified_links_nobody(verified, idp, come_back, alice, trail):
    idp.claims |= {"email": alice.email, "email_verified": verified}
    browser, answer = come_back()
    assert answer.status_code == 403
    assert "Nobody here has this identity" in words(answer)
    assert not SocialAccount.objects.filter(user=alice).exists()
    assert (trail(), browser.get("/account/").status_code) == ([], 302)


def test_a_session_that_somebody_took_over_links_no_identity_to_its_person(idp, visitor, come_back, alice, trail):
    idp.claims |= {"email": "mallory@example.net", "email_verified": True}
    _, answer = come_back(visitor(alice), process="connect")
    assert answer.status_code == 403
    assert (SocialAccount.objects.filter(user=alice).exists(), trail()) == (False, [])
    assert come_back()[1].status_code == 403


def test_an_unknown_identity_makes_no_person(idp, come_back):
    before = Person.objects.count()
    idp.claims |= {"email": "stranger@example.net", "email_verified": True}
    assert come_back()[1].status_code == 403
    assert Person.objects.count() == before


def test_a_subject_that_was_linked_before_needs_no_address(idp, come_back, bob):
    persons.link(bob, idp.claims["sub"], actor=persons.COMMAND_LINE)
    browser, answer = come_back()
    assert answer.headers["Location"] == "/account/"
    assert bob.username in words(browser.get("/account/"))


@pytest.mark.parametrize(
    "lie",
    [
        {"aud": "another-client"},
        {"iss": "https://evil.example"},
        {"exp": 1_700_003_600, "iat": 1_700_000_000},
        "another key",
    ],
    ids=str,
)
def test_a_token_that_cannot_be_believed_signs_nobody_in(lie, idp, come_back, alice):
    idp.claims |= {"email": alice.email, "email_verified": True}
    if lie == "another key":
        idp.key = OTHER
    else:
        idp.claims |= lie
    browser, answer = come_back()
    assert answer.status_code == 401
    assert "The provider's answer cannot be used" in words(answer)
    assert browser.get("/account/").status_code == 302
    assert not SocialAccount.objects.filter(user=alice).exists()


def test_an_answer_nobody_asked_for_signs_nobody_in(idp, visitor, bob):
    persons.link(bob, idp.claims["sub"], actor=persons.COMMAND_LINE)
    browser = visitor()
    assert browser.get("/oidc/organisation/callback/?code=c0de&state=made-up").status_code == 401
    assert browser.get("/account/").status_code == 302


def test_a_provider_that_is_away_or_not_listed_is_said_in_words(idp, visitor, settings):
    settings.PLACET_EGRESS_ALLOW = ""
    answer = visitor().post(f"{LOGIN}?process=login")
    assert answer.status_code == 401
    assert "You were not signed in" in words(answer)
    assert idp.requests == []


def test_without_a_provider_there_is_no_such_address(visitor):
    assert visitor().get(LOGIN).status_code == 404
