"""OpenAI's chat completions, as what goes out and comes back: a call's messages and tools, a model's answer. Pure.

Written against the API reference of 2026-11. Servers differ; what is not certain is refused rather than guessed.
"""

import hashlib
import re
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from audit import canonical
from audit.canonical import JSON
from audit.refusal import Refusal
from gateway import allowance

# A contract's parameters cannot say these: they are the call's, or change what an answer is.
_RESERVED_WORDS = """
    model messages tools functions function_call n max_tokens max_completion_tokens max_output_tokens output_limit
    stream_options store user audio modalities
"""
RESERVED = frozenset(_RESERVED_WORDS.split())
MOST_CALLS = 128
LONGEST_NAME = 64
_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
_OTHER = re.compile(r"[^A-Za-z0-9_-]")


class Malformed(Exception):
    """The answer has not the form that was agreed; the text says where."""


class CutOff(Exception):
    """The stream ended before the answer did."""


@dataclass
class Answer:
    """A model's answer as far as it has come. :ivar calls: index -> name and arguments, as text."""

    message: str | None = None
    refusal: str | None = None
    finish: str | None = None
    model: str = ""
    usage: Mapping[str, Any] | None = None
    calls: dict[int, dict[str, str]] = field(default_factory=dict)


def request_of(content: Mapping[str, Any], arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Return the body of a request. :param content: of the model's contract.

    :raises Malformed: a tool's message answers no call before it.
    """
    parameters = content.get("parameters", {})
    body = {name: value for name, value in parameters.items() if name not in RESERVED}
    body["model"] = content["model"]
    body["messages"] = _messages(arguments["messages"])
    # Newer models know only the second name, older servers only the first.
    newer = parameters.get("output_limit") == "max_completion_tokens"
    body["max_completion_tokens" if newer else "max_tokens"] = allowance.output_bound(content, arguments)
    if arguments.get("tools"):
        body["tools"] = [_tool(tool) for tool in arguments["tools"]]
    if body.get("stream"):
        body["stream_options"] = {"include_usage": True}
    return body


def whole(raw: bytes) -> Answer:
    """Read an answer that came in one piece. :raises Malformed: it is none."""
    document = _object(_parsed(raw), "the answer")
    choice = _only_choice(document)
    if choice is None:
        raise Malformed("the answer has no choice")
    message = _object(choice.get("message"), "choices/0/message")
    if message.get("role") != "assistant":
        raise Malformed("choices/0/message/role is not assistant")
    answer = Answer(_text(message, "content"), _text(message, "refusal"), _text(choice, "finish_reason"))
    answer.model, answer.usage = str(document.get("model", ""))[:200], _usage(document.get("usage"))
    for place, call in enumerate(_list(message.get("tool_calls"), "tool_calls")):
        _add_call(answer, place, _object(call, "tool_calls"))
    return answer


def streamed(events: Iterator[bytes]) -> Answer:
    """Read an answer from the events of a stream.

    :raises Malformed: an event is none.  :raises CutOff: the stream ended without saying that the answer is whole.
    """
    answer, done = Answer(), False
    for event in events:
        if event.strip() == b"[DONE]":
            done = True
            break
        document = _object(_parsed(event), "an event")
        if "error" in document:
            raise CutOff(f"the server reports {canonical.dumps(document['error'])[:200].decode(errors='replace')}")
        answer.model = answer.model or str(document.get("model", ""))[:200]
        answer.usage = _usage(document.get("usage")) or answer.usage
        choice = _only_choice(document)
        if choice is not None:
            _add_delta(answer, choice)
    if not done or answer.finish is None:
        raise CutOff("the stream ended in the middle of the answer")
    return answer


def result_of(answer: Answer, offered: list[Mapping[str, Any]]) -> tuple[dict[str, JSON], bool]:
    """Return what the caller gets, and whether it is an error: an answer that is not whole, or that was refused.

    Arguments that are no JSON object stay text: no tool takes them, and the model can be told.

    :raises Malformed: the answer contradicts itself.
    """
    names = {_told(str(tool["name"])): str(tool["name"]) for tool in offered}
    content: dict[str, JSON] = {"message": answer.message, "tool_calls": [], "model": answer.model}
    if answer.usage is not None:
        content["usage"] = dict(answer.usage)
    if answer.refusal:
        return content | {"message": answer.refusal, "finish": "refusal"}, True
    if answer.finish in {"length", "content_filter"}:
        # Calls that may have been cut are not calls.
        return content | {"finish": answer.finish}, True
    if answer.finish not in {"stop", "tool_calls"} or (answer.finish == "tool_calls" and not answer.calls):
        raise Malformed(f"it finished for {answer.finish!r} with {len(answer.calls)} tool calls")
    if not answer.calls and answer.message is None:
        raise Malformed("it says nothing")
    content["tool_calls"] = [
        {"name": names.get(call["name"], call["name"]), "arguments": _arguments(call["arguments"])}
        for _, call in sorted(answer.calls.items())
    ]
    return content | {"finish": "tool_calls" if answer.calls else "stop"}, False


def events(chunks: Iterator[bytes], *, most_bytes: int) -> Iterator[bytes]:
    """Yield the data of server-sent events (WHATWG HTML, 9.2). :raises Malformed: one has more than `most_bytes`."""
    rest, data = b"", b""
    for chunk in chunks:
        *lines, rest = (rest + chunk).replace(b"\r\n", b"\n").split(b"\n")
        for line in lines:
            if line.startswith(b"data:"):
                data += (b"\n" if data else b"") + line[5:].removeprefix(b" ")
            elif not line and data:
                yield data
                data = b""
        if len(rest) + len(data) > most_bytes:
            raise Malformed(f"an event has more than {most_bytes} bytes")


def _messages(given: list[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return the messages with the ids by which the API ties a result to its call; ours are in order instead."""
    told: list[dict[str, Any]] = []
    waiting: deque[tuple[str, str]] = deque()
    for message in given:
        role, content = message["role"], message["content"]
        if role == "assistant":
            said: dict[str, Any] = {"role": role, "content": content}
            calls = message.get("tool_calls") or []
            if calls:
                made = [(f"call_{len(told)}_{place}", call) for place, call in enumerate(calls)]
                said["tool_calls"] = [_call(name, call) for name, call in made]
                waiting = deque((name, call["name"]) for name, call in made)
            told.append(said)
        elif role == "tool":
            if not waiting or waiting[0][1] != message.get("name"):
                raise Malformed(f"the result of {message.get('name')!r} answers no call before it")
            told.append({"role": role, "tool_call_id": waiting.popleft()[0], "content": content or ""})
        else:
            told.append({"role": role, "content": content or ""})
    return told


def _call(identity: str, call: Mapping[str, Any]) -> dict[str, Any]:
    arguments = canonical.dumps(call["arguments"]).decode()
    return {"id": identity, "type": "function", "function": {"name": _told(call["name"]), "arguments": arguments}}


def _tool(tool: Mapping[str, Any]) -> dict[str, Any]:
    function = {"name": _told(str(tool["name"])), "parameters": tool.get("input_schema", {"type": "object"})}
    if tool.get("description"):
        function["description"] = tool["description"]
    return {"type": "function", "function": function}


def _told(name: str) -> str:
    """Return a tool's name as the API takes it: itself, or a form of it that no other tool has."""
    if _NAME.fullmatch(name):
        return name
    mark = hashlib.sha256(name.encode()).hexdigest()[:8]
    return f"{_OTHER.sub('_', name)[: LONGEST_NAME - 9]}_{mark}"


def _add_delta(answer: Answer, choice: Mapping[str, Any]) -> None:
    delta = _object(choice.get("delta", {}), "choices/0/delta")
    for name in ("content", "refusal"):
        text = _text(delta, name)
        if text is not None:
            member = "message" if name == "content" else name
            setattr(answer, member, (getattr(answer, member) or "") + text)
    for call in _list(delta.get("tool_calls"), "tool_calls"):
        place = _object(call, "tool_calls").get("index")
        if not isinstance(place, int) or not 0 <= place < MOST_CALLS:
            raise Malformed("a part of a tool call has no index")
        _add_call(answer, place, call)
    finish = _text(choice, "finish_reason")
    if finish is not None:
        answer.finish = finish


def _add_call(answer: Answer, place: int, call: Mapping[str, Any]) -> None:
    """Add a tool call, or a further part of one: a name comes whole, arguments in pieces."""
    if call.get("type", "function") != "function":
        raise Malformed(f"a tool call of type {call.get('type')!r}")
    if place >= MOST_CALLS:
        raise Malformed(f"more than {MOST_CALLS} tool calls")
    function = _object(call.get("function"), "tool_calls/function")
    known = answer.calls.setdefault(place, {"name": "", "arguments": ""})
    known["name"] = known["name"] or (_text(function, "name") or "")
    known["arguments"] += _text(function, "arguments") or ""


def _arguments(text: str) -> JSON:
    if not text.strip():
        return {}
    try:
        value = canonical.loads(text.encode(), field="arguments")
    except (Refusal, UnicodeEncodeError):
        return text
    return value if isinstance(value, dict) else text


def _only_choice(document: Mapping[str, Any]) -> Mapping[str, Any] | None:
    choices = _list(document.get("choices"), "choices")
    if len(choices) > 1 or (choices and _object(choices[0], "choices/0").get("index", 0) != 0):
        raise Malformed(f"{len(choices)} choices where one was asked for")
    return choices[0] if choices else None


def _usage(given: JSON) -> dict[str, JSON] | None:
    """Return what the server says that was used, None if it does not say so in whole numbers."""
    if not isinstance(given, dict):
        return None
    told = given.get("prompt_tokens"), given.get("completion_tokens")
    if not all(type(count) is int and count >= 0 for count in told):
        return None
    return {"input_tokens": told[0], "output_tokens": told[1]}


def _parsed(raw: bytes) -> JSON:
    try:
        return canonical.loads(raw, field="answer")
    except Refusal as refusal:
        raise Malformed(refusal.detail) from refusal


def _object(value: Any, place: str) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise Malformed(f"{place} is no object")
    return value


def _list(value: Any, place: str) -> list[Any]:
    if value is None:
        return []
    if not isinstance(value, list):
        raise Malformed(f"{place} is no list")
    return value


def _text(value: Mapping[str, Any], name: str) -> str | None:
    text = value.get(name)
    if text is not None and not isinstance(text, str):
        raise Malformed(f"{name} is no text")
    return text
