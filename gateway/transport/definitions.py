"""What a tool server says its tools are, as digests: the approved contract pins one, and the server must keep to it."""

from collections.abc import Mapping
from typing import Any

import anyio
from mcp.client import Client
from mcp_types import PaginatedRequestParams

from audit import canonical
from audit.canonical import JSON
from gateway import launchers
from gateway.transport.portal import call
from gateway.transport.stdio import Wire

CONNECT_SECONDS = 20.0
LINE_BYTES = 4 << 20
_MOST_PAGES, _MOST_TOOLS = 100, 2000


class DefinitionsUnavailable(Exception):
    """The server could not be asked, or what it lists has no canonical form."""


def digest(definition: Mapping[str, JSON]) -> str:
    """Return the pin of a tool definition: name, description, inputSchema and outputSchema, and nothing else."""
    return canonical.sha256(
        {name: definition.get(name) for name in ("name", "description", "inputSchema", "outputSchema")}
    )


def fetch(launcher: str) -> dict[str, dict[str, JSON]]:
    """Start the server behind `launcher`, list its tools and end it: for writing contracts, not for calls.

    :returns: tool name -> {"definition": {...}, "digest": "sha256:..."}.
    :raises LauncherUnknown, LaunchersInvalid: see gateway.launchers.
    :raises DefinitionsUnavailable: the server does not start, answer or list its tools.
    """
    found = launchers.get(launcher)

    async def ask() -> dict[str, dict[str, JSON]]:
        wire = Wire(found, line_bytes=LINE_BYTES, on_end=lambda: None)
        try:
            with anyio.fail_after(CONNECT_SECONDS):
                async with Client(wire, read_timeout_seconds=CONNECT_SECONDS, cache=None) as client:
                    return await listed(client)
        except Exception as error:
            words = " / ".join(wire.stderr)[-500:]
            raise DefinitionsUnavailable(
                f"The server of launcher {launcher!r} lists no tools: {error!r} {words}"
            ) from error

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
