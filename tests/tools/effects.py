"""A real MCP server that writes down every effect: the tools' own log, which tests trust instead of ours.

    python effects.py DIRECTORY [--http PORT [--legacy] [--json]]
    python effects.py --nursery

With --http it serves streamable HTTP on loopback and writes its port to DIRECTORY/port; --legacy knows nothing of
server/discover, --json answers without event streams. While DIRECTORY/token exists, it wants that as a bearer token.
A nursery starts a server for each line of its standard input, the JSON list of such arguments, and prints its pid; most
of a server's start is what it imports, and the nursery has done that.
Each effect is one line of DIRECTORY/effects.jsonl: {"tool", "key", "value", "pid", "at"}. Tools: `look` (read), `put`
and `undo` (idempotent), `pay` (keyed: acts once per key, which it finds in the log itself), `launch` (unsafe).
`value` can ask for trouble: "error" fails as a tool, "big:N" answers N bytes, "sleep:S" answers after S seconds,
"die" ends the process after the effect, "die-before" before it, "die-once" after it while DIRECTORY/die-once exists.
While DIRECTORY/gate exists, every call waits after its effect and before its answer; with DIRECTORY/delay it waits a
random time up to the seconds that stand there; with DIRECTORY/status-after it answers with that status over HTTP.
"""

import fcntl
import json
import os
import random
import signal
import socket
import sys
import threading
import time
from pathlib import Path

import anyio
from mcp.server.mcpserver import Context, MCPServer

PLACE = Path(sys.argv[1])
KEY_META = "dev.placet/idempotency-key"
server = MCPServer("effects")


def _log(line: dict[str, object], *, once: bool) -> bool:
    """Append the effect, in one write; with `once` only if its key has none yet. Say whether it was appended."""
    with (PLACE / "effects.jsonl").open("a+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.seek(0)
        # Most lines are ruled out without being parsed: the log of a long run has many.
        known = json.dumps(line["key"])
        if once and any(known in earlier and json.loads(earlier)["key"] == line["key"] for earlier in file):
            return False
        file.write(json.dumps(line | {"at": time.time()}) + "\n")
        file.flush()
        os.fsync(file.fileno())
    return True


def _key(context: Context) -> str | None:
    meta = context.request_context.meta or {}
    return meta.get(KEY_META)


async def _act(tool: str, value: str, context: Context, *, key: str = "", once: bool = False) -> dict[str, object]:
    if value == "die-before":
        os._exit(1)
    if value == "error":
        raise ValueError("the tool says no")
    line = {"tool": tool, "key": key or _key(context), "value": value, "pid": os.getpid()}
    if not _log(line, once=once):
        return {"value": value, "again": True}
    (PLACE / f"acted-{tool}").touch()
    while (PLACE / "gate").exists():
        await anyio.sleep(0.01)
    if (PLACE / "delay").exists():
        await anyio.sleep(random.uniform(0, float((PLACE / "delay").read_text())))
    if value == "die" or (value == "die-once" and (PLACE / "die-once").exists()):
        (PLACE / "die-once").unlink(missing_ok=True)
        os._exit(1)
    if value.startswith("sleep:"):
        await anyio.sleep(float(value[6:]))
    if value.startswith("big:"):
        return {"value": "x" * int(value[4:])}
    return {"value": value, "again": False}


@server.tool()
async def look(value: str, context: Context) -> dict[str, object]:
    """Read something."""
    return await _act("look", value, context)


@server.tool()
async def put(value: str, context: Context) -> dict[str, object]:
    """Set something to a value; once or often is the same."""
    return await _act("put", value, context)


@server.tool()
async def undo(value: str, context: Context) -> dict[str, object]:
    """Take something back; once or often is the same."""
    return await _act("undo", value, context)


@server.tool()
async def pay(value: str, context: Context, payment_key: str = "") -> dict[str, object]:
    """Pay once per key."""
    return await _act("pay", value, context, key=payment_key, once=True)


@server.tool()
async def launch(value: str, context: Context) -> dict[str, object]:
    """Do what cannot be undone and knows no key."""
    return await _act("launch", value, context)


@server.tool()
async def meta(context: Context) -> dict[str, object]:
    """Tell what came along with the call, and how this process lives."""
    return {
        "meta": dict(context.request_context.meta or {}),
        "environment": dict(os.environ),
        "uid": os.getuid(),
        "pid": os.getpid(),
        "cwd": str(Path.cwd()),
        "status": Path("/proc/self/status").read_text(),
        "limits": Path("/proc/self/limits").read_text(),
    }


@server.tool(structured_output=False)
async def bare(value: str) -> str:
    """Answer with text alone."""
    return value


@server.tool()
async def deaf() -> dict[str, int]:
    """From now on, overhear every polite request to end."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    threading.Thread(target=time.sleep, args=(60,)).start()
    return {"pid": os.getpid()}


@server.tool()
async def change(description: str, context: Context) -> str:
    """Change the definition of `look` and say so."""
    await change_quietly(description)
    await context.notify_tools_changed()
    if "--legacy" in sys.argv:
        await context.session.send_tool_list_changed()
    return "changed"


@server.tool()
async def change_quietly(description: str) -> str:
    """Change the definition of `look` and say nothing."""
    server.remove_tool("look")
    server.add_tool(look, name="look", description=description)
    return "changed"


def _guarded(app, *, legacy: bool):
    """Put a door before the application: tokens, a revision that is not known, statuses that a file asks for."""

    async def door(scope, receive, send):
        status, headers = 0, dict(scope.get("headers", []))
        if scope["type"] == "http":
            token, order = PLACE / "token", PLACE / "status"
            if token.exists() and headers.get(b"authorization") != b"Bearer " + token.read_bytes():
                status = 401
            elif legacy and headers.get(b"mcp-method") == b"server/discover":
                status = 400
            elif order.exists() and scope["method"] == "POST":
                status = int(order.read_text())
        if not status and headers.get(b"mcp-method") == b"tools/call" and (PLACE / "status-after").exists():
            await app(scope, receive, _unheard)
            status = int((PLACE / "status-after").read_text())
        if not status:
            await app(scope, receive, send)
            return
        where = [(b"location", b"/elsewhere"), (b"retry-after", b"7"), (b"content-length", b"0")]
        await send({"type": "http.response.start", "status": status, "headers": where})
        await send({"type": "http.response.body", "body": b""})

    return door


async def _unheard(message):
    """What was to be said is not."""


def _serve(options: list[str]) -> None:
    listening = socket.create_server(("127.0.0.1", int(options[options.index("--http") + 1])))
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # inherited; else some answers wait for 40 ms
    (PLACE / "port").write_text(str(listening.getsockname()[1]))
    app = server.streamable_http_app(json_response="--json" in options)
    config = uvicorn.Config(_guarded(app, legacy="--legacy" in options), log_level="error", lifespan="on")
    uvicorn.Server(config).run(sockets=[listening])


def _nursery() -> None:
    global PLACE
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for them here
    for line in sys.stdin:
        child = os.fork()
        if not child:
            sys.argv[1:] = json.loads(line)
            PLACE = Path(sys.argv[1])
            _serve(sys.argv)
            os._exit(0)
        print(child, flush=True)


if __name__ == "__main__":
    if "--http" in sys.argv or "--nursery" in sys.argv:
        import uvicorn

        _nursery() if "--nursery" in sys.argv else _serve(sys.argv)
    else:
        server.run("stdio")
