"""The MCP servers that contracts name: a launcher starts one, an endpoint has one."""

from collections.abc import Callable, Mapping
from typing import Any

from gateway import launchers
from gateway.endpoints import Endpoint
from gateway.launchers import Launcher, LaunchersInvalid, LauncherUnknown
from gateway.transport import stdio, streamable, web
from gateway.transport.outcome import RESULT_BYTES, Scope, TransportFailed
from gateway.transport.wire import Wire

Source = Launcher | Endpoint
# A result may stand twice in a message (text and structured), escaped.
MESSAGE_BYTES = 4 * RESULT_BYTES


def source_of(transport: Mapping[str, Any], scope: Scope) -> Source:
    """Return the launcher or endpoint that a contract's transport names.

    :raises TransportFailed: launcher_unknown, _invalid, endpoint_unknown, _invalid, _forbidden.
    """
    if "endpoint" in transport:
        return web.endpoint_of(transport["endpoint"], scope)
    try:
        return launchers.get(transport["launcher"])
    except LauncherUnknown as error:
        raise TransportFailed("launcher_unknown", "no", str(error)) from error
    except LaunchersInvalid as error:
        raise TransportFailed("launcher_invalid", "no", str(error)) from error


def title(source: Source) -> str:
    """Return the name of a server for logs and keys."""
    return f"{'endpoint' if isinstance(source, Endpoint) else 'launcher'} {source.name}"


def wire_of(source: Source, *, on_loss: Callable[[], None], on_refusal: Callable[[], None]) -> Wire:
    """Return a way to the server that has not been opened yet.

    :param on_loss: called when the server is gone. :param on_refusal: called when it knows us no more.
    :raises TransportFailed: launcher_invalid, endpoint_invalid.
    """
    if isinstance(source, Endpoint):
        headers = web.headers_of(source, {})
        return streamable.Wire(source, headers=headers, most_bytes=MESSAGE_BYTES, on_end=on_refusal)
    try:
        source.environment()
        source.bubblewrap()
    except LaunchersInvalid as error:
        raise TransportFailed("launcher_invalid", "no", str(error)) from error
    return stdio.Wire(source, line_bytes=MESSAGE_BYTES, on_end=on_loss)
