"""Models behind OpenAI-compatible endpoints: chat completions with tools, whole or streamed."""

import json
import re
from collections.abc import Mapping

from audit import canonical, crash
from audit.canonical import JSON
from gateway import connect
from gateway.connect import Answer, ConnectRefused, Streamed
from gateway.transport import chat, web
from gateway.transport.http import KEY_HEADER
from gateway.transport.outcome import RESULT_BYTES, Contract, Result, Scope, TransportFailed

# An event of a stream wraps a few characters in some hundred bytes.
_STREAM_BYTES = 64 * RESULT_BYTES
_ERROR_BYTES = 10_000
_CODE = re.compile(r"[a-z0-9_.-]{1,64}")


def invoke(
    contract: Contract, arguments: Mapping[str, JSON], *, key: str, deadline: float, scope: Scope, correlation_id: str
) -> Result:
    """Ask the model once. A half answer is never taken for a whole one. :raises TransportFailed: no usable answer."""
    endpoint = web.endpoint_of(contract.content["endpoint"], scope)
    try:
        body = chat.request_of(contract.content, arguments)
        asked = canonical.dumps(body)
    except (chat.Malformed, canonical.NotCanonical, KeyError, TypeError) as error:
        raise TransportFailed("model_request_invalid", "no", repr(error)) from error
    streaming = bool(body.get("stream"))
    own = {
        "Accept": "text/event-stream" if streaming else "application/json",
        "Content-Type": "application/json",
        KEY_HEADER: key,
    }
    headers = web.headers_of(endpoint, own | web.trace(correlation_id))
    crash.point("transport.openai.sending")
    try:
        with connect.stream(
            f"{endpoint.base}/chat/completions",
            purpose=f"endpoint {endpoint.name}",
            deadline=web.until(endpoint, deadline),
            most_bytes=_STREAM_BYTES if streaming else 2 * RESULT_BYTES,
            method="POST",
            headers=headers,
            body=asked,
        ) as response:
            answer = _answer(response, streaming=streaming)
    except ConnectRefused as refused:
        raise web.failure_of(refused) from refused
    except chat.CutOff as error:
        raise TransportFailed("model_cut_off", "maybe", str(error)) from error
    except chat.Malformed as error:
        raise TransportFailed("tool_protocol_error", "maybe", str(error)) from error
    crash.point("transport.openai.answered")
    return _result(answer, arguments)


def _answer(response: Streamed, *, streaming: bool) -> chat.Answer:
    if response.status != 200:
        raise _refusal(response)
    kind = response.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != ("text/event-stream" if streaming else "application/json"):
        raise chat.Malformed(f"{kind[:100]!r} is not what was asked for")
    if streaming:
        return chat.streamed(chat.events(response.chunks, most_bytes=RESULT_BYTES))
    return chat.whole(b"".join(response.chunks))


def _refusal(response: Streamed) -> TransportFailed:
    """Return what a status means that is no answer. A 4xx is said before anything is generated."""
    body = b""
    for chunk in response.chunks:
        body += chunk
        if len(body) >= _ERROR_BYTES:
            break
    if response.status in {401, 403}:
        return TransportFailed("endpoint_unauthorized", "no", f"{response.status} {_words(body)}")
    failure = web.refusal_of(Answer(response.status, response.headers, body))
    if failure is not None:
        return failure
    return TransportFailed("model_request_invalid", "no", f"{response.status} {_words(body)}")


def _words(body: bytes) -> str:
    """Return the provider's own code of an error. Its message may repeat the prompt, and this goes to the log."""
    try:
        said = json.loads(body)["error"]
        code = said.get("code") or said.get("type")
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return ""
    return code if isinstance(code, str) and _CODE.fullmatch(code) else ""


def _result(answer: chat.Answer, arguments: Mapping[str, JSON]) -> Result:
    try:
        content, is_error = chat.result_of(answer, arguments.get("tools") or [])
        size = len(canonical.dumps(content))
    except (chat.Malformed, canonical.NotCanonical) as error:
        raise TransportFailed("tool_protocol_error", "maybe", str(error)) from error
    if size > RESULT_BYTES:
        raise TransportFailed("tool_result_too_large", "maybe", f"{size} bytes")
    return Result(content, is_error, {"transport": "openai"})
