"""What all transports over HTTP share: the endpoint of a contract, the frame of a request, the meaning of a failure."""

import time
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from gateway import endpoints
from gateway.connect import Answer, ConnectRefused
from gateway.endpoints import Endpoint, EndpointInvalid, EndpointUnknown
from gateway.transport.outcome import Happened, Scope, TransportFailed
from gateway.transport.trace import traceparent

LONGEST_WAIT = 3600  # seconds; a server may ask for more
_OWN_WORDS = {
    "egress_timeout": "tool_timeout",
    "egress_unreachable": "tool_unreachable",
    "egress_unresolved": "tool_unreachable",
    "egress_too_large": "tool_result_too_large",
    "egress_protocol_error": "tool_protocol_error",
}


def endpoint_of(name: str, scope: Scope) -> Endpoint:
    """Return the endpoint that a contract names. :raises TransportFailed: endpoint_unknown, _invalid, _forbidden."""
    try:
        found = endpoints.get(name)
    except EndpointUnknown as error:
        raise TransportFailed("endpoint_unknown", "no", str(error)) from error
    except EndpointInvalid as error:
        raise TransportFailed("endpoint_invalid", "no", str(error)) from error
    if not found.serves(scope.workspace, scope.environment):
        detail = f"endpoints.{name} does not serve workspace {scope.workspace} in {scope.environment}"
        raise TransportFailed("endpoint_forbidden", "no", detail)
    return found


def headers_of(endpoint: Endpoint, own: Mapping[str, str]) -> dict[str, str]:
    """Return `own` headers and those of the endpoint, which win. :raises TransportFailed: endpoint_invalid."""
    try:
        theirs = endpoint.sent_headers()
    except EndpointInvalid as error:
        raise TransportFailed("endpoint_invalid", "no", str(error)) from error
    taken = {name.lower() for name in theirs}
    return {name: value for name, value in own.items() if name.lower() not in taken} | dict(theirs)


def trace(correlation_id: str) -> dict[str, str]:
    """Return the headers that tie a request to its call."""
    return {"traceparent": traceparent(correlation_id), "X-Correlation-ID": correlation_id}


def until(endpoint: Endpoint, deadline: float) -> float:
    """Return the sooner of the call's deadline and the endpoint's own limit, monotonic seconds."""
    if endpoint.timeout_ms is None:
        return deadline
    return min(deadline, time.monotonic() + endpoint.timeout_ms / 1000)


def failure_of(refused: ConnectRefused) -> TransportFailed:
    """Return what a request that came to nothing means for its call."""
    code = _OWN_WORDS.get(refused.code, refused.code)
    return TransportFailed(code, refused.happened, f"{refused.code}: {refused.detail}")


def refusal_of(answer: Answer) -> TransportFailed | None:
    """Return what a status means that is no answer to the call, None if it is one.

    Only 429 says that nothing happened. A 5xx may come from something that stands before the server, which acted.
    """
    wait = _wait(answer.headers.get("retry-after", ""))
    meanings: dict[int, tuple[str, Happened]] = {
        408: ("tool_timeout", "maybe"),
        429: ("tool_busy", "no"),
        502: ("tool_unreachable", "maybe"),
        503: ("tool_unreachable", "maybe"),
        504: ("tool_timeout", "maybe"),
    }
    if answer.status < 500 and answer.status not in meanings:
        return None
    code, happened = meanings.get(answer.status, ("tool_server_error", "maybe"))
    said = answer.body[:200].decode(errors="replace")
    return TransportFailed(code, happened, f"{answer.status} {said}", retry_after=wait)


def _wait(text: str) -> int | None:
    """Return seconds from a Retry-After header, which has seconds or a date."""
    if text.isascii() and text.isdigit():
        return min(int(text[:9]), LONGEST_WAIT)
    try:
        moment = parsedate_to_datetime(text)
    except (ValueError, TypeError):
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return max(0, min(int((moment - datetime.now(UTC)).total_seconds()), LONGEST_WAIT))
