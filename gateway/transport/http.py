"""Tools behind plain HTTP: the contract says where each argument goes, the operator's endpoint says to whom."""

import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote, urlencode

from audit import canonical, crash
from audit.canonical import JSON
from audit.refusal import Refusal
from gateway import connect
from gateway.connect import Answer, ConnectRefused
from gateway.transport import web
from gateway.transport.outcome import RESULT_BYTES, Contract, Result, Scope, TransportFailed

BODILESS = frozenset({"GET", "DELETE"})
KEY_HEADER = "Idempotency-Key"
_PARAMETER = re.compile(r"\{([A-Za-z0-9][A-Za-z0-9_.-]*)\}")
_SEGMENTS = re.compile(r"[/\\]")
_ERROR_CHARACTERS = 10_000


def invoke(
    contract: Contract, arguments: Mapping[str, JSON], *, key: str, deadline: float, scope: Scope, correlation_id: str
) -> Result:
    """Make the request that the contract describes, once. :raises TransportFailed: no usable answer."""
    agreed = contract.content["transport"]
    endpoint = web.endpoint_of(agreed["endpoint"], scope)
    method = agreed["method"]
    if method not in endpoint.methods:
        raise TransportFailed("endpoint_forbidden", "no", f"endpoints.{endpoint.name} does not take {method}")
    target, body = placed(agreed, arguments)
    own = {"Accept": "application/json", agreed.get("key_header", KEY_HEADER): key} | web.trace(correlation_id)
    if body:
        own["Content-Type"] = "application/json"
    headers = web.headers_of(endpoint, own)
    crash.point("transport.http.sending")
    try:
        answer = connect.fetch(
            endpoint.base + target,
            purpose=f"endpoint {endpoint.name}",
            deadline=web.until(endpoint, deadline),
            most_bytes=RESULT_BYTES,
            method=method,
            headers=headers,
            body=body,
        )
    except ConnectRefused as refused:
        raise web.failure_of(refused) from refused
    crash.point("transport.http.answered")
    return _result(answer, as_text=agreed.get("result") == "text")


def placed(agreed: Mapping[str, Any], arguments: Mapping[str, JSON]) -> tuple[str, bytes]:
    """Return path with query, and body: each argument stands in exactly one place.

    :raises TransportFailed: arguments_unplaced, naming the argument that has no place or does not fit there.
    """
    rest = dict(arguments)

    def fill(found: re.Match[str]) -> str:
        return quote(_segment(found[1], rest.pop(found[1], None)), safe="")

    path = _PARAMETER.sub(fill, agreed["path"])
    pairs = [
        (name, value) for name in agreed.get("query", []) if name in rest for value in _values(name, rest.pop(name))
    ]
    query = f"?{urlencode(pairs, quote_via=quote)}" if pairs else ""
    if agreed["method"] not in BODILESS:
        return path + query, canonical.dumps(rest)
    if rest:
        raise _unplaced(min(rest), "has no place in a request without a body")
    return path + query, b""


def _segment(name: str, value: JSON) -> str:
    """Return a value as part of a path, which it must not lead out of."""
    text = _text(name, value)
    if not text or not text.isprintable() or any(part in {".", ".."} for part in _SEGMENTS.split(text)):
        raise _unplaced(name, "would lead to another path")
    return text


def _values(name: str, value: JSON) -> list[str]:
    return [_text(name, one) for one in (value if isinstance(value, list) else [value])]


def _text(name: str, value: JSON) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, int | float):
        return canonical.dumps(value).decode()
    raise _unplaced(name, "is no text, number or truth value")


def _unplaced(name: str, why: str) -> TransportFailed:
    return TransportFailed("arguments_unplaced", "no", f"the argument {name!r} {why}")


def _result(answer: Answer, *, as_text: bool) -> Result:
    failure = web.refusal_of(answer)
    if failure is not None:
        raise failure
    meta = {"transport": "http", "status": answer.status}
    if answer.status >= 400:
        return Result({"status": answer.status, "body": _said(answer)}, is_error=True, meta=meta)
    if not answer.body:
        return Result(None, meta=meta)
    if not (as_text or is_json(answer)):
        kind = answer.headers.get("content-type", "no type")
        raise TransportFailed("tool_result_malformed", "maybe", f"{kind[:100]} where JSON was agreed")
    try:
        content = answer.body.decode() if as_text else canonical.loads(answer.body, field="result")
        size = len(canonical.dumps(content))
    except (Refusal, UnicodeDecodeError, canonical.NotCanonical) as error:
        raise TransportFailed("tool_result_malformed", "maybe", str(error)) from error
    if size > RESULT_BYTES:
        raise TransportFailed("tool_result_too_large", "maybe", f"{size} bytes")
    return Result(content, meta=meta)


def is_json(answer: Answer) -> bool:
    """Say whether the server calls its answer JSON."""
    kind = answer.headers.get("content-type", "").partition(";")[0].strip().lower()
    return kind == "application/json" or (kind.startswith("application/") and kind.endswith("+json"))


def _said(answer: Answer) -> JSON:
    """Return the words of an error: its JSON if that is what it is, else the beginning of its text."""
    if is_json(answer):
        try:
            content = canonical.loads(answer.body, field="result")
            canonical.dumps(content)
            return content
        except (Refusal, canonical.NotCanonical):
            pass
    return answer.body[:_ERROR_CHARACTERS].decode(errors="replace")
