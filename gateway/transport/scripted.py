"""A model that follows a script: for examples, tests and development, without a network and always the same.

The script stands in the model's contract, so it is reviewed and pinned like any model. Its language is in
docs/reference/transports.md.
"""

import json
from collections.abc import Mapping
from typing import Any

import re2

from audit import canonical
from audit.canonical import JSON
from gateway.transport.outcome import Contract, Result, Scope, TransportFailed

ENVIRONMENTS = frozenset({"development"})
_BYTES_PER_TOKEN = 4
_ABSENT = object()


def invoke(
    contract: Contract, arguments: Mapping[str, JSON], *, key: str, deadline: float, scope: Scope, correlation_id: str
) -> Result:
    """Answer with the first rule of the script that fits the messages.

    :raises TransportFailed: script_forbidden outside development, script_exhausted, script_invalid.
    """
    if scope.environment not in ENVIRONMENTS:
        raise TransportFailed("script_forbidden", "no", f"a scripted model does not run in {scope.environment}")
    messages = arguments["messages"]
    try:
        answer = _answer(contract.content["script"], messages)
    except (KeyError, TypeError, ValueError, AttributeError, re2.error) as error:
        raise TransportFailed("script_invalid", "no", repr(error)) from error
    answer["usage"] = {
        "input_tokens": _tokens(arguments),
        "output_tokens": _tokens([answer["message"], answer["tool_calls"]]),
    }
    return Result(answer, meta={"transport": "scripted"})


def _answer(script: list[dict[str, Any]], messages: list[dict[str, Any]]) -> dict[str, Any]:
    step = 1 + sum(message["role"] == "assistant" for message in messages)
    for rule in script:
        if _fits(rule.get("when", {}), step, messages[-1]):
            said = _filled(rule.get("say"), messages)
            calls = [
                {"name": call["name"], "arguments": _filled(call.get("arguments", {}), messages)}
                for call in rule.get("call", [])
            ]
            text = said if said is None or isinstance(said, str) else canonical.dumps(said).decode()
            return {"message": text, "tool_calls": calls, "finish": "tool_calls" if calls else "stop"}
    raise TransportFailed("script_exhausted", "no", f"no rule fits step {step}")


def _fits(when: Mapping[str, Any], step: int, last: Mapping[str, Any]) -> bool:
    unknown = when.keys() - {"step", "tool", "contains", "field"}
    if unknown:
        raise ValueError(f"unknown conditions {sorted(unknown)}")
    if "step" in when and when["step"] != step:
        return False
    if "tool" in when and (last["role"] != "tool" or last.get("name") != when["tool"]):
        return False
    if "contains" in when and when["contains"] not in last["content"]:
        return False
    if "field" in when:
        return bool(_at(_value(last["content"]), when["field"]["pointer"]) == when["field"]["equals"])
    return True


def _filled(value: JSON, messages: list[dict[str, Any]]) -> JSON:
    """Return `value` with every {"take": …} replaced by what it names in the messages."""
    if isinstance(value, dict):
        if value.keys() == {"take"}:
            return _taken(value["take"], messages)
        return {name: _filled(member, messages) for name, member in value.items()}
    if isinstance(value, list):
        return [_filled(member, messages) for member in value]
    return value


def _taken(take: Mapping[str, Any], messages: list[dict[str, Any]]) -> JSON:
    source = take.get("from", "last")
    if source == "goal":
        fitting = [message for message in messages if message["role"] == "user"][:1]
    elif source == "last":
        fitting = messages[-1:]
    else:
        fitting = [message for message in messages if message["role"] == "tool" and message.get("name") == source][-1:]
    if not fitting:
        raise ValueError(f"nothing to take from {source!r}")
    content = fitting[0]["content"]
    value = _at(_value(content), take["pointer"]) if "pointer" in take else content
    if value is _ABSENT:
        raise ValueError(f"{source!r} has nothing at {take['pointer']!r}")
    if "pattern" not in take:
        return value
    found = re2.search(take["pattern"], value if isinstance(value, str) else canonical.dumps(value).decode())
    if found is None:
        raise ValueError(f"{take['pattern']!r} is not in what {source!r} has")
    return found.group(1)


def _value(content: str) -> JSON:
    try:
        return json.loads(content)
    except ValueError:
        return content


def _at(value: JSON, pointer: str) -> Any:
    """Return what an RFC 6901 pointer names, or _ABSENT."""
    for word in pointer.split("/")[1:]:
        word = word.replace("~1", "/").replace("~0", "~")
        if isinstance(value, dict) and word in value:
            value = value[word]
        elif isinstance(value, list) and word.isdigit() and int(word) < len(value):
            value = value[int(word)]
        else:
            return _ABSENT
    return value


def _tokens(value: object) -> int:
    return -(-len(canonical.dumps(value)) // _BYTES_PER_TOKEN)
