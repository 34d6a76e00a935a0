"""One tool server's whole life: reach it, negotiate, list its tools, keep the list true, answer calls, end.

Everything here runs on the portal's event loop, but for what is said to run in any thread: calls.
"""

import asyncio
import contextlib
import logging
import threading
import time
from collections.abc import Callable
from contextvars import Context
from functools import partial

import anyio
from anyio.abc import TaskGroup, TaskStatus
from mcp.client import Client
from mcp.client.session import IncomingMessage
from mcp.client.subscriptions import ListenNotSupportedError, SubscriptionLost
from mcp.shared.exceptions import MCPError
from mcp_types import CallToolResult, ToolListChangedNotification
from pydantic import ValidationError

from gateway.departure import Departure, departure
from gateway.transport import definitions, message, portal, relay
from gateway.transport.message import Call
from gateway.transport.outcome import TransportFailed
from gateway.transport.post import Post
from gateway.transport.wire import Wire

logger = logging.getLogger(__name__)
REFRESH_SECONDS = 30.0
STALE_SECONDS = 60.0
SUBSCRIBE_SECONDS = 5.0  # that a server has to open its notices; one that never does is listed periodically
_GRACE_SECONDS = 2.0  # that the event loop has to say itself that a deadline passed


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
        self._loop = asyncio.get_running_loop()
        self._counting = threading.Lock()  # of what threads and the loop both change
        self._direct: Post | None = None
        self._farewells: set[asyncio.Task[None]] = set()
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
                    client_info=message.CLIENT,
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
        """Ask the connection to end; calls in flight over the SDK's client fail as unreachable."""
        self.stopping = True
        self._wake.set()
        if not self.ready.is_set():
            self._starting.cancel()

    def stop_idle(self) -> bool:
        """Ask it to end if no call is in flight; say whether it does."""
        with self._counting:
            if self.busy:
                return False
            self.stopping = True
        self.stop()
        return True

    def lose(self) -> None:
        """Note that the server is gone; calls in flight fail as unreachable."""
        self.gone = True
        self._wake.set()

    def retire(self) -> None:
        """Answer no new call, and end with the last one in flight. From any thread."""
        with self._counting:
            self.retiring = True
        self._rouse()

    @property
    def protocol(self) -> str | None:
        """The revision of MCP that was agreed on, None while there is none."""
        return self._client.protocol_version if self._client is not None else None

    @property
    def usable(self) -> bool:
        """Whether a new call may be made over it."""
        return not (self.gone or self.stopping or self.retiring)

    def enter(self) -> bool:
        """Count one more call in flight, from any thread; False if no new call may be made over it."""
        with self._counting:
            if not self.usable:
                return False
            self.busy += 1
            return True

    def leave(self) -> None:
        """Count one call less, from any thread."""
        with self._counting:
            self.busy -= 1
            self.last_used = time.monotonic()
            last = self.retiring
        if last:
            self._rouse()

    def confirm(self, call: Call, *, deadline: float) -> None:
        """Wait until the server is known well enough, and refuse a tool that is not as approved. From any thread.

        :param deadline: time.monotonic() seconds. :raises TransportFailed: with what is known; nothing happened.
        """
        if not (self.ready.is_set() and self._is_fresh):
            try:
                portal.call(partial(self._settle, deadline), timeout=deadline - time.monotonic() + _GRACE_SECONDS)
            except TimeoutError as error:
                raise TransportFailed("tool_timeout", "no") from error
        self._check(call)

    def ask(self, call: Call, *, deadline: float) -> CallToolResult:
        """Call a tool that was confirmed, in the thread of the call: past the SDK's client, where there is such a way.

        :raises TransportFailed: with what is known of the effect.
        """
        if self._direct is not None:
            return self._direct.call(call, deadline=deadline, noticed=self._changed, abandoned=self._abandon)
        try:
            return portal.call(
                partial(self._send, call, deadline), timeout=deadline - time.monotonic() + _GRACE_SECONDS
            )
        except TimeoutError as error:
            # The event loop itself did not come round: what it had sent is unknown.
            raise TransportFailed("tool_timeout", "maybe") from error

    async def _settle(self, deadline: float) -> None:
        with anyio.fail_after(deadline - time.monotonic()):
            await self.ready.wait()
            await self._refresh()

    async def _send(self, call: Call, deadline: float) -> CallToolResult:
        mark = Departure(deadline)
        try:
            with anyio.fail_after(deadline - time.monotonic()):
                await self._refresh()
                client = self._check(call)
                return await relay.send(client, call, mark=mark, wire=self.wire, is_lost=lambda: self.gone)
        except TimeoutError:
            raise TransportFailed("tool_timeout", "maybe" if mark.begun else "no") from None

    @property
    def _is_fresh(self) -> bool:
        return self._settled >= self._notices and time.monotonic() - self._verified_at <= STALE_SECONDS

    async def _refresh(self) -> None:
        """Ask the server what its tools are, only when what we know is too old."""
        if not self._is_fresh:
            try:
                await self._list()
            except (MCPError, ValidationError) as error:
                raise TransportFailed("tool_unreachable", "no", str(error)) from error

    def _check(self, call: Call) -> Client:
        """Return the client that may be asked. :raises TransportFailed: there is none, or the tool has drifted."""
        client = self._client
        if client is None:
            raise self.wire.unreachable()
        offered = self._pins.get(call.tool)
        if offered != call.pin:
            raise TransportFailed("tool_drifted", "no", f"{call.tool}: approved {call.pin}, offered {offered}")
        return client

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
            self._direct = self.wire.direct(self.protocol, tools)
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
        with self._counting:
            self._notices += 1
        self._rouse()

    def _rouse(self) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed, and all its connections with it
            self._loop.call_soon_threadsafe(lambda: self._wake.set(), context=Context())

    def _abandon(self, number: int) -> None:
        """Have the server told that nobody waits for request `number` any more."""
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._cancel, number, context=Context())

    def _cancel(self, number: int) -> None:
        if self._client is not None:
            sending = self._loop.create_task(relay.cancel(self._client, number))
            self._farewells.add(sending)  # the loop itself keeps only weak references
            sending.add_done_callback(self._farewells.discard)

    @property
    def _over(self) -> bool:
        return self.stopping or self.gone or (self.retiring and not self.busy)
