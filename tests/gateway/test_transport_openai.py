"""Models behind OpenAI-compatible endpoints, against a server that is strict about the protocol."""

import json
import time
from dataclasses import dataclass
from uuid import uuid4

import pytest

from gateway import connect, limits, transport
from gateway.transport import TransportFailed, chat, openai
from tests.tools.openai_server import OpenAI

PRICES = {"input_micro_usd_per_million_tokens": 1_000_000, "output_micro_usd_per_million_tokens": 2_000_000}
GOAL = {"role": "user", "content": "Tidy up."}
LOOK = {"name": "look", "description": "Look.", "input_schema": {"type": "object", "properties": {"value": {}}}}
ODD = {"name": "git.log-" + "x" * 80, "description": "", "input_schema": {"type": "object"}}


@dataclass
class Model:
    content: dict
    kind: str = "model"
    name: str = "thinker"
    digest: str = "sha256:" + "0" * 64


@pytest.fixture
def ask(settings, tmp_path):
    """Return a function: answers of a server, call arguments -> the result; `ask.server` is the last server."""
    settings.PLACET_HOME = tmp_path
    settings.PLACET_LAUNCHERS = str(tmp_path / "launchers.toml")
    (tmp_path / "secrets").mkdir()
    (tmp_path / "secrets" / "lab").write_text("sk-hush")
    running = []

    def ask(*answers, messages=None, seconds=5.0, parameters=None, more="", retry=None, **arguments):
        if answers:
            running.append(OpenAI(answers).__enter__())
            ask.server = running[-1]
        settings.PLACET_EGRESS_ALLOW = ask.server.here
        entry = f'[endpoints.lab]\nurl = "{ask.server.url}/v1"\nbearer = "lab"\n{more}\n'
        (tmp_path / "launchers.toml").write_text(entry)
        content = {"provider": "openai", "model": "small", "endpoint": "lab", "context_length": 8000, "prices": PRICES}
        if retry:
            content["retry"] = {"attempts": retry}
        ask.contract = Model(content | {"parameters": parameters or {}})
        return transport.invoke(
            ask.contract,
            {"messages": messages or [GOAL], **arguments},
            key="key-1",
            deadline=time.monotonic() + seconds,
            scope=transport.Scope(uuid4(), "production", "sha256:r"),
            correlation_id="0193b3a4-0000-7000-8000-00000000abcd",
        )

    yield ask
    for server in running:
        server.__exit__()
    connect.close()


@pytest.fixture(params=[False, True], ids=["whole", "streamed"])
def stream(request):
    """The parameters of a contract whose answers come whole, or in a stream."""
    return {"stream": True} if request.param else {}


def test_an_answer_has_the_form_that_every_model_gives(ask, stream):
    result = ask({"say": "Done ✓ ä", "usage": (20, 3)}, parameters=stream)
    assert result.content == {
        "message": "Done ✓ ä",
        "tool_calls": [],
        "usage": {"input_tokens": 20, "output_tokens": 3},
        "finish": "stop",
        "model": "small-1",
    }
    assert (result.is_error, result.meta) == (False, {"transport": "openai", "tries": 1})


def test_the_request_is_made_of_the_contract_and_the_call(ask):
    parameters = {"temperature": 0.5, "max_output_tokens": 300}
    ask({"say": "x"}, parameters=parameters, tools=[LOOK], prompt="brief")
    (body,) = ask.server.bodies
    assert body == {
        "model": "small",
        "messages": [GOAL],
        "tools": [
            {
                "type": "function",
                "function": {"name": "look", "description": "Look.", "parameters": LOOK["input_schema"]},
            }
        ],
        "temperature": 0.5,
        "max_tokens": 300,
    }
    headers = ask.server.requests[0][2]
    assert (headers["Authorization"], headers["Idempotency-Key"]) == ("Bearer sk-hush", "key-1")
    ask(max_output_tokens=20, parameters=parameters | {"output_limit": "max_completion_tokens"})
    assert ask.server.bodies[1]["max_completion_tokens"] == 20
    ask(parameters={"model": "dear", "n": 5, "max_tokens": 10**6, "messages": []})
    assert ask.server.bodies[2] == {"model": "small", "messages": [GOAL], "max_tokens": 4096}


def test_what_is_reserved_is_what_the_model_is_allowed(ask):
    ask({"say": "x"}, max_output_tokens=20)
    arguments = {"messages": [GOAL], "max_output_tokens": 20}
    reserved = limits.estimate(ask.contract, arguments).tokens
    assert reserved - limits.estimate(ask.contract, arguments | {"max_output_tokens": 10}).tokens == 20 - 10
    assert ask.server.bodies[0]["max_tokens"] == 20


def test_tool_calls_come_back_by_their_own_names_with_parsed_arguments(ask, stream):
    odd = chat._told(ODD["name"])
    calls = [("look", '{"value": "ä", "n": [1, 2]}'), (odd, "{}"), ("look", "")]
    result = ask({"say": "I look.", "call": calls}, tools=[LOOK, ODD], parameters=stream)
    assert result.content["tool_calls"] == [
        {"name": "look", "arguments": {"value": "ä", "n": [1, 2]}},
        {"name": ODD["name"], "arguments": {}},
        {"name": "look", "arguments": {}},
    ]
    assert (result.content["message"], result.content["finish"]) == ("I look.", "tool_calls")
    offered = [tool["function"]["name"] for tool in ask.server.bodies[0]["tools"]]
    assert offered == ["look", odd]


def test_a_conversation_ties_each_result_to_its_call(ask):
    messages = [
        {"role": "system", "content": "You tidy."},
        GOAL,
        {"role": "assistant", "content": None, "tool_calls": [{"name": "look", "arguments": {"value": "a"}}] * 2},
        {"role": "tool", "name": "look", "content": "first"},
        {"role": "tool", "name": "look", "content": "second"},
        {"role": "assistant", "content": "Hm.", "tool_calls": []},
        {"role": "user", "content": "Answer again."},
    ]
    ask({"say": "x"}, messages=messages)
    assert ask.server.complaints == []
    told = ask.server.bodies[0]["messages"]
    assert [message["tool_call_id"] for message in told[3:5]] == [call["id"] for call in told[2]["tool_calls"]]
    assert told[2]["tool_calls"][0]["function"] == {"name": "look", "arguments": '{"value":"a"}'}


@pytest.mark.parametrize("name", ["look", "other"])
def test_a_result_without_a_call_asks_nothing(ask, name):
    ask({"say": "x"})
    made = {"role": "assistant", "content": None, "tool_calls": [{"name": "look", "arguments": {}}]}
    stray = [GOAL] if name == "look" else [GOAL, made]
    with pytest.raises(TransportFailed) as failed:
        ask(messages=[*stray, {"role": "tool", "name": name, "content": "x"}])
    assert (failed.value.code, failed.value.happened) == ("model_request_invalid", "no")
    assert len(ask.server.requests) == 1


@pytest.mark.parametrize("arguments", ["{", "[]", '"x"', '{"a": 1, "a": 2}', '{"a": NaN}', "rm -rf"])
def test_arguments_that_are_no_object_are_shown_and_never_a_call(ask, stream, arguments):
    result = ask({"call": [("look", arguments)]}, tools=[LOOK], parameters=stream)
    assert result.content["tool_calls"] == [{"name": "look", "arguments": arguments}]
    from agents import plan

    story = plan.Story("thinker", "goal")
    assert plan.answer(story, result.content)["code"] == "answer_malformed"


@pytest.mark.parametrize(
    ("told", "finish", "message"),
    [
        ({"say": "half of", "finish": "length"}, "length", "half of"),
        ({"call": [("look", '{"value": "x"}')], "finish": "length"}, "length", None),
        ({"say": None, "finish": "content_filter"}, "content_filter", None),
        ({"refusal": "I cannot.", "say": None}, "refusal", "I cannot."),
    ],
)
def test_an_answer_that_is_not_whole_is_an_error_that_was_paid_for(ask, told, finish, message):
    result = ask(told | {"usage": (5, 6)}, tools=[LOOK])
    assert (result.is_error, result.content["finish"], result.content["message"]) == (True, finish, message)
    assert result.content["tool_calls"] == []
    assert limits.used(ask.contract, result.content["usage"]) == limits.Usage(11, 5 + 12)


def test_usage_that_is_missing_or_nonsense_counts_as_all_that_was_reserved(ask, stream):
    result = ask({"say": "x", "usage": None}, parameters=stream)
    assert "usage" not in result.content
    assert limits.used(ask.contract, result.content.get("usage")) is None
    assert chat._usage({"prompt_tokens": -1, "completion_tokens": 1}) is None
    assert chat._usage({"prompt_tokens": True, "completion_tokens": 1}) is None
    assert chat._usage({"prompt_tokens": "1", "completion_tokens": 1}) is None


def test_of_a_provider_s_error_its_code_alone_is_told_and_never_its_words():
    said = {"message": "Your prompt 'alice@example.com' is too long.", "type": "invalid_request_error"}
    coded = said | {"code": "context_length_exceeded"}
    for error, words in ((said, said["type"]), (coded, coded["code"])):
        assert openai._words(json.dumps({"error": error}).encode()) == words
    for error in ("alice@example.com", {"code": "alice@example.com"}, {"code": 7}, None):
        assert openai._words(json.dumps({"error": error}).encode()) == ""
    assert openai._words(b"alice@example.com") == ""


@pytest.mark.parametrize(
    ("told", "code", "happened"),
    [
        ({"status": 401}, "endpoint_unauthorized", "no"),
        ({"status": 403}, "endpoint_unauthorized", "no"),
        ({"status": 400}, "model_request_invalid", "no"),
        ({"status": 404}, "model_request_invalid", "no"),
        ({"status": 429}, "tool_busy", "no"),
        ({"status": 500}, "tool_server_error", "maybe"),
        ({"status": 503}, "tool_unreachable", "maybe"),
        ({"status": 307}, "egress_redirect", "maybe"),
        ({"hang": True}, "tool_timeout", "maybe"),
        ({"raw": b"<html>"}, "tool_protocol_error", "maybe"),
        ({"raw": b"{}"}, "tool_protocol_error", "maybe"),
        ({"raw": b'{"choices": [{"index": 0}]}'}, "tool_protocol_error", "maybe"),
        ({"raw": b'{"choices": []}'}, "tool_protocol_error", "maybe"),
        ({"say": "x", "choices": 2}, "tool_protocol_error", "maybe"),
        ({"say": None}, "tool_protocol_error", "maybe"),
        ({"say": "x", "finish": "tool_calls"}, "tool_protocol_error", "maybe"),
        ({"say": "x", "finish": "function_call"}, "tool_protocol_error", "maybe"),
        ({"say": "x", "finish": None}, "tool_protocol_error", "maybe"),
        ({"say": "x" * (3 << 20)}, "tool_result_too_large", "maybe"),
    ],
)
def test_what_is_no_answer_is_told_apart(ask, told, code, happened):
    with pytest.raises(TransportFailed) as failed:
        ask(told, seconds=1.0 if told.get("hang") else 10.0)
    assert (failed.value.code, failed.value.happened) == (code, happened)
    if told.get("status") == 429:
        assert failed.value.retry_after == 9


# Of an answer of three letters: a role, the letters, a finish, the usage, [DONE].
EVENTS = 7


@pytest.mark.parametrize("events", range(EVENTS))
@pytest.mark.parametrize("torn", [False, True])
def test_a_stream_that_is_cut_off_anywhere_is_no_answer(ask, events, torn):
    with pytest.raises(TransportFailed) as failed:
        ask({"say": "abc", "cut": events, "torn": torn}, parameters={"stream": True})
    # A torn connection shows beneath the stream, an end before its time only in it.
    assert failed.value.code == ("tool_unreachable" if torn else "model_cut_off")
    assert failed.value.happened == "maybe"
    ask.server.answers = [{"say": "abc", "cut": EVENTS}]
    assert ask(parameters={"stream": True}).content["message"] == "abc"


def test_a_call_that_is_cut_off_is_no_call(ask):
    for events in range(2, 8):
        with pytest.raises(TransportFailed):
            ask({"call": [("look", '{"value": "everything"}')], "cut": events}, parameters={"stream": True})


def test_an_error_in_a_stream_and_an_answer_of_the_other_kind_are_no_answers(ask):
    with pytest.raises(TransportFailed) as failed:
        ask({"say": "abc", "error": True}, parameters={"stream": True})
    assert failed.value.code == "model_cut_off"
    with pytest.raises(TransportFailed) as failed:
        ask({"raw": b"{}"}, parameters={"stream": True})
    assert failed.value.code == "tool_protocol_error"


def test_a_busy_server_is_asked_again_where_the_contract_says_so(ask):
    result = ask({"status": 429}, {"say": "now"}, retry=2)
    assert (result.content["message"], result.meta["tries"]) == ("now", 2)


def test_an_endpoint_of_another_environment_is_not_asked(ask):
    ask({"say": "x"})
    with pytest.raises(TransportFailed) as failed:
        ask(more='environments = ["staging"]')
    assert (failed.value.code, failed.value.happened) == ("endpoint_forbidden", "no")
    assert len(ask.server.requests) == 1


def test_events_are_read_however_they_are_cut():
    raw = b': hello\r\n\r\ndata: {"a":\r\ndata: 1}\r\n\r\nevent: x\ndata:y\n\ndata: unfinished'
    expected = [b'{"a":\n1}', b"y"]
    for size in range(1, len(raw)):
        chunks = (raw[start : start + size] for start in range(0, len(raw), size))
        assert list(chat.events(chunks, most_bytes=100)) == expected
    with pytest.raises(chat.Malformed):
        list(chat.events(iter([b"data: " + b"x" * 200]), most_bytes=100))
    assert json.loads(expected[0]) == {"a": 1}
