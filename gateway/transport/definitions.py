"""What a tool server says its tools are, as digests: the approved contract pins one, and the server must keep to it."""

from collections.abc import Mapping
from typing import Any

import anyio
from mcp.client import Client
from mcp_types import PaginatedRequestParams

from audit import canonical
from audit.canonical import JSON
from gateway import endpoints, launchers
from gateway.transport import servers
from gateway.transport.outcome import TransportFailed
from gateway.transport.portal import call

CONNECT_SECONDS = 20.0
_MOST_PAGES, _MOST_TOOLS = 100, 2000


class DefinitionsUnavailable(Exception):
    """The server could not be asked, or what it lists has no canonical form."""


def digest(definition: Mapping[str, JSON]) -> str:
    """Return the pin of a tool definition: name, description, inputSchema and outputSchema, and nothing else."""
    return canonical.sha256(
        {name: definition.get(name) for name in ("name", "description", "inputSchema", "outputSchema")}
    )


def fetch(name: str, *, endpoint: bool = False) -> dict[str, dict[str, JSON]]:
    """Reach the server behind a launcher, or an endpoint, list its tools and leave it: for contracts, not for calls.

    :returns: tool name -> {"definition": {...}, "digest": "sha256:..."}.
    :raises LauncherUnknown, LaunchersInvalid, EndpointUnknown, EndpointInvalid: see their modules.
    :raises DefinitionsUnavailable: the server does not start, answer or list its tools.
    """
    source: servers.Source = endpoints.get(name) if endpoint else launchers.get(name)
    try:
        wire = servers.wire_of(source, on_loss=lambda: None, on_refusal=lambda: None)
    except TransportFailed as failure:
        raise DefinitionsUnavailable(failure.detail) from failure

    async def ask() -> dict[str, dict[str, JSON]]:
        try:
            with anyio.fail_after(CONNECT_SECONDS):
                async with Client(wire, read_timeout_seconds=CONNECT_SECONDS, cache=None) as client:
                    return await listed(client)
        except Exception as error:
            detail = f"The server of {servers.title(source)} lists no tools: {error!r} {wire.words[-500:]}"
            raise DefinitionsUnavailable(detail) from error

    return call(ask, timeout=CONNECT_SECONDS + 10)


async def listed(client: Client) -> dict[str, dict[str, JSON]]:
    """Ask a connected server for its tools. A tool without a canonical form is left out, so no pin can match it."""
    tools: dict[str, dict[str, JSON]] = {}
    cursor: str | None = None
    for _ in range(_MOST_PAGES):
        page = await client.session.list_tools(params=PaginatedRequestParams(cursor=cursor) if cursor else None)
        for tool in page.tools[: _MOST_TOOLS - len(tools)]:
            definition: dict[str, Any] = {
                "name": tool.name,
                "description": tool.description,
                "inputSchema": tool.input_schema,
                "outputSchema": tool.output_schema,
            }
            try:
                tools[tool.name] = {"definition": definition, "digest": digest(definition)}
            except canonical.NotCanonical:
                continue
        cursor = page.next_cursor
        if not cursor or len(tools) >= _MOST_TOOLS:
            break
    return tools
