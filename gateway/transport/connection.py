"""One tool server's whole life: reach it, negotiate, list its tools, keep the list true, answer calls, end.

Everything here runs on the portal's event loop.
"""

import contextlib
import logging
import time
from collections.abc import Callable

import anyio
from anyio.abc import TaskGroup, TaskStatus
from mcp.client import Client
from mcp.client.session import IncomingMessage
from mcp.client.subscriptions import ListenNotSupportedError, SubscriptionLost
from mcp.shared.exceptions import MCPError
from mcp_types import (
    CONNECTION_CLOSED,
    REQUEST_TIMEOUT,
    CallToolRequest,
    CallToolRequestParams,
    CallToolResult,
    Implementation,
    RequestParamsMeta,
    ToolListChangedNotification,
)
from pydantic import ValidationError

from audit import crash
from gateway.departure import Departure, departure
from gateway.transport import definitions
from gateway.transport.outcome import Happened, TransportFailed
from gateway.transport.wire import Wire

logger = logging.getLogger(__name__)
REFRESH_SECONDS = 30.0
STALE_SECONDS = 60.0
SUBSCRIBE_SECONDS = 5.0  # that a server has to open its notices; one that never does is listed periodically
_CLIENT = Implementation(name="placet", version="1")


class Connection:
    """A client of one tool server.

    :param title: of the server, for the log. :param wire: makes the way to it for this connection.
    :ivar last_used, busy: monotonic seconds and calls in flight, for the pool's housekeeping.
    :ivar gone: the server is lost or it is over. :ivar retiring: it ends with the last call in flight.
    :ivar listings: how often the server has listed its tools.
    """

    def __init__(self, title: str, wire: "Callable[[Connection], Wire]") -> None:
        self.title = title
        self.wire = wire(self)
        self.last_used = time.monotonic()
        self.busy = 0
        self.gone = False
        self.retiring = False
        self.listings = 0
        self._client: Client | None = None
        self._pins: dict[str, str] = {}
        self._verified_at = float("-inf")
        self._notices = 0  # list_changed notices so far; a listing counts only for those before it
        self._settled = 0
        self.stopping = False
        self.ready = anyio.Event()
        self.ended = anyio.Event()
        self._wake = anyio.Event()
        self._starting = anyio.CancelScope()
        self._listing = anyio.Lock()

    async def live(self) -> None:
        """Be the server's client until it ends or `stop` is called; never raises."""
        try:
            with self._starting as starting:
                starting.deadline = anyio.current_time() + definitions.CONNECT_SECONDS
                async with Client(
                    self.wire,
                    read_timeout_seconds=definitions.CONNECT_SECONDS,
                    message_handler=self._notice,
                    client_info=_CLIENT,
                    cache=None,
                ) as client:
                    self._client = client
                    async with anyio.create_task_group() as tasks:
                        # Before the list: what changed between the two would never be heard of.
                        await self._subscribe(tasks, client)
                        await self._list()
                        starting.deadline = float("inf")
                        self.wire.started = True
                        self.ready.set()
                        await self._keep_listed()
                        tasks.cancel_scope.cancel()
        except Exception as error:  # noqa: BLE001 - whatever ends a server ends its connection alone
            logger.warning("%s: the server ended: %r %s", self.title, error, self.wire.words[-500:])
        finally:
            self.gone = True
            self._client = None
            self.ready.set()

    def stop(self) -> None:
        """Ask the connection to end; calls in flight fail as unreachable."""
        self.stopping = True
        self._wake.set()
        if not self.ready.is_set():
            self._starting.cancel()

    def lose(self) -> None:
        """Note that the server is gone; calls in flight fail as unreachable."""
        self.gone = True
        self._wake.set()

    def retire(self) -> None:
        """Answer no new call, and end with the last one in flight."""
        self.retiring = True
        self._wake.set()

    @property
    def protocol(self) -> str | None:
        """The revision of MCP that was agreed on, None while there is none."""
        return self._client.protocol_version if self._client is not None else None

    @property
    def usable(self) -> bool:
        """Whether a new call may be made over it."""
        return not (self.gone or self.stopping or self.retiring)

    async def call(
        self, tool: str, arguments: dict[str, object], *, pin: str, meta: RequestParamsMeta, timeout: float
    ) -> CallToolResult:
        """Call `tool` if it still is what was approved.

        :param timeout: seconds, from now to the answer.
        :raises TransportFailed: with what is known of the effect.
        """
        mark = Departure(time.monotonic() + timeout)
        self.busy += 1
        try:
            with anyio.fail_after(timeout):
                await self.ready.wait()
                await self._verify(tool, pin)
                return await self._send(tool, arguments, meta, timeout, mark)
        except TimeoutError:
            raise TransportFailed("tool_timeout", "maybe" if mark.begun else "no") from None
        finally:
            self.busy -= 1
            self.last_used = time.monotonic()
            if self.retiring:
                self._wake.set()

    async def _send(
        self, tool: str, arguments: dict[str, object], meta: RequestParamsMeta, timeout: float, mark: Departure
    ) -> CallToolResult:
        if self._client is None:
            raise self.wire.unreachable()
        crash.point("transport.mcp.sending")
        departure.set(mark)
        try:
            # Not Client.call_tool: that checks results with a slow validator, and may list tools, on this one thread.
            answer = await self._client.session.send_request(
                CallToolRequest(params=CallToolRequestParams(name=tool, arguments=arguments, _meta=meta)),
                CallToolResult,
                request_read_timeout_seconds=timeout,
            )
        except MCPError as error:
            raise self._failure(error, mark) from error
        except ValidationError as error:
            # It answered, but not with a result: a refusal to go on without input, or nonsense.
            raise TransportFailed("tool_protocol_error", "maybe", _faults(error)) from None
        crash.point("transport.mcp.answered")
        return answer

    def _failure(self, error: MCPError, mark: Departure) -> TransportFailed:
        if beneath := self.wire.failure_of(mark):
            return beneath
        happened: Happened = "maybe" if mark.begun else "no"
        if self.gone or error.code == CONNECTION_CLOSED:
            return TransportFailed("tool_unreachable", happened, str(error))
        if error.code == REQUEST_TIMEOUT:
            return TransportFailed("tool_timeout", happened)
        # No error code of a server proves that nothing happened: -32602 also is what the SDK answers when a model
        # inside the tool fails to validate, after the tool has acted.
        return TransportFailed("tool_protocol_error", happened, f"{error.code} {error}"[:300])

    async def _verify(self, tool: str, pin: str) -> None:
        """Refuse a tool that is not as approved; ask the server again only when what we know is too old."""
        if self._settled < self._notices or time.monotonic() - self._verified_at > STALE_SECONDS:
            try:
                await self._list()
            except (MCPError, ValidationError) as error:
                raise TransportFailed("tool_unreachable", "no", str(error)) from error
        if self._client is not None and self._pins.get(tool) != pin:
            raise TransportFailed("tool_drifted", "no", f"{tool}: approved {pin}, offered {self._pins.get(tool)}")

    async def _list(self) -> None:
        async with self._listing:
            if self._client is None:
                return
            notices = self._notices
            before = departure.set(Departure(time.monotonic() + definitions.CONNECT_SECONDS))
            try:
                tools = await definitions.listed(self._client)
            finally:
                departure.reset(before)
            self._pins = {name: str(tool["digest"]) for name, tool in tools.items()}
            self._verified_at = time.monotonic()
            self._settled = notices
            self.listings += 1

    async def _keep_listed(self) -> None:
        while not self._over:
            with anyio.move_on_after(REFRESH_SECONDS):
                await self._wake.wait()
            self._wake = anyio.Event()
            if not self._over and not self.retiring:
                await self._list()

    async def _subscribe(self, tasks: TaskGroup, client: Client) -> None:
        """Return once notices are heard, or it is clear that none will be: then the periodic listing remains."""
        capability = client.server_capabilities.tools
        if capability is not None and capability.list_changed:
            with anyio.move_on_after(SUBSCRIBE_SECONDS):
                await tasks.start(self._listen, client)

    async def _listen(self, client: Client, *, task_status: TaskStatus[None]) -> None:
        """Since 2026-07-28 notices come only on a subscription; earlier servers send them unasked (`_notice`)."""
        try:
            async with client.listen(tools_list_changed=True) as subscription:
                task_status.started()
                async for _ in subscription:
                    self._changed()
        except (ListenNotSupportedError, SubscriptionLost, MCPError, TimeoutError):
            with contextlib.suppress(RuntimeError):  # it had started before it was lost
                task_status.started()

    async def _notice(self, message: IncomingMessage) -> None:
        if isinstance(message, ToolListChangedNotification):
            self._changed()

    def _changed(self) -> None:
        self._notices += 1
        self._wake.set()

    @property
    def _over(self) -> bool:
        return self.stopping or self.gone or (self.retiring and not self.busy)


def _faults(error: ValidationError) -> str:
    """Return what is wrong with a result, and where; not the values, which may be anybody's: this goes to the log."""
    found = error.errors(include_input=False, include_context=False, include_url=False)
    return "; ".join(f"{'.'.join(map(str, one['loc']))}: {one['type']}" for one in found)[:300]
