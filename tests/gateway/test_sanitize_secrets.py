"""What counts as a secret, and what only looks like one."""

import base64
import json

import pytest

from gateway import sanitize
from gateway.sanitize import checksums
from registry import bearer

_ALPHABET = "q7Zr2Kx9Lm4Tn8Vb3Wc6Yd1Fg5Hj0PsQeRuIoAaSdDfGhJkLzXcVbNmMnBvCxZ"
_HEX = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"


def body(length: int) -> str:
    """Return `length` characters that could have been drawn at random."""
    return (_ALPHABET * 4)[:length]


def hexed(length: int) -> str:
    return (_HEX * 3)[:length]


def b64(text: str) -> str:
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def secrets_in(value: object) -> set[str]:
    return {finding.kind for finding in sanitize.scan(value) if finding.kind.startswith("secret.")}


GITHUB = "ghp_" + body(30) + checksums.crc_base62(body(30))
JWT = b64('{"alg":"HS256","typ":"JWT"}') + "." + b64('{"sub":"1234567890"}') + "." + body(43)
PEM = "-----BEGIN RSA PRIVATE KEY-----\n" + "\n".join([body(60)] * 4) + "\n-----END RSA PRIVATE KEY-----"

PROVIDERS = {
    "AKIAQYLPMN5HHHFPZ3KD": "secret.aws_access_key",
    "AIzaSy" + body(33): "secret.gcp_api_key",
    "ya29." + body(60): "secret.google_oauth",
    "GOCSPX-" + body(28): "secret.google_oauth",
    GITHUB: "secret.github_token",
    "github_pat_" + body(22) + "_" + body(59): "secret.github_token",
    "glpat-" + body(20): "secret.gitlab_token",
    "npm_" + body(36): "secret.npm_token",
    "pypi-AgEIcHlwaS5vcmc" + body(80): "secret.pypi_token",
    "xoxb-31446298938-537092655923-" + body(24): "secret.slack_token",
    "https://hooks.slack.com/services/T024BE7LD/B024BE7LE/" + body(24): "secret.slack_webhook",
    "sk_live_" + body(24): "secret.stripe_key",
    "sk-proj-" + body(60): "secret.openai_key",
    "sk-ant-api03-" + body(93): "secret.anthropic_key",
    "hf_" + "QwErTyUiOpAsDfGhJkLzXcVbNmPlKoJiHu": "secret.huggingface_token",
    "SG." + body(22) + "." + body(43): "secret.sendgrid_key",
    "hvs." + body(40): "secret.hashicorp_token",
    "dapi" + hexed(32): "secret.databricks_token",
    "dop_v1_" + hexed(64): "secret.digitalocean_token",
    "glsa_" + body(32) + "_" + hexed(8): "secret.grafana_token",
    "shpat_" + hexed(32): "secret.shopify_token",
    "123456789:AA" + body(33): "secret.telegram_token",
    "AGE-SECRET-KEY-1" + "QPZRY9X8GF2TVDW0S3JN54KHCE6MUA7L" + "QPZRY9X8GF2TVDW0S3JN54KHCE": "secret.age_key",
}


@pytest.mark.parametrize(("token", "kind"), PROVIDERS.items())
def test_a_provider_token_is_found_wherever_it_stands(token, kind):
    assert kind in secrets_in(token)
    assert kind in secrets_in(f"the key is `{token}`, please rotate")
    assert kind in secrets_in({"a": [{"note": f"x={token}\n"}]})
    assert kind in secrets_in({token: 1})


@pytest.mark.parametrize("token", [one for one in PROVIDERS if one[:3] in ("AKI", "ghp", "gla", "sk_", "hvs", "dap")])
def test_a_provider_token_inside_a_longer_word_is_none(token):
    assert PROVIDERS[token] in secrets_in(f"({token})")
    assert PROVIDERS[token] not in secrets_in(f"Z9{token}")


STRUCTURED = {
    PEM: "secret.private_key",
    PEM.replace("\n", "\\n"): "secret.private_key",
    PEM[:150]: "secret.private_key",
    JWT: "secret.jwt",
    "postgres://app:s2Tf2k9rLMy@db.internal:5432/main": "secret.url_password",
    "redis://:p4ssw0rdX@cache:6379/0": "secret.url_password",
    "amqp://user:p@ss1@host/": "secret.url_password",
    "Authorization: Basic " + base64.b64encode(b"alice:open sesame 1").decode(): "secret.basic_auth",
    "curl -u alice:Tr0ub4dor https://x.test/": "secret.basic_auth",
    "Authorization: Bearer " + body(40): "secret.bearer",
    "machine api.heroku.com login me@x.io password 4f8a2c": "secret.netrc",
    "$2b$12$R9h/cIPz0gi.URNNX3kh2OPST9/PgBkqquzi.Ss7KIUgO2t0jWMUW": "secret.password_hash",
    "$argon2id$v=19$m=65536,t=3,p=4$c29tZXNhbHQ$RdescudvJCsgt3ub+b27": "secret.password_hash",
}


@pytest.mark.parametrize(("text", "kind"), STRUCTURED.items())
def test_a_secret_is_known_by_its_structure(text, kind):
    assert kind in secrets_in(text)


ASSIGNED = [
    'password = "hunter2!"',
    "DB_PASSWORD=kX9vQ2mL",
    "password: s3cr3t-Pa55",
    "pwd=Tr0ub4dor&3;",
    "-Password VMware1!",
    "<password>Zx81-Sinclair</password>",
    f"api_key={hexed(32)}",
    f'apiKey: "{body(24)}"',
    f"client_secret => '{body(32)}'",
    f"X-Auth-Token: {body(30)}",
    f"aws_secret_access_key = {body(40)}",
    f"STRIPE_SECRET={body(24)}",
    f"vault token {body(24)}",
    f"os.environ.get('DJANGO_SECRET_KEY', '{body(50)}')",
    "token: 123e4567-e89b-42d3-a456-426614174abc",
]


@pytest.mark.parametrize("text", ASSIGNED)
def test_a_value_assigned_to_a_credential_is_found(text):
    assert secrets_in(text) & {"secret.password", "secret.assigned"}


@pytest.mark.parametrize(
    "value",
    [
        {"password": "hunter2!"},
        {"db": {"clientSecret": body(24)}},
        {"env": [{"name": "API_TOKEN", "value": body(24)}]},
        ["login", "--password", "hunter2!"],
        {"tokens": [body(24)]},
    ],
)
def test_the_name_of_a_member_is_context(value):
    assert secrets_in(value)


LOOKALIKES = [
    "123e4567-e89b-42d3-a456-426614174abc",
    "session 123e4567-e89b-42d3-a456-426614174abc",
    'ETag: "60fd71e9a72937116d10f35970d13a48"',
    f"commit {hexed(40)}",
    f"sha256:{hexed(64)}",
    f'integrity: "sha512-{body(86)}=="',
    "password=${DB_PASSWORD}",
    "password: $PASSWORD",
    "password = os.environ['DB_PASSWORD']",
    "token: process.env.GITHUB_TOKEN",
    "api_key: {{ secrets.API_KEY }}",
    "secret: <your-secret>",
    "api_key=YOUR_API_KEY_HERE",
    "password=changeme",
    "password: ********",
    "token=xxxxxxxxxxxxxxxxxxxxxxxx",
    "AKIAIOSFODNN7EXAMPLE",
    "ghp_xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx",
    "AIzaSyabcdefghijklmnopqrstuvwxyz1234567",
    '{"password": {"type": "string"}}',
    '{"token": "string"}',
    "def login(user, password=None):",
    "password = get_password()",
    "the password must have 12 characters and a digit",
    "please reset your password before Friday",
    "token_url = https://auth.internal/oauth2/token",
    "secretName: web-tls-2024",
    "credentialsId: 'ff083f76-7804-4ef1-80e4-fe975bb9141b'",
    "max_tokens: 4096",
    "public_key = 9Cnzj4p4WGeKLs1Pt8QuKUpRKfFLfRYC9AIKjbJTWit",
    "next_page_token: CAUQAA9xKqL2mVbT7wZp",
    "password_file: /run/secrets/db",
    'if text.startswith("-----BEGIN RSA PRIVATE KEY-----"):',
    "https://user@host/path and mailto:user:x",
    "eyJmb28iOiJiYXIifQ.eyJmb28iOiJiYXIifQ.abc",
    "io.jsonwebtoken:jjwt-jackson-0.11.2",
    "tokenizer.py: 3 tokens per word",
]


@pytest.mark.parametrize("text", LOOKALIKES)
def test_what_only_looks_like_a_secret_is_left_alone(text):
    assert secrets_in(text) == set()


def test_a_github_token_with_a_wrong_checksum_is_less_sure():
    wrong = GITHUB[:-1] + ("0" if GITHUB[-1] != "0" else "1")
    assert [one.severity for one in sanitize.scan(GITHUB)] == ["high"]
    assert [one.severity for one in sanitize.scan(wrong)] == ["medium"]


def test_a_key_that_this_gateway_issued_is_found():
    for prefix in ("placet_", "placet_person_"):
        secret = prefix + body(43) + bearer.checksum(body(43))
        assert [(one.kind, one.severity) for one in sanitize.scan(f"use {secret} please")] == [
            ("secret.placet_key", "high")
        ]


def test_the_exact_kind_wins_over_the_vague_one():
    found = sanitize.scan(f'GITHUB_TOKEN="{GITHUB}"')
    assert [one.kind for one in found] == ["secret.github_token"]
    assert (found[0].start, found[0].end) == (14, 14 + len(GITHUB))


def test_a_secret_in_base64_is_found_and_redacted_as_a_run():
    run = base64.b64encode(f"password = 'hunter2!' and {GITHUB}".encode()).decode()
    text = f"data: {run} end"
    assert "secret.github_token" in secrets_in(text)
    cleaned = sanitize.redact(text, sanitize.scan(text))
    assert cleaned.startswith("data: ⟨redacted: secret.") and cleaned.endswith(" end")


@pytest.mark.parametrize("disguise", ["\u200b", "\u00ad", "\u2060", "\U000e0001"])
def test_a_secret_broken_up_by_hidden_characters_is_found(disguise):
    assert "secret.aws_access_key" in secrets_in(disguise.join("AKIAQYLPMN5HHHFPZ3KD"))


def test_a_secret_in_percent_escapes_is_found():
    assert "secret.aws_access_key" in secrets_in("https://x.test/?k=%41KIAQYLPMN5HHHFPZ3KD")


def test_findings_say_nothing_of_the_value():
    found = sanitize.scan({GITHUB: {"inner": GITHUB}})
    assert found
    assert GITHUB not in json.dumps(sanitize.summary(found), ensure_ascii=False)
    assert GITHUB not in repr(found)
