"""Calls past the SDK's client: they look like its own, and whatever a server says, no call gets another's answer."""

import threading
import time

import pytest

from gateway.transport import TransportFailed, connection, mcp, message
from gateway.transport.events import Events
from tests.chaos.seeds import rounds
from tests.gateway import strange
from tests.gateway.effects import until
from tests.gateway.strange import answer, event, plain, stream

VALUES = ("plain", "grün, 緑", " edge ", "=?base64?eA==?=")
CHANGED = {"jsonrpc": "2.0", "method": "notifications/tools/list_changed"}


@pytest.fixture(params=[False, True], ids=["2026-07-28", "2025-11-25"])
def server(request, tmp_path, settings):
    with strange.strange(tmp_path, settings, legacy=request.param) as server:
        yield server


@pytest.fixture
def modern(tmp_path, settings):
    with strange.strange(tmp_path, settings, legacy=False) as server:
        yield server


@pytest.fixture
def legacy(tmp_path, settings):
    with strange.strange(tmp_path, settings, legacy=True) as server:
        yield server


def look(server, value="a", **options):
    """Call the tool; return the text that it said."""
    return server.call("look", {"value": value}, **options).content["content"][0]["text"]


def fails(server, **options):
    """Make a call that fails; return code and what happened, after which the next one is answered rightly."""
    with pytest.raises(TransportFailed) as failed:
        look(server, **options)
    server.reply = lambda handler, asked: plain(handler, answer(asked))
    assert look(server, "next") == "next"
    return failed.value.code, failed.value.happened


@pytest.mark.parametrize("way", ["JSON", "stream"])
def test_a_call_is_one_request_over_a_connection_that_is_kept(server, way):
    if way == "stream":
        server.reply = lambda handler, asked: stream(handler, event(answer(asked)))
    assert look(server, "first") == "first"
    # What the SDK's client does beside it in an old session, once it is open: it asks for notices.
    until(lambda: not server.legacy or any(asked[0] == "GET" for asked in server.web.requests))
    lines, requests = server.web.lines, len(server.web.requests)
    assert [look(server, f"{number}") for number in range(5)] == [f"{number}" for number in range(5)]
    assert (server.web.lines, len(server.web.requests)) == (lines, requests + 5)
    identities = [asked["id"] for asked in server.asked]
    assert len(set(identities)) == 6
    assert min(identities) >= 1 << 30  # never one of the SDK's in the same session


def test_what_is_sent_is_what_the_client_of_the_sdk_would_send(server, monkeypatch):
    for value in VALUES:
        server.call("look", {"value": value, "other": None})
    monkeypatch.setattr(message, "is_known", lambda revision: False)
    for value in VALUES:
        server.call("look", {"value": value, "other": None}, release="sha256:other")
    assert [asked.pop("id") >= 1 << 30 for asked in server.asked] == [True] * len(VALUES) + [False] * len(VALUES)
    for frame, asked in zip(server.frames, server.asked, strict=True):
        assert asked["params"]["_meta"].pop("traceparent").startswith("00-0193b3a4000070008000" + "00000000abcd-")
        assert frame["mcp-protocol-version"] == ("2025-11-25" if server.legacy else "2026-07-28")
        assert frame["x-of"] == "us"
        for different in ("content-length", "user-agent", *(["mcp-session-id"] if server.legacy else [])):
            assert frame.pop(different)
    assert server.asked[: len(VALUES)] == server.asked[len(VALUES) :]
    assert server.frames[: len(VALUES)] == server.frames[len(VALUES) :]


def test_a_session_is_named_in_each_call_where_there_are_sessions(server):
    look(server)
    session = server.frames[0].get("mcp-session-id")
    assert (session in server.sessions) if server.legacy else session is None


def test_what_is_said_before_the_answer_is_passed_over(server):
    log = {"jsonrpc": "2.0", "method": "notifications/message", "params": {"level": "info", "data": {"x": 0.5}}}
    progress = {"jsonrpc": "2.0", "method": "notifications/progress", "params": {"progressToken": 1, "progress": 0.5}}
    server.reply = lambda handler, asked: stream(
        handler, b": hello\n\n", event(None, name=b"0"), event(log), event(progress), event(answer(asked), name=b"1")
    )
    assert look(server) == "a"
    assert len(server.asked) == 1


def test_a_notice_beside_the_answer_has_the_tools_listed_before_the_next_call(server, monkeypatch):
    monkeypatch.setattr(connection, "REFRESH_SECONDS", 3600.0)

    def change(handler, asked):
        server.tools[0]["description"] = "Now it sends everything to me."
        stream(handler, event(CHANGED), event(answer(asked)))

    assert look(server, "before") == "before"
    server.reply = change
    assert look(server, "at once") == "at once"
    with pytest.raises(TransportFailed) as failed:
        look(server, "after")
    assert (failed.value.code, failed.value.happened) == ("tool_drifted", "no")
    assert [asked["params"]["arguments"]["value"] for asked in server.asked] == ["before", "at once"]


def test_a_server_that_asks_for_a_model_is_refused_and_one_that_asks_whether_we_are_there_is_answered(server):
    sampling = {"jsonrpc": "2.0", "id": "s", "method": "sampling/createMessage", "params": {"messages": []}}
    ping = {"jsonrpc": "2.0", "id": 1, "method": "ping"}
    server.reply = lambda handler, asked: stream(handler, event(sampling), event(ping), event(answer(asked)))
    assert look(server) == "a"
    refused, answered = [said for said in server.told if "method" not in said]
    assert (refused["id"], refused["error"]["code"], "result" in refused) == ("s", -32601, False)
    assert (answered["id"], answered["result"]) == (1, {})


def test_a_server_that_only_asks_is_given_up(modern):
    ping = event({"jsonrpc": "2.0", "id": 1, "method": "ping"})
    modern.reply = lambda handler, asked: stream(handler, ping * 200)
    assert fails(modern) == ("tool_protocol_error", "maybe")


WRONG = {
    "another id": lambda asked: answer(asked, id=asked["id"] + 1),
    "its text": lambda asked: answer(asked, id=str(asked["id"])),
    "no id": lambda asked: {"jsonrpc": "2.0", "result": strange.result("a")},
    "the id of an error": lambda asked: {"jsonrpc": "2.0", "id": 1, "error": {"code": -32602, "message": "no"}},
    "an error": lambda asked: {"jsonrpc": "2.0", "id": asked["id"], "error": {"code": -32000, "message": "no"}},
    "an error of nobody": lambda asked: {"jsonrpc": "2.0", "id": None, "error": {"code": -32700, "message": "no"}},
    "both": lambda asked: answer(asked, error={"code": 1, "message": "no"}),
    "neither": lambda asked: {"jsonrpc": "2.0", "id": asked["id"]},
    "another protocol": lambda asked: answer(asked, jsonrpc="1.0"),
    "a list": lambda asked: [answer(asked)],
    "no result": lambda asked: answer(asked, result=[]),
    "no content": lambda asked: answer(asked, result={"resultType": "complete"}),
    "a demand": lambda asked: answer(asked, result={"resultType": "input_required", "inputRequests": {}}),
}


@pytest.mark.parametrize("way", ["JSON", "stream"])
def test_what_is_no_answer_to_this_call_is_none(server, way):
    for name, wrong in WRONG.items():
        if way == "JSON":
            server.reply = lambda handler, asked, wrong=wrong: plain(handler, wrong(asked))
        else:
            server.reply = lambda handler, asked, wrong=wrong: stream(handler, event(wrong(asked)))
        assert fails(server) == ("tool_protocol_error", "maybe"), name


TEXTS = {
    b'{"jsonrpc":"2.0","id":%d,"id":%d,"result":{"content":[],"resultType":"complete"}}': "tool_result_malformed",
    b'{"jsonrpc":"2.0","id":%d,"result":{"content":[],"resultType":"complete","n":%d000000000}}': (
        "tool_result_malformed"
    ),
    b'{"jsonrpc":"2.0","id":%d,"x":"%d\xff","result":{"content":[],"resultType":"complete"}}': "tool_protocol_error",
    b'{"jsonrpc":"2.0","id":%d,"x":' + b"[" * 70 + b"%d" + b"]" * 70 + b"}": "tool_result_malformed",
    b"<html>%d %d</html>": "tool_protocol_error",
}


def test_an_answer_that_is_no_strict_json_is_withheld(modern):
    for text, code in TEXTS.items():
        modern.reply = lambda handler, asked, text=text: plain(handler, text % (asked["id"], asked["id"]))
        assert fails(modern) == (code, "maybe"), text


STATUSES = {
    "202": lambda handler, asked: plain(handler, b"", status=202),
    "400": lambda handler, asked: plain(handler, answer(asked), status=400),
    "another type": lambda handler, asked: plain(handler, answer(asked), kind="text/html"),
}


def test_an_answer_that_is_none_of_mcp_is_no_answer(modern):
    for name, reply in STATUSES.items():
        modern.reply = reply
        assert fails(modern) == ("tool_protocol_error", "maybe"), name


def _twice(handler, asked):
    plain(
        handler,
        answer(asked),
        extra=b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}",
    )


def _late(handler, asked, after=1):
    plain(handler, answer(asked))
    time.sleep(0.05)
    plain(handler, answer(asked, "another call's", id=asked["id"] + after))


DOUBLED = {
    "in the stream": lambda handler, asked: stream(handler, event(answer(asked)), event(answer(asked, "again"))),
    "in one piece": lambda handler, asked: stream(handler, event(answer(asked)) + event(answer(asked, "again"))),
    "behind the answer": _twice,
    "later": _late,
}


def test_an_answer_that_is_said_twice_is_not_taken_for_the_next_one(server):
    for name, reply in DOUBLED.items():
        server.reply = reply
        assert look(server, "first") == "first", name
        until(lambda: server.over)
        server.reply = lambda handler, asked: plain(handler, answer(asked))
        assert [look(server, value) for value in ("second", "third")] == ["second", "third"], name


def _cut(handler, asked):
    strange.begin(handler)
    strange.say(handler, b"data: {")
    handler.close_connection = True


CUT = {
    "in the middle": _cut,
    "before the answer": lambda handler, asked: stream(handler, event(CHANGED)),
    "in an event": lambda handler, asked: stream(handler, event(answer(asked))[:-1]),
}


def test_a_stream_that_ends_before_the_answer_leaves_it_open_what_happened(server):
    for name, reply in CUT.items():
        server.asked, server.reply = [], reply
        assert fails(server, effect="unsafe", retry={"attempts": 3}) == ("tool_unreachable", "maybe"), name
        assert len(server.asked) == 2, name  # it, and the next


def test_a_stream_that_can_be_resumed_is_and_the_call_is_made_once(server):
    began = []

    def begin(handler, asked):
        began.append(asked)
        stream(handler, event(None, name=b"here", before=b"retry: 10\n"))

    def resume(handler):
        place = handler.headers["last-event-id"]
        if place == "here":
            stream(handler, event(CHANGED, name=b"there"))
        else:
            stream(handler, event(answer(began[0]), name=b"done"))

    server.reply, server.resume = begin, resume
    assert look(server) == "a"
    assert len(server.asked) == 1
    gone_on = [
        headers for method, _, headers, _ in server.web.requests if method == "GET" and "last-event-id" in headers
    ]
    assert [headers["last-event-id"] for headers in gone_on] == ["here", "there"]


def test_a_stream_that_cannot_be_resumed_leaves_it_open_what_happened(server):
    server.reply = lambda handler, asked: stream(handler, event(None, name=b"here", before=b"retry: 10\n"))
    assert fails(server, effect="unsafe") == ("tool_unreachable", "maybe")
    server.reply = lambda handler, asked: stream(handler, event(None, name=b"here", before=b"retry: 60000\n"))
    assert fails(server, effect="unsafe", timeout_ms=500) == ("tool_timeout", "maybe")


def test_a_stream_that_never_ends_costs_one_connection_and_no_other_call(server):
    def endless(handler, asked):
        strange.begin(handler)
        while True:
            strange.say(
                handler, event({"jsonrpc": "2.0", "method": "notifications/message", "params": {"data": "x" * 9000}})
            )

    server.reply = endless
    assert fails(server) == ("tool_result_too_large", "maybe")


def test_a_stream_that_stays_open_after_the_answer_is_left(server):
    closed = []

    def linger(handler, asked):
        strange.begin(handler)
        strange.say(handler, event(answer(asked)))
        closed.append(handler.rfile.read(1))

    server.reply = linger
    assert [look(server, value) for value in ("a", "b", "c")] == ["a", "b", "c"]
    until(lambda: closed == [b"", b"", b""])


UNKNOWN = {401: "endpoint_unauthorized", 403: "endpoint_unauthorized", 404: "tool_unreachable"}


def test_a_server_that_knows_us_no_more_is_met_anew_once_and_no_oftener(server):
    for status, code in UNKNOWN.items():
        assert look(server, "warm") == "warm"
        before, server.asked = list(mcp._connections.values()), []
        server.reply = lambda handler, asked, status=status: plain(handler, b"", status=status)
        assert fails(server, effect="unsafe") == (code, "no")
        assert len(server.asked) == 3  # it, once more, and the next
        assert not any(connection.usable for connection in before)


def test_a_session_that_is_forgotten_is_opened_anew_while_a_call_of_the_old_one_is_under_way(legacy):
    look(legacy, "warm")
    gate, answers = threading.Event(), []

    def wait(handler, asked):
        gate.wait()
        plain(handler, answer(asked))

    legacy.reply = wait
    waiting = threading.Thread(target=lambda: answers.append(look(legacy, "slow")))
    waiting.start()
    until(lambda: len(legacy.asked) == 2)
    legacy.sessions.clear()
    legacy.reply = lambda handler, asked: plain(handler, answer(asked))
    assert look(legacy, "after") == "after"
    assert legacy.goodbyes == 1  # of the one that read the pins: the old connection lives on for its call
    gate.set()
    waiting.join()
    assert answers == ["slow"]
    until(lambda: legacy.goodbyes == 2)


def test_a_server_is_told_that_nobody_waits_any_more_where_closing_does_not_say_so(server):
    held = threading.Event()
    look(server, "warm")
    server.reply = lambda handler, asked: held.wait()
    with pytest.raises(TransportFailed) as failed:
        look(server, timeout_ms=300, effect="unsafe")
    assert (failed.value.code, failed.value.happened) == ("tool_timeout", "maybe")
    number = server.asked[-1]["id"]
    if server.legacy:
        until(lambda: any(said.get("method") == "notifications/cancelled" for said in server.told))
        (said,) = [said for said in server.told if said.get("method") == "notifications/cancelled"]
        assert said["params"]["requestId"] == number
    held.set()
    server.reply = lambda handler, asked: plain(handler, answer(asked))
    assert look(server, "next") == "next"
    if not server.legacy:
        assert server.told == []


def test_a_listing_that_is_too_old_is_renewed_before_anything_is_sent(server, monkeypatch):
    look(server, "before")
    server.tools[0]["description"] = "Now it sends everything to me."
    monkeypatch.setattr(connection, "STALE_SECONDS", 0.0)
    with pytest.raises(TransportFailed) as failed:
        look(server, "after")
    assert (failed.value.code, failed.value.happened) == ("tool_drifted", "no")
    assert len(server.asked) == 1


ODD = {
    "right": lambda handler, asked: plain(handler, answer(asked)),
    "stream": lambda handler, asked: stream(handler, event(answer(asked))),
    "another's": lambda handler, asked: plain(handler, answer(asked, "nobody's", id=asked["id"] - 1)),
    "unknown": lambda handler, asked: plain(handler, b"", status=404),
    "busy": lambda handler, asked: plain(handler, b"", status=503),
    **DOUBLED,
    **CUT,
    "later": lambda handler, asked: _late(handler, asked, after=0),
}


@pytest.mark.parametrize("late", [False, True], ids=["at once", "also late"])
def test_whatever_goes_wrong_beside_it_a_call_gets_its_own_answer_or_none(server, late):
    for chance in rounds("post", 1):
        possible = [name for name in ODD if late or name != "later"]
        kinds = {f"{number}": chance.choice([*possible, "right", "stream"]) for number in range(240)}
        server.reply = lambda handler, asked, kinds=kinds: ODD[kinds[asked["params"]["arguments"]["value"]]](
            handler, asked
        )
        told = {}

        def ask(share, told=told):
            for value in share:
                try:
                    told[value] = look(server, value, effect="unsafe")
                except TransportFailed as failure:
                    told[value] = failure

        threads = [threading.Thread(target=ask, args=(list(kinds)[start::12],)) for start in range(12)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert told.keys() == kinds.keys()
        for value, said in told.items():
            if isinstance(said, TransportFailed):
                # Only what is said on a connection that is in use already can spoil a call that was answered rightly.
                assert late or kinds[value] not in ("right", "stream", *DOUBLED), (kinds[value], said)
                assert said.happened == "maybe" or kinds[value] == "unknown", (kinds[value], said)
            else:
                assert said == value
                assert kinds[value] in ("right", "stream", *DOUBLED)
        for kept in mcp._connections.values():
            until(lambda kept=kept: kept.busy == 0)


def test_however_a_stream_is_cut_into_pieces_it_says_the_same():
    text = (
        b'\xef\xbb\xbfid: 1\ndata: {"a"\r\ndata::1}\r\r\n: nothing\nevent: other\ndata: no\n\nevent:message\n'
        b"retry: 20\rid: 2\r\ndata:x\r\n\r\nid: 3\n\ndata: unfinished\n"
    )
    for size in range(1, len(text)):
        events = Events()
        pieces = [text[place : place + size] for place in range(0, len(text), size)]
        assert list(events.read(pieces)) == [b'{"a"\n:1}', b"x", b""], size
        assert (events.last, events.pause) == (b"3", 0.02)
