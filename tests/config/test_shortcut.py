"""The making of a call goes past the middleware of browsers, and is answered as if it had gone through it."""

import pytest
from django.test import Client

PATH = "/api/v1/tool-calls/"


@pytest.fixture
def client(db):
    return Client()


def test_an_answer_has_the_headers_of_every_other_answer(client):
    short = client.post(PATH, {}, content_type="application/json")
    long = client.get(PATH)
    assert (short.status_code, long.status_code) == (401, 401)
    kept = set(long.headers) - {"Allow", "Vary", "Date"}
    assert kept <= set(short.headers)
    for name in kept - {"Content-Length", "X-Correlation-ID"}:
        assert short[name] == long[name], name
    assert short["Content-Length"] == str(len(short.content))
    assert short["X-Correlation-ID"] == short.json()["correlation_id"] != long["X-Correlation-ID"]


def test_a_host_that_is_not_ours_is_refused(client, settings):
    settings.ALLOWED_HOSTS = ["placet.example"]
    refused = client.post(PATH, {}, content_type="application/json", headers={"Host": "evil.example"})
    assert (refused.status_code, refused.json()["code"]) == (400, "bad_request")
    ours = client.post(PATH, {}, content_type="application/json", headers={"Host": "placet.example"})
    assert ours.status_code == 401


def test_a_cookie_is_no_credential_and_none_is_set(client, people):
    client.force_login(people["alice"])
    answer = client.post(PATH, {"name": "x", "arguments": {}}, content_type="application/json")
    assert (answer.status_code, answer.json()["code"]) == (401, "credential_missing")
    assert not answer.cookies
