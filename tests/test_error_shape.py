"""One shape for every error: a problem document that names itself and its request, and tells nothing of our insides."""

import json
from contextlib import contextmanager

import pytest
from django.db import connection
from django.urls import path

from registry.api.people import Workspaces
from tests.gateway.stage import fresh

pytest_plugins = ["tests.shared"]
MEMBERS = {"type", "title", "status", "code", "detail", "instance", "correlation_id"}
INSIDES = ("Traceback", "psycopg", "django", "site-packages", 'File "', "SELECT", "line ")


class Broken(Workspaces):
    """A view with a bug of ours, whose message holds a secret."""

    def get(self, request):
        raise ZeroDivisionError("the password is hunter2")


urlpatterns = [path("api/v1/broken/", Broken.as_view()), path("broken/", Broken().get)]


def problem(answer, status, code):
    """Return the document, once everything about its form is right."""
    document = json.loads(answer.content)
    assert (answer.status_code, document["code"]) == (status, code), document
    assert answer["Content-Type"] == "application/problem+json"
    assert document.keys() >= MEMBERS
    assert (document["status"], document["type"]) == (status, f"urn:placet:error:{code}")
    assert document["title"] and document["detail"]
    assert document["instance"] == answer.wsgi_request.path
    assert document["correlation_id"] == answer["X-Correlation-ID"]
    assert not [word for word in INSIDES if word in answer.content.decode()]
    assert ("WWW-Authenticate" in answer) is (status == 401)
    if status in (409, 429, 503):
        assert int(answer["Retry-After"]) >= 1
    return document


@contextmanager
def without_database(tmp_path):
    """Let this process look for its database where there is none."""
    place = connection.settings_dict["HOST"]
    connection.close()
    connection.settings_dict["HOST"] = str(tmp_path)
    try:
        yield
    finally:
        connection.close()
        connection.settings_dict["HOST"] = place


def call(world, name="put", **more):
    headers = {"Idempotency-Key": fresh("key"), **more.pop("headers", {})}
    body = {"name": name, "arguments": {"value": fresh()}} | more
    return world.send("agent", "POST", "/api/v1/tool-calls/", body, **headers)


def approve(world, **headers):
    proposal = world.proposal()
    where = f"/api/v1/proposals/{proposal.pk}/approvals/"
    return world.send("bob", "POST", where, {"comment": "Good."}, **headers)


# status -> (code, request)
ERRORS = {
    "400 of a body": (400, "invalid", lambda w: w.send("alice", "POST", "/api/v1/versions/", {})),
    "400 of a member": (400, "member_unknown", lambda w: w.send("alice", "POST", "/api/v1/stops/", {"x": 1})),
    "400 of a query": (400, "invalid", lambda w: w.send("dave", "GET", "/api/v1/records/")),
    "400 of a call": (400, "invalid", lambda w: call(w, kind="x")),
    "401": (401, "not_authenticated", lambda w: w.send("anonymous", "GET", "/api/v1/workspaces/")),
    "401 of a call": (401, "credential_missing", lambda w: w.send("alice", "POST", "/api/v1/tool-calls/", {})),
    "403": (403, "role_missing", lambda w: w.send("dave", "POST", f"/api/v1/versions/{w.version().pk}/checks/", {})),
    "403 of a credential": (403, "forbidden", lambda w: w.send("agent", "GET", "/api/v1/workspaces/")),
    "403 of a call": (403, "tool_unknown", lambda w: call(w, "nothing")),
    "404 of a row": (404, "not_found", lambda w: w.send("mallory", "GET", f"/api/v1/versions/{w.release.pk}/")),
    "404 of an address": (404, "not_found", lambda w: w.send("alice", "GET", "/api/v1/nowhere/")),
    "405": (405, "method_not_allowed", lambda w: w.send("adam", "PUT", "/api/v1/workspaces/", {})),
    "405 of a call": (405, "method_not_allowed", lambda w: w.send("agent", "DELETE", "/api/v1/tool-calls/")),
    "406": (406, "not_acceptable", lambda w: w.send("adam", "GET", "/api/v1/workspaces/", Accept="text/csv")),
    "409": (409, "no_live_release", lambda w: call_run(w, "nobody")),
    "412": (412, "digest_mismatch", lambda w: approve(w, **{"If-Match": '"sha256:0"'})),
    "428": (428, "precondition_missing", approve),
}


def call_run(world, agent):
    body = {"workspace": world.slug, "environment": "development", "agent": agent, "goal": "Do it."}
    return world.send("alice", "POST", "/api/v1/runs/", body, **{"Idempotency-Key": fresh("key")})


@pytest.mark.parametrize(("status", "code", "ask"), ERRORS.values(), ids=ERRORS)
def test_every_error_has_the_same_shape(world, status, code, ask):
    problem(ask(world), status, code)


def test_a_body_of_another_type_is_415_and_one_too_large_is_413(world):
    client, path = world.client("alice"), "/api/v1/versions/"
    problem(client.generic("POST", path, b"x", content_type="text/plain"), 415, "unsupported_media_type")
    large = b'"' + b"x" * 1_048_577 + b'"'
    problem(client.generic("POST", path, large, content_type="application/json"), 413, "body_too_large")


def test_another_call_under_the_same_key_is_422(world):
    headers = {"Idempotency-Key": fresh("key")}
    assert call(world, headers=headers).status_code == 200
    problem(call(world, headers=headers), 422, "key_reused")


def test_a_session_without_the_csrf_token_is_403(world):
    problem(world.send("alice", "POST", "/api/v1/versions/", {}, csrf=True), 403, "forbidden")


def test_a_bug_of_ours_is_500_and_says_nothing_of_itself(world, settings):
    settings.ROOT_URLCONF = "tests.test_error_shape"
    document = problem(world.send("alice", "GET", "/api/v1/broken/"), 500, "internal_error")
    assert "hunter2" not in json.dumps(document)


def test_without_the_database_it_is_503_and_works_again_afterwards(world, tmp_path):
    asked = [
        lambda: world.send("alice", "GET", "/api/v1/workspaces/"),
        lambda: world.send("agent", "GET", "/api/v1/tool-calls/"),
        lambda: call(world),
    ]
    with without_database(tmp_path):
        for ask in asked:
            assert problem(ask(), 503, "unavailable")["detail"]
        ready = world.send("anonymous", "GET", "/readyz")
        assert (ready.status_code, ready.json()["ready"]) == (503, False)
        assert world.send("anonymous", "GET", "/livez").status_code == 200
    for ask in asked:
        assert ask().status_code == 200


def test_an_error_in_a_browser_is_a_page_without_our_insides(world):
    answer = world.send("alice", "GET", "/w/nowhere/", form=True)
    assert (answer.status_code, answer["Content-Type"].split(";")[0]) == (404, "text/html")
    assert not [word for word in INSIDES if word in answer.content.decode()]
