"""The short way to a tool behind streamable HTTP: the thread of the call makes one POST, past the SDK's client.

The SDK's client keeps what is the connection's: negotiation, session, listing, notices, ending (docs/adr/0023).
"""

import logging
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import NoReturn

from mcp_types import CallToolResult

from audit.canonical import JSON
from gateway import connect
from gateway.connect import Answer, ConnectRefused, Streamed
from gateway.transport import message, web
from gateway.transport.events import Events
from gateway.transport.message import Call, Places
from gateway.transport.outcome import TransportFailed

logger = logging.getLogger(__name__)
_PATIENCE_SECONDS = 0.05  # for a stream to end after its answer, so that the connection can serve again
_PAUSE_SECONDS, _SHORTEST_PAUSE = 1.0, 0.1  # before a lost stream is asked for again
_TRIES = 2
_MOST_REQUESTS = 100  # of the server, within one call
_REFUSAL_SECONDS, _REFUSAL_BYTES = 5.0, 65_536
_UNKNOWN = frozenset({401, 403, 404})  # the server does not know us, or not any more
_CUT = frozenset({"egress_unreachable", "egress_protocol_error"})


@dataclass(slots=True)
class Post:
    """The way to one server, made anew with each listing of its tools.

    :param name: of the endpoint. :param headers: of every request, the endpoint's secrets and the session included.
    :param most_bytes: of one response. :param on_end: called when the server knows us no more.
    :ivar lingers: it leaves streams open after the answer: they are closed at once.
    """

    name: str
    url: str
    headers: Mapping[str, str]
    revision: str
    repeated: Mapping[str, Places]
    most_bytes: int
    on_end: Callable[[], None]
    lingers: bool = field(default=False)

    def call(
        self, call: Call, *, deadline: float, noticed: Callable[[], None], abandoned: Callable[[int], None]
    ) -> CallToolResult:
        """Ask for one call and wait for its answer.

        :param noticed: called when the server says beside the answer that its tools have changed.
        :param abandoned: called with the request's id if the server shall stop, as nobody waits any more.
        :raises TransportFailed: with what is known of the effect.
        """
        number, events = message.identity(), Events()
        headers = {**self.headers, **message.headers(call, self.revision, self.repeated.get(call.tool, {}))}
        try:
            with self._asked("POST", headers, message.request(call, number, self.revision), deadline) as response:
                self._examine(response)
                kind = response.headers.get("content-type", "").lower()
                if kind.startswith("application/json"):
                    return message.result(message.read(b"".join(response.chunks)), number, self.revision)
                if not kind.startswith("text/event-stream"):
                    raise TransportFailed("tool_protocol_error", "maybe", f"an answer of type {kind[:100]!r}")
                answer = self._listen(events, response.chunks, number, deadline, noticed)
            return self._resume(events, number, deadline, noticed) if answer is None else answer
        except ConnectRefused as refused:
            late = refused.code == "egress_timeout" and refused.happened == "maybe"
            if late and not message.is_modern(self.revision):  # since 2026-07-28, closing the connection says so
                abandoned(number)
            raise web.failure_of(refused) from refused

    def _asked(
        self, method: str, headers: Mapping[str, str], body: bytes, deadline: float
    ) -> AbstractContextManager[Streamed]:
        return connect.stream(
            self.url,
            purpose=f"mcp {self.name}",
            deadline=deadline,
            most_bytes=self.most_bytes,
            method=method,
            headers=headers,
            body=body,
        )

    def _examine(self, response: Streamed) -> None:
        if response.status in _UNKNOWN:
            self.on_end()
        failure = failure_of(self.name, response.status, response.headers)
        if failure is not None:
            raise failure
        if response.status >= 400 or response.status == 202:
            raise TransportFailed("tool_protocol_error", "maybe", f"{response.status} {_words(response)}".rstrip())

    def _listen(
        self,
        events: Events,
        chunks: Iterator[bytes],
        number: int,
        deadline: float,
        noticed: Callable[[], None],
    ) -> CallToolResult | None:
        """Return the answer among what the server says, None if the stream was lost and can be asked for again."""
        requests, messages = 0, events.read(chunks)
        try:
            for raw in messages:
                said = message.read(raw) if raw else None
                if said is None:
                    continue
                if "method" not in said:
                    answer = message.result(said, number, self.revision)
                    self._finish(messages)
                    return answer
                if "id" in said:
                    requests += 1
                    if requests > _MOST_REQUESTS:
                        raise TransportFailed("tool_protocol_error", "maybe", "the server asks instead of answering")
                    self._refuse(said, deadline)
                elif said["method"] == message.CHANGED:
                    noticed()
        except ConnectRefused as refused:
            if refused.code not in _CUT or not events.last:
                raise
        if not events.last:
            raise TransportFailed("tool_unreachable", "maybe", "the stream ended without an answer")
        return None

    def _finish(self, messages: Iterator[bytes]) -> None:
        """Read to the end of a stream, if that is near; a connection on which more is said is not used again."""
        mark = connect.departure.get()
        if self.lingers or mark is None:
            return
        mark.deadline = min(mark.deadline, time.monotonic() + _PATIENCE_SECONDS)
        try:
            next(messages, None)
        except ConnectRefused:
            self.lingers = True

    def _refuse(self, said: Mapping[str, JSON], deadline: float) -> None:
        """Answer a request of the server: we declared nothing that it could ask for. A ping is answered."""
        try:
            connect.fetch(
                self.url,
                purpose=f"mcp {self.name}",
                deadline=min(deadline, time.monotonic() + _REFUSAL_SECONDS),
                most_bytes=_REFUSAL_BYTES,
                method="POST",
                headers={**self.headers, **message.revised(self.revision)},
                body=message.refusal(said),
            )
        except ConnectRefused as refused:
            logger.warning("endpoint %s: it asked, and our answer was not taken: %s", self.name, refused)

    def _resume(self, events: Events, number: int, deadline: float, noticed: Callable[[], None]) -> CallToolResult:
        """Ask for the rest of a stream that was lost, or that the server ended to be asked again."""
        tries = 0
        while tries < _TRIES:
            pause = max(_PAUSE_SECONDS if events.pause is None else events.pause, _SHORTEST_PAUSE)
            if time.monotonic() + pause >= deadline:
                _late()
            time.sleep(pause)
            tries += 1
            before = events.last
            headers = {
                **self.headers,
                **message.revised(self.revision),
                "accept": "text/event-stream",
                "last-event-id": before.decode("latin-1"),
            }
            try:
                with self._asked("GET", headers, b"", deadline) as response:
                    if response.status in _UNKNOWN:
                        self.on_end()
                    kind = response.headers.get("content-type", "").lower()
                    if response.status == 200 and kind.startswith("text/event-stream"):
                        answer = self._listen(events, response.chunks, number, deadline, noticed)
                        if answer is not None:
                            return answer
            except ConnectRefused as refused:
                if refused.code not in _CUT:
                    raise ConnectRefused(refused.code, refused.detail, happened="maybe") from refused
            if events.last != before:
                tries = 0
        raise TransportFailed("tool_unreachable", "maybe", "the stream ended without an answer and was not resumed")


def failure_of(name: str, status: int, headers: Mapping[str, str]) -> TransportFailed | None:
    """Return what a status says of a request to endpoint `name`, None if the answer is one of MCP."""
    if status in {401, 403}:
        return TransportFailed(
            "endpoint_unauthorized", "no", f"{status}: endpoints.{name} does not accept our credentials"
        )
    if status == 404:
        return TransportFailed("tool_unreachable", "no", "404: no such session or endpoint")
    return web.refusal_of(Answer(status, headers, b""))


def _late() -> NoReturn:
    raise ConnectRefused("egress_timeout", "the deadline passes before the stream may be resumed", happened="maybe")


def _words(response: Streamed) -> str:
    """Return what a server says of its refusal, for the operator."""
    try:
        return message.fault(message.read(b"".join(response.chunks)))
    except (ConnectRefused, TransportFailed):
        return ""
