"""An MCP server over streamable HTTP whose answers to `tools/call` a test writes byte by byte, in both protocol eras.

What it says to all else is right, so the SDK's client negotiates with it and lists its tools.
"""

import json
from contextlib import contextmanager
from uuid import uuid4

from gateway import transport
from gateway.transport import definitions
from tests.gateway.effects import Effects
from tests.gateway.web import Web

LOOK = {
    "name": "look",
    "description": "Read something.",
    "inputSchema": {
        "type": "object",
        "properties": {"value": {"type": "string", "x-mcp-header": "Value"}, "other": {"type": ["null", "integer"]}},
    },
}
LIMITS = {"resultType": "complete", "ttlMs": 0, "cacheScope": "private"}  # of what may be kept, since 2026-07-28


def result(value):
    """Return a result that says `value`."""
    return {"content": [{"type": "text", "text": value}], "isError": False, "resultType": "complete"}


def answer(asked, value=None, **changed):
    """Return the right answer to a request, or one that is wrong by what changed."""
    said = asked["params"]["arguments"].get("value", "") if value is None else value
    return {"jsonrpc": "2.0", "id": asked["id"], "result": result(said)} | changed


def event(message, *, name=b"", before=b""):
    """Return a server-sent event."""
    data = json.dumps(message).encode() if message is not None else b""
    return before + (b"id: " + name + b"\n" if name else b"") + b"data: " + data + b"\n\n"


def plain(handler, message, *, status=200, kind="application/json", extra=b""):
    """Answer with one JSON text. :param extra: bytes that follow it unasked."""
    body = message if isinstance(message, bytes) else json.dumps(message).encode()
    handler.send_response(status)
    handler.send_header("Content-Type", kind)
    handler.send_header("Content-Length", str(len(body)))
    handler.end_headers()
    handler.wfile.write(body + extra)


def begin(handler):
    """Begin an event stream; `say` goes on with it, `end` ends it."""
    handler.send_response(200)
    handler.send_header("Content-Type", "text/event-stream")
    handler.send_header("Transfer-Encoding", "chunked")
    handler.end_headers()


def say(handler, piece):
    """Say something in a stream."""
    handler.wfile.write(b"%x\r\n%b\r\n" % (len(piece), piece))
    handler.wfile.flush()


def end(handler):
    """End a stream as it should."""
    handler.wfile.write(b"0\r\n\r\n")


def stream(handler, *pieces):
    """Answer with a whole stream."""
    begin(handler)
    for piece in pieces:
        say(handler, piece)
    end(handler)


class Strange(Effects):
    """The server. :ivar reply: function(handler, request) that answers a call. :ivar asked: calls so far, in order.

    :ivar resume: the same for a GET with Last-Event-ID. :ivar told: what else the client said, but for calls.
    :ivar over: everything that is said to the calls so far has been said.
    """

    def __init__(self, place, *, legacy=False):
        super().__init__(place, "endpoint")
        self.known, self.legacy, self.sessions, self.tools = {}, legacy, set(), [dict(LOOK)]
        self.reply = lambda handler, asked: plain(handler, answer(asked))
        self.resume = lambda handler: plain(handler, b"", status=405)
        self.asked, self.frames, self.told, self.goodbyes = [], [], [], 0
        self.begun = self.done = 0
        self.web = Web()
        self.web.routes["/mcp"] = self._serve

    def _serve(self, handler, body):
        if handler.command == "DELETE":
            self.goodbyes += 1
            plain(handler, b"")
            return
        if handler.command == "GET":
            self.resume(handler) if handler.headers.get("last-event-id") else plain(handler, b"", status=405)
            return
        said = json.loads(body)
        session = handler.headers.get("mcp-session-id")
        if self.legacy and said.get("method") not in ("initialize", "server/discover") and session not in self.sessions:
            plain(handler, b"", status=404)
        elif said.get("method") == "tools/call":
            self.asked.append(said)
            self.frames.append({name.lower(): value for name, value in handler.headers.items()})
            self.begun += 1
            try:
                self.reply(handler, said)
            finally:
                self.done += 1
        elif "id" not in said or "method" not in said:
            self.told.append(said)
            plain(handler, b"", status=202)
        else:
            self._negotiate(handler, said)

    def _negotiate(self, handler, said):
        capabilities, name = {"tools": {}}, {"name": "strange", "version": "1"}
        answers = {"tools/list": {"tools": self.tools} | LIMITS}
        if not self.legacy:
            answers["server/discover"] = {"supportedVersions": ["2026-07-28"], "capabilities": capabilities} | LIMITS
        elif said["method"] == "initialize":
            answers["initialize"] = {
                "protocolVersion": "2025-11-25",
                "capabilities": capabilities,
                "serverInfo": name,
            }
        if said["method"] not in answers:
            error = {"code": -32601, "message": "Method not found"}
            plain(handler, {"jsonrpc": "2.0", "id": said["id"], "error": error}, status=400)
            return
        body = json.dumps({"jsonrpc": "2.0", "id": said["id"], "result": answers[said["method"]]}).encode()
        handler.send_response(200)
        if said["method"] == "initialize":
            self.sessions.add(session := uuid4().hex)
            handler.send_header("Mcp-Session-Id", session)
        handler.send_header("Content-Type", "application/json")
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body)

    @property
    def over(self):
        return self.done == self.begun

    @property
    def pins(self):
        """Return its definitions, as they were when a test first asked."""
        if not self.known:
            self.known.update(definitions.fetch("effects", endpoint=True))
        return self.known


@contextmanager
def strange(place, settings, *, legacy):
    """Run such a server behind the endpoint `effects` while the block lasts."""
    transport.close()  # what a scene of another file keeps open is not counted here
    server = Strange(place, legacy=legacy)
    with server.web as web:
        settings.PLACET_HOME = place
        settings.PLACET_EGRESS_ALLOW = web.here
        settings.PLACET_LAUNCHERS = str(place / "launchers.toml")
        (place / "launchers.toml").write_text(
            f'[endpoints.effects]\nurl = "{web.url}/mcp"\nheaders = {{ X-Of = "us" }}\n'
        )
        try:
            yield server
        finally:
            transport.close()
