"""The benchmark's tool behind the MCP SDK's own server: `python -m benchmarks.mcp_server`, which prints its port.

It is asked without a gateway (the anchor) and by the gateway (the hop). Stateless, answers in JSON.
"""

import socket
import sys
from typing import Any

import uvicorn
from mcp.server.mcpserver import MCPServer

COMMIT = {
    "author": "Ada Example",
    "date": "2026-03-02T10:15:00Z",
    "subject": "Keep the index and the journal in step when a segment is rotated",
    "body": "The journal was rotated before the index was flushed, so a reader could miss the end of a segment.",
}
server = MCPServer("bench")


@server.tool()
def commits(repository: str, count: int, query: str = "", since: str = "", note: str = "") -> dict[str, Any]:
    """Return the last commits of a repository."""
    return {"commits": [COMMIT | {"number": number} for number in range(count)]}


def main() -> None:
    """Serve until killed."""
    listening = socket.create_server(("127.0.0.1", 0))
    # Connections inherit it. asyncio sets it only on sockets that name their protocol, which create_server's do not:
    # each answer in two pieces then waits 40 ms for the client's delayed acknowledgement.
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sys.stdout.write(f"{listening.getsockname()[1]}\n")
    sys.stdout.flush()
    app = server.streamable_http_app(stateless_http=True, json_response=True)
    uvicorn.Server(uvicorn.Config(app, log_level="error", lifespan="on")).run(sockets=[listening])


if __name__ == "__main__":
    main()
