"""The long way of a call, over the SDK's client: to a server behind stdio, and wherever `post` does not know how.

Everything here runs on the portal's event loop.
"""

import time
from collections.abc import Callable
from typing import cast

import anyio
from mcp.client import Client
from mcp.shared.exceptions import MCPError
from mcp_types import (
    CONNECTION_CLOSED,
    REQUEST_TIMEOUT,
    CallToolRequest,
    CallToolRequestParams,
    CallToolResult,
    CancelledNotification,
    CancelledNotificationParams,
    RequestParamsMeta,
)
from pydantic import ValidationError

from gateway.departure import Departure, departure
from gateway.transport import message
from gateway.transport.message import Call
from gateway.transport.outcome import Happened, TransportFailed
from gateway.transport.wire import Wire

_FAREWELL_SECONDS = 5.0


async def send(
    client: Client, call: Call, *, mark: Departure, wire: Wire, is_lost: Callable[[], bool]
) -> CallToolResult:
    """Ask for one call. :raises TransportFailed: with what is known of the effect."""
    departure.set(mark)
    meta = cast(RequestParamsMeta, dict(call.meta))
    params = CallToolRequestParams(name=call.tool, arguments=dict(call.arguments), _meta=meta)
    try:
        # Not Client.call_tool: that checks results with a slow validator, and may list tools, on this one thread.
        return await client.session.send_request(
            CallToolRequest(params=params), CallToolResult, request_read_timeout_seconds=mark.remaining
        )
    except MCPError as error:
        raise _failure(error, mark, wire, is_lost=is_lost()) from error
    except ValidationError as error:
        # It answered, but not with a result: a refusal to go on without input, or nonsense.
        raise TransportFailed("tool_protocol_error", "maybe", message.faults(error)) from None


async def cancel(client: Client, number: int) -> None:
    """Tell a server that nobody waits for the request of that id any more."""
    departure.set(Departure(time.monotonic() + _FAREWELL_SECONDS))
    params = CancelledNotificationParams(request_id=number, reason="timed out")
    with anyio.move_on_after(_FAREWELL_SECONDS):
        await client.session.send_notification(CancelledNotification(params=params))


def _failure(error: MCPError, mark: Departure, wire: Wire, *, is_lost: bool) -> TransportFailed:
    if beneath := wire.failure_of(mark):
        return beneath
    happened: Happened = "maybe" if mark.begun else "no"
    if is_lost or error.code == CONNECTION_CLOSED:
        return TransportFailed("tool_unreachable", happened, str(error))
    if error.code == REQUEST_TIMEOUT:
        return TransportFailed("tool_timeout", happened)
    # No error code of a server proves that nothing happened: -32602 also is what the SDK answers when a model
    # inside the tool fails to validate, after the tool has acted.
    return TransportFailed("tool_protocol_error", happened, f"{error.code} {error}"[:300])
