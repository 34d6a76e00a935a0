"""Tool calls over REST: each bad input is a clear problem, nothing is executed by mistake, nothing is lost."""

import json
from uuid import uuid4

import pytest
from django.test import Client

from gateway import credentials, holds
from gateway.models import Credential, Hold
from tests.gateway.stage import effects, events, fresh, query

URL = "/api/v1/tool-calls/"


@pytest.fixture
def key(stage):
    return stage.key()


@pytest.fixture
def ask(stage, key):
    """Return a function that posts a call and returns the response."""

    def post(body=None, *, raw=None, bearer=key, idempotency=None, content_type="application/json", **members):
        body = {"name": "look", "arguments": {"value": fresh()}} | members if body is None else body
        headers = {"Idempotency-Key": idempotency or fresh("key")}
        if bearer:
            headers["Authorization"] = f"Bearer {bearer}"
        data = json.dumps(body).encode() if raw is None else raw
        return Client().post(URL, data=data, content_type=content_type, headers=headers)

    return post


def test_an_allowed_call_is_200_with_its_result_and_receipts(ask):
    value = fresh()
    response = ask(name="put", arguments={"value": value})
    body = response.json()
    assert (response.status_code, body["status"], body["result"]) == (200, "finished", {"value": value})
    assert (len(body["receipts"]), body["replayed"]) == (2, False)
    assert response.headers["Cache-Control"] == "no-store"
    assert len(effects(value)) == 1


def test_a_denial_is_403_with_its_reasons(ask):
    value = fresh()
    response = ask(name="forbidden", arguments={"value": value})
    body = response.json()
    assert (response.status_code, body["code"], body["outcome"]) == (403, "tool_denied", "denied")
    assert response.headers["Content-Type"] == "application/problem+json"
    assert [reason["code"] for reason in body["reasons"]] == ["tool_denied"]
    assert effects(value) == []
    assert events(body["call"]) == ["call.decided"]


def test_a_parked_call_is_202_and_again_202_until_somebody_decides(stage, ask):
    value = fresh()
    asked = {"name": "careful", "arguments": {"value": value}, "idempotency": value}
    first, second = ask(**asked), ask(**asked)
    assert (first.status_code, second.status_code) == (202, 202)
    assert first.headers["Location"] == f"{URL}{first.json()['id']}/"
    assert first.headers["Retry-After"] == "5"
    assert (second.headers["Idempotency-Replayed"], effects(value)) == ("true", [])
    hold = Hold.objects.get(pk=first.json()["hold"])
    holds.approve(hold.pk, approver=stage.people["bob"], digest=hold.digest, now=stage.now, correlation_id="test")
    third = ask(**asked)
    assert (third.status_code, third.json()["result"], len(effects(value))) == (200, {"value": value}, 1)


def test_the_same_key_and_body_replay_and_another_body_is_422(ask):
    value = fresh()
    asked = {"name": "put", "arguments": {"value": value}}
    first, second = (ask(asked, idempotency=value) for _ in range(2))
    assert first.json()["result"] == second.json()["result"]
    assert second.headers["Idempotency-Replayed"] == "true"
    other = fresh()
    third = ask(asked | {"arguments": {"value": other}}, idempotency=value)
    assert (third.status_code, third.json()["code"]) == (422, "key_reused")
    assert (len(effects(value)), effects(other)) == (1, [])


DEEP = b'{"name":"look","arguments":' + b'{"a":' * 100 + b"1" + b"}" * 101
BAD = [
    (b" ", 400, "json_malformed"),
    (b"{", 400, "json_malformed"),
    (b"[]", 400, "invalid"),
    (b'{"name":"look"}', 400, "invalid"),
    (b'{"name":"look","arguments":[]}', 400, "invalid"),
    (b'{"name":"lo\\u0000ok","arguments":{}}', 400, "invalid"),
    (b'{"name":"look\\n\\u0000","arguments":{}}', 400, "invalid"),
    (b'{"name":"look","arguments":{},"more":1}', 400, "invalid"),
    (b'{"name":"look","arguments":{},"run":{}}', 400, "invalid"),
    (b'{"name":"look","arguments":{},"session":"nobody"}', 400, "invalid"),
    (b'{"name":"look","arguments":{},"session":"------------------------------------"}', 400, "invalid"),
    (b'{"name":"look","arguments":{},"timeout_ms":0}', 400, "invalid"),
    (b'{"name":"look","arguments":{"value":"a","value":"b"}}', 400, "json_duplicate_key"),
    (b'{"name":"look","arguments":{"value":NaN}}', 400, "json_number"),
    (b'{"name":"look","arguments":{"value":1e999}}', 400, "json_number"),
    (b'{"name":"look","arguments":{"value":9007199254740993}}', 400, "json_number"),
    (b'{"name":"look","arguments":{"value":"\xff"}}', 400, "json_not_utf8"),
    (b'{"name":"look","arguments":{"value":"\\ud800"}}', 400, "json_surrogate"),
    (DEEP, 400, "json_too_deep"),
    (b'{"name":"look","arguments":{"value":"' + b"x" * 1_048_576 + b'"}}', 413, "body_too_large"),
    (b'{"name":"look","arguments":{"value":"' + b"x" * 5_000_000 + b'"}}', 413, "body_too_large"),
]


@pytest.mark.parametrize(("raw", "status", "code"), BAD)
def test_bad_input_is_a_clear_problem_and_nothing_is_claimed(stage, ask, key, raw, status, code):
    response = ask(raw=raw)
    body = response.json()
    assert (response.status_code, body["code"]) == (status, code)
    assert body.keys() >= {"type", "title", "status", "detail", "instance", "correlation_id"}
    assert response.headers["Content-Type"] == "application/problem+json"
    principal = credentials.authenticate(key)
    assert query("SELECT 1 FROM gateway_call WHERE credential_id = %s", principal.id) == []


def test_a_call_without_an_idempotency_key_is_refused(key):
    body = {"name": "look", "arguments": {"value": "v"}}
    response = Client().post(URL, body, content_type="application/json", headers={"Authorization": f"Bearer {key}"})
    assert (response.status_code, response.json()["code"]) == (400, "idempotency_key_missing")


def test_a_key_that_is_too_long_is_refused(ask):
    assert ask(idempotency="k" * 256).json()["code"] == "idempotency_key_invalid"


def test_only_json_is_understood(ask):
    response = ask(content_type="text/plain")
    assert (response.status_code, response.json()["code"]) == (415, "unsupported_media_type")


def test_without_a_good_key_nobody_calls(stage, ask, client_for):
    value = fresh()
    asked = {"name": "put", "arguments": {"value": value}}
    revoked = stage.key()
    row = Credential.objects.get(pk=credentials.authenticate(revoked).id)
    credentials.revoke(row, actor=stage.people["adam"], now=stage.now)
    expired = stage.key()
    query("UPDATE gateway_key SET expires_at = now() WHERE prefix = %s", expired[:13])
    answers = [ask(asked, bearer=bearer) for bearer in (None, "nonsense", revoked, expired)]
    assert [answer.status_code for answer in answers] == [401] * 4
    codes = ["credential_missing", "credential_malformed", "credential_revoked", "credential_expired"]
    assert [answer.json()["code"] for answer in answers] == codes
    assert all(answer.headers["WWW-Authenticate"] == 'Bearer realm="placet"' for answer in answers)
    signed_in = client_for(stage.people["olga"]).post(URL, asked, headers={"Idempotency-Key": "k"})
    assert (signed_in.status_code, signed_in.json()["code"]) == (401, "credential_missing")
    assert effects(value) == []


def test_a_foreign_session_is_like_none(stage, ask):
    response = ask(session=str(uuid4()))
    assert (response.status_code, response.json()["code"]) == (403, "session_unknown")


@pytest.mark.parametrize(
    ("tool", "value", "status", "code"),
    [
        ("look", "unreachable", 502, "tool_unreachable"),
        ("look", "lost", 504, "tool_timeout"),
        ("strict", "say:no", 502, "result_invalid"),
        ("no_such_tool", "v", 403, "tool_unknown"),
    ],
)
def test_what_came_to_no_answer_says_why(ask, tool, value, status, code):
    response = ask(name=tool, arguments={"value": value})
    assert (response.status_code, response.json()["code"]) == (status, code)


def test_a_failure_of_ours_is_503_and_may_be_tried_again(ask, monkeypatch):
    from gateway import pdp

    monkeypatch.setattr(pdp, "decide", lambda *given, **named: 1 / 0)
    value = fresh()
    response = ask(name="put", arguments={"value": value}, idempotency=value)
    assert (response.status_code, response.json()["code"], response.json()["again"]) == (503, "gateway_failed", True)
    assert (response.headers["Retry-After"], effects(value)) == ("1", [])
    monkeypatch.undo()
    assert ask(name="put", arguments={"value": value}, idempotency=value).status_code == 200


def test_a_call_under_way_is_409(stage, ask):
    from tests.gateway.stage import DURING, at_once

    value, told = fresh(), []
    asked = {"name": "put", "arguments": {"value": value}, "idempotency": value}
    DURING[value] = lambda: told.extend(at_once(lambda: ask(**asked)))
    assert ask(**asked).status_code == 200
    assert [(one.status_code, one.json()["code"], one.headers["Retry-After"]) for one in told] == [
        (409, "in_flight", "1")
    ]


def test_a_caller_sees_its_own_calls_and_a_member_those_of_the_workspace(stage, ask, key, client_for):
    made = ask(name="put").json()["id"]
    own = Client(headers={"Authorization": f"Bearer {key}"})
    other = Client(headers={"Authorization": f"Bearer {stage.key()}"})
    assert [row["id"] for row in own.get(URL).json()["results"]] == [made]
    assert other.get(URL).json()["results"] == []
    assert other.get(f"{URL}{made}/").status_code == 404
    assert own.get(f"{URL}{made}/").json()["outcome"]["status"] == "finished"
    member, stranger = client_for(stage.people["dave"]), client_for(stage.people["mallory"])
    listed = member.get(URL, {"workspace": stage.workspace.slug, "name": "put", "limit": 200}).json()["results"]
    assert made in [row["id"] for row in listed]
    assert member.get(f"{URL}{made}/").status_code == 200
    assert stranger.get(f"{URL}{made}/").status_code == 404
    assert stranger.get(URL, {"workspace": stage.workspace.slug}).status_code == 404
    assert Client().get(URL).status_code == 401


def test_a_list_goes_on_page_by_page(stage, ask, key):
    made = [ask().json()["id"] for _ in range(3)]
    client = Client(headers={"Authorization": f"Bearer {key}"})
    first = client.get(URL, {"limit": 2}).json()
    second = client.get(first["next"]).json()
    assert [row["id"] for row in first["results"] + second["results"]] == made[::-1]
    assert second["next"] is None
    assert client.get(URL, {"cursor": "nonsense"}).json()["code"] == "cursor_invalid"


def test_a_person_settles_over_rest(stage, ask, client_for):
    lost = ask(name="launch", arguments={"value": "lost"}).json()["call"]
    url = f"{URL}{lost}/settlements/"
    body = {"outcome": "happened", "result": {"seen": 1}}
    assert client_for(stage.people["dave"]).post(url, body, format="json").status_code == 403
    assert client_for(stage.people["mallory"]).post(url, body, format="json").status_code == 404
    settled = client_for(stage.people["olga"]).post(url, body, format="json")
    assert (settled.status_code, settled.json()["result"]) == (201, {"seen": 1})
    again = client_for(stage.people["olga"]).post(url, body, format="json")
    assert (again.status_code, again.json()["code"]) == (409, "call_not_unknown")
