"""What a connection needs of the way to a tool server, whichever it is."""

from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from typing import Protocol

from mcp.shared._stream_protocols import ReadStream, WriteStream
from mcp.shared.message import SessionMessage

from audit.canonical import JSON
from gateway.departure import Departure
from gateway.transport.outcome import TransportFailed
from gateway.transport.post import Post

Streams = tuple[ReadStream[SessionMessage | Exception], WriteStream[SessionMessage]]


class Wire(AbstractAsyncContextManager[Streams], Protocol):
    """The SDK's Transport, which can also say what went wrong beneath the protocol.

    :ivar started: set once the server has listed its tools.
    """

    started: bool

    @property
    def words(self) -> str:
        """What is known of a server that does not come up, for the operator."""
        ...

    def unreachable(self) -> TransportFailed:
        """Return why there is no connection."""
        ...

    def failure_of(self, mark: Departure) -> TransportFailed | None:
        """Return what happened to a request beneath the protocol, None if the protocol says it all."""
        ...

    def direct(self, revision: str | None, tools: Mapping[str, Mapping[str, JSON]]) -> Post | None:
        """Return the way of calls past the SDK's client, None where there is none.

        :param revision: of MCP, as it was negotiated. :param tools: as the server has just listed them.
        """
        ...
