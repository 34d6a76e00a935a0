"""A tool server behind streamable HTTP: the SDK's transport over a client that `gateway.connect` made."""

import logging
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from types import TracebackType

from mcp.client.streamable_http import MCP_SESSION_ID, streamable_http_client

from audit import canonical
from audit.canonical import JSON
from gateway import connect
from gateway.connect import AsyncClient, ConnectRefused
from gateway.departure import Departure, departure
from gateway.endpoints import Endpoint
from gateway.transport import message, post, web
from gateway.transport.outcome import TransportFailed
from gateway.transport.post import Post
from gateway.transport.wire import Streams

logger = logging.getLogger(__name__)
_GOODBYE_SECONDS = 2.0
_OWN = {"accept": "application/json, text/event-stream", "content-type": "application/json"}
_STAND_IN_CODE = -32000  # JSON-RPC: the first of those that a server may define


class Wire:
    """The connection to one MCP endpoint. Entered by the SDK's client, which then owns its life.

    :param headers: of the endpoint, secrets included, as they are for the life of this connection.
    :param most_bytes: of one response; an event stream of notices that grows past it is opened anew.
    :param on_end: called when the server does not know us any more; the next call needs a new connection.
    :ivar started: from here on a request that fails is the failure of its call, and not of the connection.
    """

    def __init__(
        self, endpoint: Endpoint, *, headers: dict[str, str], most_bytes: int, on_end: Callable[[], None]
    ) -> None:
        self._endpoint = endpoint
        self._headers = headers
        self._most_bytes = most_bytes
        self._on_end = on_end
        self._last: Departure | None = None
        self._session: str | None = None
        self._client: AsyncClient
        self._streams: AbstractAsyncContextManager[Streams]
        self.started = False

    @property
    def words(self) -> str:
        """What is known of the last request that failed."""
        failure = self._last and self.failure_of(self._last)
        return failure.detail if failure else ""

    async def __aenter__(self) -> Streams:
        """Make the client; nothing is sent yet. :raises ConnectRefused: the endpoint's address cannot be used."""
        try:
            self._client = connect.client(
                self._endpoint.url,
                headers=self._headers,
                most_bytes=self._most_bytes,
                stand_in=self._stand_in,
                heard=self._heard,
            )
        except ConnectRefused as refused:
            self._last = Departure(failure=refused)
            raise
        self._client.event_hooks = {"request": [self._asking]}
        # Events need no bound of their own: the client bounds the response that they are part of, and says so.
        self._streams = streamable_http_client(self._endpoint.url, http_client=self._client, max_sse_event_size=None)
        return await self._streams.__aenter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        # The SDK says goodbye to a session, and would wait for the answer as long as it takes.
        departure.set(Departure(time.monotonic() + _GOODBYE_SECONDS))
        try:
            return await self._streams.__aexit__(kind, error, trace)
        finally:
            await self._client.aclose()

    def unreachable(self) -> TransportFailed:
        """Return why there is no connection, as far as a request has told."""
        failure = self.failure_of(self._last) if self._last is not None else None
        if failure is None:
            return TransportFailed("tool_unreachable", "no", f"endpoints.{self._endpoint.name} speaks no MCP")
        # Whatever was asked for while connecting, it was not the call.
        return TransportFailed(failure.code, "no", failure.detail, retry_after=failure.retry_after)

    def failure_of(self, mark: Departure) -> TransportFailed | None:
        """Return what HTTP itself says of a request, None if the answer is one of MCP."""
        if isinstance(mark.failure, ConnectRefused):
            return web.failure_of(mark.failure)
        return post.failure_of(self._endpoint.name, mark.status, mark.headers)

    def direct(self, revision: str | None, tools: Mapping[str, Mapping[str, JSON]]) -> Post | None:
        """Return the way past the SDK's client, None where the revision is none that we know."""
        if revision is None or not message.is_known(revision):
            return None
        own = (
            {"user-agent": message.CLIENT.name} | {name.lower(): value for name, value in self._headers.items()} | _OWN
        )
        if self._session is not None:
            own[MCP_SESSION_ID] = self._session
        places = {name: message.places(revision, tool["definition"]["inputSchema"]) for name, tool in tools.items()}
        return Post(
            name=self._endpoint.name,
            url=self._endpoint.url,
            headers=own,
            revision=revision,
            repeated={name: repeated for name, repeated in places.items() if repeated},
            most_bytes=self._most_bytes,
            on_end=self._on_end,
        )

    async def _asking(self, request: connect.Request) -> None:
        # What the SDK says is the session is it: it alone knows which of the server's answers opened one.
        self._session = request.headers.get(MCP_SESSION_ID)

    def _heard(self, mark: Departure) -> None:
        self._last = mark
        if self.started and mark.status in {401, 403, 404}:
            self._on_end()

    def _stand_in(self, refused: ConnectRefused) -> bytes | None:
        logger.warning("endpoint %s: %s", self._endpoint.name, refused)
        if not self.started:
            return None
        error = {"code": _STAND_IN_CODE, "message": refused.code}
        return canonical.dumps({"jsonrpc": "2.0", "id": None, "error": error})
