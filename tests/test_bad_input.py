"""Whatever is sent, over REST and to the end: a clear problem of its own, nothing executed, nothing lost."""

import json
from datetime import UTC, datetime, timedelta

import pytest

from gateway import credentials
from gateway.models import Call, Credential
from registry.models import Proposal, Version
from tests.gateway.stage import effects, fresh, query

pytest_plugins = ["tests.shared"]
CALLS, VERSIONS, PROPOSALS = "/api/v1/tool-calls/", "/api/v1/versions/", "/api/v1/proposals/"
DEEP = b"[" * 100 + b"]" * 100
# What stands where a value should: (text of the value, status, code).
VALUES = {
    "100-deep": (DEEP, 400, "json_too_deep"),
    "NaN": (b"NaN", 400, "json_number"),
    "infinity": (b"-Infinity", 400, "json_number"),
    "a huge integer": (b"9007199254740993", 400, "json_number"),
    "an integer of a thousand digits": (b"9" * 1000, 400, "json_number"),
    "a number past any": (b"1e999", 400, "json_number"),
    "bad UTF-8": (b'"\xff\xfe"', 400, "json_not_utf8"),
    "an overlong form": (b'"\xc0\xaf"', 400, "json_not_utf8"),
    "a lone surrogate": (b'"\\ud800"', 400, "json_surrogate"),
    "duplicate keys": (b'{"a": 1, "a": 2}', 400, "json_duplicate_key"),
    "oversize": (b'"' + b"x" * 1_048_577 + b'"', 413, "body_too_large"),
    "no JSON": (b"{", 400, "json_malformed"),
}
WHOLE = {
    "an empty body": (b"", 400, "json_malformed"),
    "a list": (b"[]", 400, "invalid"),
    "a number": (b"1", 400, "invalid"),
    "null": (b"null", 400, "invalid"),
}


def problem(answer, status, code):
    document = json.loads(answer.content)
    assert (answer.status_code, document["code"]) == (status, code), document
    assert answer["Content-Type"] == "application/problem+json"
    assert {"type", "title", "detail", "instance", "correlation_id"} <= document.keys()
    return document


def raw(client, path, body, *, kind="application/json", **headers):
    return client.generic("POST", path, body, content_type=kind, headers=headers, CONTENT_TYPE=kind)


def calling(value=None, name="put"):
    return json.dumps({"name": name, "arguments": {"value": value or fresh()}}).encode()


@pytest.fixture
def agent(world):
    return world.client("agent")


@pytest.fixture
def kept(agent):
    """A call that was carried out before: whatever comes after, its outcome is still there."""
    value, key = fresh(), fresh("key")
    first = raw(agent, CALLS, calling(value), **{"Idempotency-Key": key})
    assert first.status_code == 200
    yield
    again = raw(agent, CALLS, calling(value), **{"Idempotency-Key": key})
    assert (again.status_code, again.json()["result"], again.json()["replayed"]) == (200, first.json()["result"], True)
    assert again.json()["receipts"] == first.json()["receipts"]
    assert len(effects(value)) == 1


@pytest.mark.parametrize(("text", "status", "code"), VALUES.values(), ids=VALUES)
def test_a_call_with_a_bad_value_is_refused_by_name_and_not_carried_out(agent, kept, text, status, code):
    value, key = fresh(), fresh("key")
    body = b'{"name": "put", "arguments": {"value": "' + value.encode() + b'", "more": ' + text + b"}}"
    problem(raw(agent, CALLS, body, **{"Idempotency-Key": key}), status, code)
    assert effects(value) == []
    assert not Call.objects.filter(key=key).exists()


@pytest.mark.parametrize(("body", "status", "code"), WHOLE.values(), ids=WHOLE)
def test_a_body_that_is_no_call_is_refused(agent, kept, body, status, code):
    problem(raw(agent, CALLS, body, **{"Idempotency-Key": fresh("key")}), status, code)


@pytest.mark.parametrize(("text", "status", "code"), VALUES.values(), ids=VALUES)
def test_the_registry_stores_nothing_of_a_bad_body(world, text, status, code):
    name, client = fresh("tool"), world.client("alice")
    body = f'{{"workspace": "{world.slug}", "kind": "tool", "name": "{name}", "content": '.encode() + text + b"}"
    problem(raw(client, VERSIONS, body), status, code)
    assert not Version.objects.filter(workspace=world.workspace, name=name).exists()
    version = world.version()
    body = f'{{"version": "{version.pk}", "environment": "development", "reason": '.encode() + text + b"}"
    problem(raw(client, PROPOSALS, body), status, code)
    assert not Proposal.objects.filter(version=version).exists()


@pytest.mark.parametrize("path", [CALLS, VERSIONS, PROPOSALS])
def test_another_form_than_json_is_refused(world, path):
    client = world.client("agent" if path == CALLS else "alice")
    headers = {"Idempotency-Key": fresh("key")}
    for kind in (
        "text/plain",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "application/xml",
    ):
        problem(raw(client, path, calling(), kind=kind, **headers), 415, "unsupported_media_type")


@pytest.mark.parametrize(("key", "code"), [(None, "idempotency_key_missing"), ("k" * 256, "idempotency_key_invalid")])
def test_a_call_needs_a_key(agent, kept, key, code):
    value = fresh()
    problem(raw(agent, CALLS, calling(value), **({"Idempotency-Key": key} if key else {})), 400, code)
    assert effects(value) == []


def test_a_tool_that_no_release_pins_is_denied_by_name_and_on_record(world, agent, kept):
    mark = world.mark()
    answer = raw(agent, CALLS, calling(name="no_such_tool"), **{"Idempotency-Key": fresh("key")})
    problem(answer, 403, "tool_unknown")
    assert world.since(mark) == ["gateway.call.decided"]


def test_another_body_under_the_same_key_is_refused_and_the_first_is_kept(agent):
    value, other, key = fresh(), fresh(), fresh("key")
    first = raw(agent, CALLS, calling(value), **{"Idempotency-Key": key})
    problem(raw(agent, CALLS, calling(other), **{"Idempotency-Key": key}), 422, "key_reused")
    problem(raw(agent, CALLS, calling(value, "look"), **{"Idempotency-Key": key}), 422, "key_reused")
    again = raw(agent, CALLS, calling(value), **{"Idempotency-Key": key})
    assert (again.json()["result"], again["Idempotency-Replayed"]) == (first.json()["result"], "true")
    assert (len(effects(value)), effects(other)) == (1, [])


def test_a_parked_call_answers_202_again_and_is_carried_out_by_nobody(world, agent):
    value, key = fresh(), fresh("key")
    answers = [raw(agent, CALLS, calling(value, "careful"), **{"Idempotency-Key": key}) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [202] * 3
    assert len({answer.json()["hold"] for answer in answers}) == 1
    assert effects(value) == []


def test_a_key_that_has_ended_opens_nothing(world, kept):
    secrets = {"expired": world.key(), "revoked": world.key()}
    query("UPDATE gateway_key SET expires_at = now() WHERE prefix = %s", secrets["expired"][:13])
    gone = Credential.objects.get(pk=credentials.authenticate(secrets["revoked"]).id)
    credentials.revoke(gone, **world.by("adam"))
    for how, secret in secrets.items():
        world.keys[how], value = secret, fresh()
        headers = {"Idempotency-Key": fresh("key"), "Authorization": f"Bearer {secret}"}
        answer = raw(world.client("anonymous"), CALLS, calling(value), **headers)
        problem(answer, 401, f"credential_{how}")
        assert answer["WWW-Authenticate"] == 'Bearer realm="placet"'
        assert effects(value) == []
    assert secrets["expired"] not in answer.content.decode()


def test_another_workspace_s_digest_session_and_version_are_like_none(world, kept):
    foreign, mallory = world.client("foreign"), world.client("mallory")
    value, session = fresh(), str(world.session())
    body = json.dumps({"name": "put", "arguments": {"value": value}, "session": session}).encode()
    problem(raw(foreign, CALLS, body, **{"Idempotency-Key": fresh("key")}), 403, "session_unknown")
    assert effects(value) == []
    part = {"kind": "agent", "name": "x", "workspace": world.other.slug}
    pins = [{"kind": "tool", "name": "look", "digest": _digest(world, "look")}]
    pins.append({"kind": "policy", "name": "steward-policy", "digest": _digest(world, "steward-policy")})
    body = json.dumps(part | {"content": {"pins": pins, "budgets": {}}}).encode()
    problem(raw(mallory, VERSIONS, body), 400, "pin_unknown")
    body = json.dumps({"version": str(world.version().pk), "environment": "development"}).encode()
    problem(raw(mallory, PROPOSALS, body), 404, "not_found")
    listed = mallory.get(VERSIONS, {"digest": _digest(world, "look")})
    assert listed.json()["results"] == []


def _digest(world, name):
    return Version.objects.filter(workspace=world.workspace, name=name).latest("number").digest


def test_times_that_cannot_be_are_refused(world):
    body = {"workspace": world.slug, "environment": "development", "agent": "steward", "scopes": ["tools:call"]}
    for when in ("yesterday", "9999-99-99", 0, (datetime.now(UTC) - timedelta(days=1)).isoformat()):
        answer = world.send("olga", "POST", "/api/v1/credentials/", body | {"expires_at": when})
        assert answer.status_code == 400
        assert answer.json()["field"] == "expires_at"
