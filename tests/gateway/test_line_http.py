"""An http tool on the whole line: decided and recorded before the request, its answer checked after it."""

import json

import pytest

from gateway import connect
from tests.gateway.stage import SCHEMA, fresh
from tests.gateway.web import Web, plain

HTTP = {
    "description": "Keeps a value.",
    "input_schema": SCHEMA,
    "output_schema": {"type": "object", "required": ["kept"]},
    "transport": {"kind": "http", "endpoint": "keep", "method": "POST", "path": "/values"},
    "effect": "unsafe",
    "risk": "low",
}


@pytest.fixture
def web(settings, tmp_path):
    """A server behind the endpoint `keep`."""
    with Web() as web:
        settings.PLACET_EGRESS_ALLOW = web.here
        settings.PLACET_LAUNCHERS = str(tmp_path / "launchers.toml")
        (tmp_path / "launchers.toml").write_text(f'[endpoints.keep]\nurl = "{web.url}"\n')
        web.routes["/values"] = lambda handler, body: plain(handler, content=b'{"kept": true}')
        yield web
    connect.close()


@pytest.fixture
def keeper(stage):
    """A principal whose release pins the http tool under a name that its policy allows, and one that it does not."""
    name = fresh("keeper")
    stage.live({"put": HTTP, "forbidden": HTTP}, agent=name)
    return stage.agent(agent=name)


def test_an_http_tool_is_asked_once_after_a_decision_and_not_at_all_without_one(stage, keeper, web):
    value = fresh()
    outcome = stage.call(keeper, "put", value)
    assert (outcome.status, outcome.result, len(outcome.receipts)) == ("finished", {"kept": True}, 2)
    assert [json.loads(body) for *_, body in web.requests] == [{"value": value}]
    denied = stage.call(keeper, "forbidden", value)
    assert (denied.status, len(web.requests)) == ("denied", 1)


def test_what_a_status_leaves_open_waits_for_a_person_and_what_it_settles_does_not(stage, keeper, web):
    web.routes["/values"] = lambda handler, body: plain(handler, status=502)
    outcome = stage.call(keeper, "put")
    assert (outcome.status, outcome.code, outcome.again) == ("unknown", "tool_unreachable", False)
    web.routes["/values"] = lambda handler, body: plain(handler, status=429)
    outcome = stage.call(keeper, "put")
    assert (outcome.status, outcome.code, outcome.again) == ("failed", "tool_busy", True)
    web.routes["/values"] = lambda handler, body: plain(handler, status=409, content=b'{"why": "taken"}')
    outcome = stage.call(keeper, "put")
    assert (outcome.status, outcome.is_error) == ("finished", True)
    assert outcome.result == {"status": 409, "body": {"why": "taken"}}


def test_an_answer_that_does_not_fit_its_contract_is_withheld(stage, keeper, web):
    web.routes["/values"] = lambda handler, body: plain(handler, content=b'{"lost": true}')
    outcome = stage.call(keeper, "put")
    assert (outcome.status, outcome.code, outcome.result) == ("failed", "result_invalid", None)
    assert len(web.requests) == 1
