"""A server of OpenAI's chat completions that is as strict as theirs about what it is asked, and says what it is told.

In a test's own process: `with OpenAI(answers) as server:`. Each answer is a dict: `say`, `refusal`, `call` (a list of
(name, arguments as text)), `finish`, `choices` (how often), `usage` ((in, out), None: says nothing), `status`, `raw`
(bytes instead of all that), `hang`; of a stream also `cut` (end it after so many events), `torn` (without an end),
`error` (report one after the first event). The last answer stays.
"""

import json
import re

from tests.gateway.web import Web, plain

_FUNCTION = re.compile(r"[a-zA-Z0-9_-]{1,64}")


class OpenAI(Web):
    """:ivar bodies: the requests' bodies that were in order. :ivar complaints: why others were refused."""

    def __init__(self, answers, **more):
        super().__init__(**more)
        self.answers, self.bodies, self.complaints = list(answers), [], []
        self.routes["/v1/chat/completions"] = self._complete

    def _complete(self, handler, raw):
        try:
            body = json.loads(raw)
            _examine(body)
        except (ValueError, KeyError, TypeError, AssertionError) as error:
            self.complaints.append(repr(error))
            _error(handler, 400, "invalid_request_error")
            return
        self.bodies.append(body)
        told = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if told.get("hang"):
            handler.rfile.read(1)
        elif "raw" in told:
            plain(handler, content=told["raw"])
        elif told.get("status", 200) != 200:
            _error(handler, told["status"], told.get("type", "error"))
        elif body.get("stream"):
            _stream(handler, body, told)
        else:
            plain(handler, content=json.dumps(_whole(body, told)).encode())


def _examine(body):
    """Refuse what the real API refuses."""
    assert set(body) <= {
        "model", "messages", "tools", "temperature", "stream", "stream_options", "max_tokens", "max_completion_tokens",
        "reasoning_effort",
    }, sorted(body)  # fmt: skip
    assert isinstance(body["model"], str)
    waiting = []
    for message in body["messages"]:
        if message["role"] == "tool":
            assert message["tool_call_id"] in waiting, "a tool message answers a call before it"
            waiting.remove(message["tool_call_id"])
            assert isinstance(message["content"], str)
            continue
        assert not waiting, "every call has an answer"
        assert message["role"] in {"system", "user", "assistant"}
        if message["role"] == "assistant":
            for call in message.get("tool_calls", []):
                assert call["type"] == "function"
                assert _FUNCTION.fullmatch(call["function"]["name"])
                json.loads(call["function"]["arguments"])
                waiting.append(call["id"])
            assert isinstance(message["content"], str) or waiting
        else:
            assert isinstance(message["content"], str)
    assert not waiting, "every call has an answer"
    for tool in body.get("tools", []):
        assert tool["type"] == "function"
        assert _FUNCTION.fullmatch(tool["function"]["name"])
        assert tool["function"]["parameters"]["type"] == "object"


def _calls(told):
    return [
        {"id": f"call_{place}", "type": "function", "function": {"name": name, "arguments": arguments}}
        for place, (name, arguments) in enumerate(told.get("call", []))
    ]


def _finish(told):
    return told.get("finish", "tool_calls" if told.get("call") else "stop")


def _usage(told):
    given = told.get("usage", (11, 7))
    if given is None:
        return None
    return {"prompt_tokens": given[0], "completion_tokens": given[1], "total_tokens": sum(given)}


def _whole(body, told):
    message = {"role": "assistant", "content": told.get("say"), "refusal": told.get("refusal")}
    if told.get("call"):
        message["tool_calls"] = _calls(told)
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": _finish(told)}
    document = {"id": "chatcmpl-1", "object": "chat.completion", "created": 1764000000, "model": body["model"] + "-1"}
    return document | {"choices": [choice] * told.get("choices", 1), "usage": _usage(told)}


def _stream(handler, body, told):
    deltas = [{"role": "assistant", "content": ""}]
    deltas += [{"content": letter} for letter in told.get("say") or ""]
    for place, call in enumerate(_calls(told)):
        text = call["function"]["arguments"]
        deltas.append({"tool_calls": [call | {"index": place, "function": call["function"] | {"arguments": ""}}]})
        pieces = [text[start : start + 5] for start in range(0, len(text), 5)]
        deltas += [{"tool_calls": [{"index": place, "function": {"arguments": piece}}]} for piece in pieces]
    start = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "model": body["model"] + "-1"}
    events = [start | {"choices": [{"index": 0, "delta": delta, "finish_reason": None}]} for delta in deltas]
    events.append(start | {"choices": [{"index": 0, "delta": {}, "finish_reason": _finish(told)}]})
    if body.get("stream_options", {}).get("include_usage"):
        events.append(start | {"choices": [], "usage": _usage(told)})
    lines = [f"data: {json.dumps(event)}\r\n\r\n" for event in events] + ["data: [DONE]\n\n"]
    if "cut" in told:
        lines = lines[: told["cut"]]
    if told.get("error"):
        lines = [lines[0], 'data: {"error": {"message": "overloaded"}}\n\n']
    handler.send_response(200)
    handler.send_header("Content-Type", "text/event-stream; charset=utf-8")
    handler.send_header("Transfer-Encoding", "chunked")
    handler.end_headers()
    for line in [": a comment\n\n", *lines]:
        # In pieces that respect neither events nor lines.
        for piece in (line[:9], line[9:]):
            if piece:
                handler.wfile.write(b"%x\r\n%s\r\n" % (len(piece.encode()), piece.encode()))
    if told.get("torn"):
        handler.close_connection = True
        return
    handler.wfile.write(b"0\r\n\r\n")


def _error(handler, status, kind):
    content = json.dumps({"error": {"message": "no", "type": kind, "code": None}}).encode()
    plain(handler, status=status, content=content, headers=[("Retry-After", "9")])
