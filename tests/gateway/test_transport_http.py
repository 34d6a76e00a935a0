"""Tools behind plain HTTP: what the server received is what counts, and what a status says about what happened."""

import json
import threading
import time
from dataclasses import dataclass
from uuid import UUID, uuid4

import pytest

from gateway import connect, transport
from gateway.transport import TransportFailed
from tests.gateway.web import Web, plain

WORKSPACE = uuid4()
GET = {"method": "GET", "path": "/repos/{owner}", "query": ["page", "label"]}
POST = {"method": "POST", "path": "/repos/{owner}/issues"}
CORRELATION = "0193b3a4-0000-7000-8000-00000000abcd"


@dataclass
class Contract:
    content: dict
    kind: str = "tool"
    name: str = "issues"


@pytest.fixture
def web():
    with Web() as web:
        yield web
    connect.close()


@pytest.fixture
def call(web, settings, tmp_path):
    """Return a function: transport members, arguments -> the result of one call to the web server."""
    settings.PLACET_EGRESS_ALLOW = web.here
    settings.PLACET_HOME = tmp_path
    settings.PLACET_LAUNCHERS = str(tmp_path / "launchers.toml")
    (tmp_path / "secrets").mkdir()
    (tmp_path / "secrets" / "forge").write_text("hush\n")

    def offer(url=f"{web.url}/api/", more=""):
        entry = f'[endpoints.forge]\nurl = "{url}"\nbearer = "forge"\nmethods = ["GET", "POST", "DELETE"]\n{more}\n'
        (tmp_path / "launchers.toml").write_text(entry)

    def call(agreed=GET, arguments=None, *, seconds=5.0, key="key-1", environment="development", **content):
        return transport.invoke(
            Contract({"transport": {"kind": "http", "endpoint": "forge", **agreed}, "effect": "read", **content}),
            {"owner": "alice"} if arguments is None else arguments,
            key=key,
            deadline=time.monotonic() + seconds,
            scope=transport.Scope(WORKSPACE, environment, "sha256:r"),
            correlation_id=CORRELATION,
        )

    call.offer = offer
    offer()
    return call


def answering(web, **how):
    """Let every path of the server answer so."""
    web.routes.clear()
    web.routes["/api/repos/alice"] = web.routes["/api/repos/alice/issues"] = lambda handler, body: plain(handler, **how)


def test_each_argument_goes_where_the_contract_says(call, web):
    result = call(GET, {"owner": "alice/ä b?#", "page": 2, "label": ["a&b", "c"]})
    assert web.requests[0][:2] == ("GET", "/api/repos/alice%2F%C3%A4%20b%3F%23?page=2&label=a%26b&label=c")
    assert web.requests[0][3] == b""
    assert (result.content, result.is_error) == ({"ok": True}, False)
    assert result.meta == {"transport": "http", "status": 200, "tries": 1}
    call(POST | {"query": ["draft"]}, {"owner": "alice", "title": "T", "n": 1, "draft": True})
    method, path, headers, body = web.requests[1]
    assert (method, path, json.loads(body)) == ("POST", "/api/repos/alice/issues?draft=true", {"title": "T", "n": 1})
    assert headers["Content-Type"] == "application/json"


def test_key_trace_and_secret_travel_as_headers_and_the_endpoint_has_the_last_word(call, web):
    call(POST, key="key-7")
    headers = web.requests[0][2]
    assert (headers["Idempotency-Key"], headers["Authorization"]) == ("key-7", "Bearer hush")
    assert headers["X-Correlation-ID"] == CORRELATION
    assert headers["traceparent"].split("-")[1] == UUID(CORRELATION).hex
    call(POST | {"key_header": "X-Request-Key"}, key="key-8")
    assert web.requests[1][2]["X-Request-Key"] == "key-8"
    assert "Idempotency-Key" not in web.requests[1][2]
    call(POST | {"key_header": "authorization"}, key="key-9")
    assert {n.lower(): v for n, v in web.requests[2][2].items()}["authorization"] == "Bearer hush"


@pytest.mark.parametrize("owner", ["..", ".", "", "a/../b", "..\\b", "a\nb", None, {"a": 1}, ["a"]])
def test_an_argument_cannot_lead_to_another_path(call, web, owner):
    with pytest.raises(TransportFailed) as failed:
        call(GET, {"owner": owner})
    assert (failed.value.code, failed.value.happened, web.lines) == ("arguments_unplaced", "no", 0)


def test_an_argument_without_a_place_stops_the_call(call, web):
    with pytest.raises(TransportFailed, match="'extra'") as failed:
        call(GET, {"owner": "alice", "extra": 1})
    assert (failed.value.code, failed.value.happened, web.lines) == ("arguments_unplaced", "no", 0)


@pytest.mark.parametrize(
    ("status", "code", "happened"),
    [
        (408, "tool_timeout", "maybe"),
        (429, "tool_busy", "no"),
        (500, "tool_server_error", "maybe"),
        (502, "tool_unreachable", "maybe"),
        (503, "tool_unreachable", "maybe"),
        (504, "tool_timeout", "maybe"),
        (302, "egress_redirect", "maybe"),
    ],
)
def test_a_status_says_what_may_have_happened(call, web, status, code, happened):
    answering(web, status=status, headers=[("Retry-After", "7"), ("Location", "/elsewhere")])
    with pytest.raises(TransportFailed) as failed:
        call(POST, effect="unsafe")
    assert (failed.value.code, failed.value.happened) == (code, happened)
    assert len(web.requests) == 1


@pytest.mark.parametrize(("given", "seconds"), [("7", 7), ("999999", 3600), ("soon", None), ("", None)])
def test_how_long_to_wait_is_passed_on_within_reason(given, seconds):
    from gateway.transport import web

    answer = connect.Answer(429, {"retry-after": given}, b"")
    assert web.refusal_of(answer).retry_after == seconds


@pytest.mark.parametrize("status", [400, 401, 403, 404, 409, 422])
def test_a_refusal_of_the_tool_is_its_answer(call, web, status):
    answering(web, status=status, content=b'{"why":"no"}')
    result = call(POST)
    assert (result.is_error, result.content) == (True, {"status": status, "body": {"why": "no"}})


@pytest.mark.parametrize(
    ("how", "code"),
    [
        ({"content": b'{"a":1,"a":2}'}, "tool_result_malformed"),
        ({"content": b'{"a":NaN}'}, "tool_result_malformed"),
        ({"content": b"half {"}, "tool_result_malformed"),
        ({"content": b"\xff"}, "tool_result_malformed"),
        ({"content": b"[" * 40 + b"]" * 40}, "tool_result_malformed"),
        ({"content": b'"' + b"x" * (1 << 20) + b'"'}, "tool_result_too_large"),
        ({"headers": [("Content-Encoding", "gzip")]}, "egress_encoded"),
    ],
)
def test_an_answer_that_is_not_what_was_agreed_is_withheld_and_may_have_happened(call, web, how, code):
    answering(web, **how)
    with pytest.raises(TransportFailed) as failed:
        call(POST, effect="unsafe")
    assert (failed.value.code, failed.value.happened) == (code, "maybe")


def test_text_is_an_answer_only_where_it_was_agreed(call, web):
    web.routes["/api/repos/alice"] = lambda handler, body: _text(handler)
    with pytest.raises(TransportFailed) as failed:
        call(GET)
    assert failed.value.code == "tool_result_malformed"
    assert call(GET | {"result": "text"}).content == "plain words"
    answering(web, status=204, content=b"")
    assert call(GET).content is None


def _text(handler):
    handler.send_response(200)
    handler.send_header("Content-Type", "text/plain")
    handler.send_header("Content-Length", "11")
    handler.end_headers()
    handler.wfile.write(b"plain words")


def test_a_deadline_after_the_request_left_says_maybe_and_before_it_says_no(call, web):
    web.routes["/api/repos/alice/issues"] = web.routes["/hang"]
    with pytest.raises(TransportFailed) as failed:
        call(POST, seconds=0.3, effect="unsafe")
    assert (failed.value.code, failed.value.happened) == ("tool_timeout", "maybe")
    with pytest.raises(TransportFailed) as failed:
        call(POST, seconds=-1)
    assert (failed.value.code, failed.value.happened, len(web.requests)) == ("tool_timeout", "no", 1)
    call.offer(more="timeout_ms = 200")
    with pytest.raises(TransportFailed) as failed:
        call(POST, effect="unsafe")
    assert failed.value.code == "tool_timeout"


@pytest.mark.parametrize(("effect", "tries"), [("read", 2), ("idempotent", 2), ("keyed", 2), ("unsafe", 1)])
def test_what_bears_repetition_is_repeated_with_the_same_key(call, web, effect, tries):
    web.routes["/api/repos/alice/issues"] = web.routes["/reset"]
    with pytest.raises(TransportFailed) as failed:
        call(POST, effect=effect, retry={"attempts": 2})
    assert (failed.value.code, failed.value.happened) == ("tool_unreachable", "maybe")
    assert [request[2]["Idempotency-Key"] for request in web.requests] == ["key-1"] * tries


@pytest.mark.parametrize(
    ("agreed", "more", "environment", "code"),
    [
        ({"endpoint": "other"}, "", "development", "endpoint_unknown"),
        ({}, 'bad = "x"', "development", "endpoint_invalid"),
        ({}, 'secrets = {X-Key = "not-there"}', "development", "endpoint_invalid"),
        ({}, 'environments = ["production"]', "development", "endpoint_forbidden"),
        ({}, 'workspaces = ["00000000-0000-4000-8000-000000000001"]', "development", "endpoint_forbidden"),
        ({"method": "PUT"}, "", "development", "endpoint_forbidden"),
    ],
)
def test_an_endpoint_that_is_not_offered_hears_nothing(call, web, agreed, more, environment, code):
    call.offer(more=more)
    with pytest.raises(TransportFailed) as failed:
        call(POST | agreed, environment=environment)
    assert (failed.value.code, failed.value.happened, web.lines) == (code, "no", 0)


def test_an_endpoint_inside_needs_the_operators_list(call, web, settings):
    settings.PLACET_EGRESS_ALLOW = ""
    with pytest.raises(TransportFailed) as failed:
        call(GET)
    assert (failed.value.code, failed.value.happened, web.lines) == ("egress_forbidden", "no", 0)


def test_calls_of_many_threads_share_connections(call, web):
    call(GET)
    threads = [threading.Thread(target=call) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(web.requests) == 17
    before = web.lines
    call(GET)
    assert web.lines == before <= 17
