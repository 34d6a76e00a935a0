"""JWTs of the organisation's provider: a good one makes calls, and each bad one is refused before anything runs."""

import base64
import hashlib
import hmac
import json
from datetime import timedelta

import pytest
from django.db import connection
from django.test import Client
from joserfc import jwt
from joserfc.jwk import ECKey, OKPKey, RSAKey

from audit.refusal import Refusal
from gateway import connect, credentials, holds, trusts
from gateway.models import Call, Hold, KeySet
from tests.gateway.stage import effects, fresh
from tests.gateway.web import Web, plain

URL = "/api/v1/tool-calls/"
RSA = RSAKey.generate_key(2048, {"kid": "rsa"})
EC = ECKey.generate_key("P-256", {"kid": "ec"})
ED = OKPKey.generate_key("Ed25519", {"kid": "ed"})
OTHER = RSAKey.generate_key(2048, {"kid": "rsa"})
ALGORITHMS = {"rsa": "RS256", "ec": "ES256", "ed": "Ed25519"}
AUDIENCE = "https://placet.example/mcp"


def public(*keys):
    return {"keys": [key.as_dict(private=False) for key in keys]}


@pytest.fixture
def idp(settings):
    """The provider's web server; its key set counts who asks for it."""
    with Web() as web:
        settings.PLACET_EGRESS_ALLOW = web.here
        web.keys = public(RSA, EC, ED)
        web.routes["/jwks"] = lambda handler, body: plain(handler, content=json.dumps(web.keys).encode())
        yield web
    connect.close()


@pytest.fixture
def how(stage):
    return {"actor": stage.people["adam"], "now": stage.now, "correlation_id": "test"}


@pytest.fixture
def trust(stage, how, idp):
    """Believe the provider in development."""

    def make(**changes):
        given = {
            "name": "IdP", "issuer": f"https://{fresh('idp')}.example", "audience": AUDIENCE, "jwks": None,
            "jwks_url": f"{idp.url}/jwks", "algorithms": ["RS256", "ES256", "Ed25519"], "claim": "azp",
            "behalf_claim": "email", "longest_seconds": 3600,
        }  # fmt: skip
        return trusts.create(stage.build.environment(), **given | changes, **how)

    return make


@pytest.fixture
def admitted(stage, trust, how):
    """Return (trust, subject, credential): the subject may call tools as the steward."""
    row, subject = trust(), fresh("client")
    more = {"owner": stage.people["alice"], "expires_at": stage.now + timedelta(days=1), "name": "CI"}
    made = trusts.admit(row, subject=subject, agent="steward", scopes=["tools:call"], **more, **how)
    return row, subject, made


def claims(row, subject, now, **changes):
    at = int(now.timestamp())
    given = {"iss": row.issuer, "aud": AUDIENCE, "azp": subject, "sub": "whoever", "iat": at, "exp": at + 300} | changes
    return {name: value for name, value in given.items() if value is not None}


def sign(given, key=RSA, algorithm=None, **header):
    algorithm = algorithm or ALGORITHMS[key.kid]
    return jwt.encode({"alg": algorithm, "kid": key.kid, **header}, given, key, algorithms=[algorithm])


def ask(bearer, value, name="put"):
    headers = {"Authorization": f"Bearer {bearer}", "Idempotency-Key": fresh("key")}
    body = json.dumps({"name": name, "arguments": {"value": value}})
    return Client().post(URL, data=body, content_type="application/json", headers=headers)


def code_of(bearer, value):
    """Send a call that must be refused before anything is claimed or executed, and return the code."""
    answer = ask(bearer, value)
    assert answer.status_code in (401, 503), answer.content
    assert effects(value) == []
    return answer.json()["code"]


@pytest.mark.parametrize("key", [RSA, EC, ED], ids=lambda key: key.kid)
def test_a_good_token_makes_calls_as_its_credential(key, admitted, stage):
    row, subject, credential = admitted
    value = fresh()
    answer = ask(sign(claims(row, subject, stage.now, aud=["https://other.example", AUDIENCE]), key), value)
    assert answer.status_code == 200, answer.content
    assert len(effects(value)) == 1
    assert Call.objects.get(pk=answer.json()["id"]).credential_id == credential.pk


def _part(value):
    return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()


def _unsigned(given):
    return f"{_part({'alg': 'none', 'kid': 'rsa'})}.{_part(given)}.{_part('')}"


def _with_public_key(given):
    """Sign with HMAC, the secret being the public key that everybody knows. By hand: no library does it any more."""
    text = f"{_part({'alg': 'HS256', 'kid': 'rsa'})}.{_part(given)}"
    mac = hmac.new(RSA.as_pem(private=False), text.encode(), hashlib.sha256).digest()
    return f"{text}.{base64.urlsafe_b64encode(mac).rstrip(b'=').decode()}"


def _tampered(given):
    head, _, signature = sign(given).split(".")
    return f"{head}.{_part(given | {'extra': True})}.{signature}"


@pytest.mark.filterwarnings("ignore:.*")
@pytest.mark.parametrize(
    ("forge", "changes", "code"),
    [
        (_unsigned, {}, "token_algorithm"),
        (_with_public_key, {}, "token_algorithm"),
        (lambda given: sign(given, algorithm="RS512"), {}, "token_algorithm"),
        (lambda given: sign(given, OTHER), {}, "token_signature"),
        (_tampered, {}, "token_signature"),
        (sign, {"iss": "https://evil.example"}, "token_untrusted"),
        (sign, {"aud": "https://other.example"}, "token_untrusted"),
        (sign, {"aud": None}, "token_malformed"),
        (sign, {"iat": -4000, "exp": -3600}, "token_expired"),
        (sign, {"iat": 120, "exp": 300}, "token_not_yet"),
        (sign, {"nbf": 120}, "token_not_yet"),
        (sign, {"exp": 7200}, "token_too_long"),
        (sign, {"exp": None}, "token_times"),
        (sign, {"iat": None}, "token_times"),
        (sign, {"azp": None}, "token_claim_missing"),
        (sign, {"azp": ["a", "list"]}, "token_claim_missing"),
        (sign, {"azp": "another-client"}, "credential_unknown"),
        (sign, {"email": {"not": "text"}}, "token_claim_invalid"),
        (lambda given: f"{_part('x')}.{_part(given)}.AAAA", {}, "token_malformed"),
    ],
)
def test_a_bad_token_is_refused_and_runs_nothing(forge, changes, code, admitted, stage):
    row, subject, _ = admitted
    at = int(stage.now.timestamp())
    moved = {name: at + value if name in ("iat", "exp", "nbf") and value else value for name, value in changes.items()}
    value = fresh()
    assert code_of(forge(claims(row, subject, stage.now, **moved)), value) == code
    assert ask(sign(claims(row, subject, stage.now)), value).status_code == 200
    assert len(effects(value)) == 1


def test_half_a_minute_of_another_clock_is_forgiven(admitted, stage):
    row, subject, _ = admitted
    at = int(stage.now.timestamp())
    for times in ({"iat": at + 20, "exp": at + 300}, {"iat": at - 300, "exp": at - 5}):
        assert ask(sign(claims(row, subject, stage.now, **times)), fresh()).status_code == 200


def test_a_revoked_credential_or_trust_makes_no_call(admitted, trust, stage, how):
    row, subject, credential = admitted
    token, value = sign(claims(row, subject, stage.now)), fresh()
    credentials.revoke(credential, **how)
    assert code_of(token, value) == "credential_revoked"
    other, client = trust(), fresh("client")
    more = {"owner": stage.people["alice"], "expires_at": stage.now + timedelta(days=1), "name": ""}
    made = trusts.admit(other, subject=client, agent="steward", scopes=["tools:call"], **more, **how)
    token = sign(claims(other, client, stage.now))
    assert ask(token, fresh()).status_code == 200
    trusts.revoke(other, **how)
    assert code_of(token, value) == "token_untrusted"
    made.refresh_from_db()
    assert made.revoked_at is not None


def test_on_behalf_of_comes_from_the_verified_token_and_bars_that_person(admitted, stage):
    row, subject, _ = admitted
    bob, outcomes = stage.people["bob"], []
    for person in (bob, stage.people["alice"]):
        answer = ask(sign(claims(row, subject, stage.now, email=person.email)), fresh(), name="careful")
        assert answer.status_code == 202, answer.content
        hold = Hold.objects.get(call=answer.json()["id"])
        assert hold.on_behalf_of == person.email
        try:
            how = {"digest": hold.digest, "now": stage.now, "correlation_id": "test"}
            outcomes.append(holds.approve(hold.pk, approver=bob, **how).state)
        except Refusal as refusal:
            outcomes.append(refusal.code)
    assert outcomes == ["approver_excluded", "approved"]


def test_strangers_with_random_kids_do_not_make_us_ask_the_issuer(admitted, stage, idp):
    row, subject, _ = admitted
    for _ in range(5):
        forged = sign(claims(row, subject, stage.now), kid=fresh("kid"))
        assert code_of(forged, fresh()) == "token_key_unknown"
    assert len([one for one in idp.requests if one[1] == "/jwks"]) == 1


def test_a_new_key_of_the_issuer_is_fetched_when_it_is_time(admitted, stage, idp):
    row, subject, _ = admitted
    assert ask(sign(claims(row, subject, stage.now)), fresh()).status_code == 200
    new = RSAKey.generate_key(2048, {"kid": "new"})
    idp.keys = public(RSA, new)
    token = sign(claims(row, subject, stage.now), new, "RS256")
    assert code_of(token, fresh()) == "token_key_unknown"
    age(row, tried=60)
    assert ask(token, fresh()).status_code == 200


def test_while_the_issuer_is_down_its_last_keys_serve_for_a_day(admitted, stage, idp):
    row, subject, _ = admitted
    token, value = sign(claims(row, subject, stage.now)), fresh()
    idp.routes["/jwks"] = lambda handler, body: plain(handler, status=500)
    assert code_of(token, value) == "keys_unavailable"
    age(row, tried=60)
    idp.routes["/jwks"] = lambda handler, body: plain(handler, content=json.dumps(idp.keys).encode())
    assert ask(token, value).status_code == 200
    idp.routes["/jwks"] = lambda handler, body: plain(handler, content=b"not json")
    age(row, tried=3600, fetched=3600)
    assert ask(token, fresh()).status_code == 200
    assert KeySet.objects.get(trust=row).failure != ""
    age(row, tried=90_000, fetched=90_000)
    assert code_of(token, fresh()) == "keys_unavailable"


def test_a_key_set_on_a_private_address_is_not_fetched(admitted, stage, idp, settings):
    row, subject, _ = admitted
    settings.PLACET_EGRESS_ALLOW = ""
    assert code_of(sign(claims(row, subject, stage.now)), fresh()) == "keys_unavailable"
    assert idp.requests == []


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"algorithms": ["HS256"]}, "algorithm_unknown"),
        ({"algorithms": ["none"]}, "algorithm_unknown"),
        ({"jwks_url": ""}, "keys_missing"),
        ({"jwks_url": "", "jwks": {"keys": [{"kty": "oct", "kid": "a", "k": "AAAA"}]}}, "jwks_invalid"),
        ({"jwks_url": "", "jwks": {"keys": [RSA.as_dict(private=True)]}}, "jwks_invalid"),
        ({"jwks_url": "file:///etc/passwd"}, "jwks_url_refused"),
        ({"longest_seconds": 10**6}, "lifetime_out_of_range"),
    ],
)
def test_a_trust_that_would_believe_too_much_is_not_made(changes, code, trust):
    with pytest.raises(Refusal) as refused:
        trust(**changes)
    assert refused.value.code == code


def test_an_issuer_and_an_audience_lead_to_one_trust_and_only_admins_make_it(trust, how, stage):
    row = trust(jwks=public(RSA), jwks_url="")
    with pytest.raises(Refusal) as refused:
        trust(issuer=row.issuer)
    assert refused.value.code == "trust_exists"
    how["actor"] = stage.people["olga"]
    with pytest.raises(Refusal) as refused:
        trust()
    assert refused.value.code == "role_missing"


def age(row, *, tried, fetched=0):
    """Let the keys have been asked for and fetched that many seconds earlier."""
    with connection.cursor() as cursor:
        cursor.execute(
            """UPDATE gateway_keyset SET tried_at = tried_at - %s * interval '1 s',
                      fetched_at = fetched_at - %s * interval '1 s' WHERE trust_id = %s""",
            [tried, fetched, row.pk],
        )
