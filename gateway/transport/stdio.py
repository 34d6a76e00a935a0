"""One tool server process, and the two streams over which the SDK's client speaks with it.

The SDK's own stdio transport inherits variables, reads lines without bound and cannot say whether a request left us
(docs/adr/0006-own-stdio-wire.md); so this one stands in its place, by the SDK's public Transport protocol.
"""

import json
import logging
import os
import signal
import subprocess
import sys
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

import anyio
from anyio.abc import ByteReceiveStream, Process, TaskGroup
from anyio.streams.memory import MemoryObjectReceiveStream
from mcp.shared.message import SessionMessage
from mcp_types import jsonrpc_message_adapter

from gateway.departure import Departure, departure
from gateway.launchers import Launcher
from gateway.transport.outcome import TransportFailed

logger = logging.getLogger(__name__)
_CONFINE = str(Path(__file__).with_name("confine.py"))
_GRACE_SECONDS = 1.0  # for a server to end after its input closed, and again after SIGTERM
_STDERR_LINES = 20


class Wire:
    """A running tool server. Entered by the SDK's client, which then owns its life.

    :param line_bytes: longest message that is read; a longer one ends the process.
    :param on_end: called once, when the server has closed its output.
    """

    def __init__(self, launcher: Launcher, *, line_bytes: int, on_end: Callable[[], None]) -> None:
        self._launcher = launcher
        self._line_bytes = line_bytes
        self._on_end = on_end
        self._writing = anyio.Lock()
        self.started = False
        self._process: Process
        self._tasks: TaskGroup
        self.fault: str | None = None
        self.stderr: deque[str] = deque(maxlen=_STDERR_LINES)

    @property
    def words(self) -> str:
        """What the server wrote beside the protocol, at last."""
        return " / ".join(self.stderr)

    def unreachable(self) -> TransportFailed:
        """Return why there is no connection."""
        return TransportFailed("tool_unreachable", "no", self.words)

    def failure_of(self, mark: Departure) -> TransportFailed | None:
        """Return what broke the wire itself, None if nothing did."""
        return TransportFailed(self.fault, "maybe") if self.fault is not None else None

    def direct(self, revision: str | None, tools: Mapping[str, object]) -> None:
        """Return None: answers come in any order over the one pipe, which the SDK's client reads."""

    @property
    def pid(self) -> int:
        """Process id of the server, which leads a process group of its own."""
        return self._process.pid

    async def __aenter__(self) -> tuple[MemoryObjectReceiveStream[SessionMessage | Exception], "Wire.Outlet"]:
        """Start the server. :raises OSError: it cannot be started.  :raises LaunchersInvalid: a secret is missing."""
        launcher = self._launcher
        sandbox = launcher.bubblewrap()
        wanted = {
            "parent": os.getpid(),
            "user": launcher.user,
            "reach": [launcher.command[0], launcher.cwd],
            "sandboxed": bool(sandbox),
            "cwd": launcher.cwd,
            "limits": launcher.limits.model_dump(),
        }
        self._process = await anyio.open_process(
            [sys.executable, "-I", "-S", _CONFINE, json.dumps(wanted), *sandbox, *launcher.command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=launcher.environment(),
            cwd="/",
            start_new_session=True,
        )
        self._inward, messages = anyio.create_memory_object_stream[SessionMessage | Exception](0)
        self._tasks = anyio.create_task_group()
        await self._tasks.__aenter__()
        self._tasks.start_soon(self._read)
        self._tasks.start_soon(self._keep_stderr)
        return messages, Wire.Outlet(self)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with anyio.CancelScope(shield=True):
            await self._stop()
        self._tasks.cancel_scope.cancel()
        await self._tasks.__aexit__(None, None, None)

    class Outlet:
        """The stream of messages to the server; a message is written in the task of the call that it belongs to."""

        def __init__(self, wire: "Wire") -> None:
            self._wire = wire

        async def send(self, item: SessionMessage, /) -> None:
            """Write one message. :raises anyio.BrokenResourceError: the server is gone."""
            line = item.message.model_dump_json(by_alias=True, exclude_unset=True).encode() + b"\n"
            process = self._wire._process
            async with self._wire._writing:
                if process.returncode is not None or process.stdin is None:
                    raise anyio.BrokenResourceError
                mark = departure.get()
                if mark is not None:
                    mark.begun = True
                try:
                    await process.stdin.send(line)
                except OSError as error:
                    raise anyio.BrokenResourceError from error

        async def aclose(self) -> None:
            """The process is stopped by the wire, not by its client."""

        async def __aenter__(self) -> Self:
            return self

        async def __aexit__(
            self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
        ) -> None:
            await self.aclose()

    async def _read(self) -> None:
        assert self._process.stdout is not None  # noqa: S101 - it was started with a pipe
        line = bytearray()
        async with self._inward:
            with suppress(anyio.ClosedResourceError, anyio.BrokenResourceError, anyio.EndOfStream, OSError):
                while True:
                    chunk = await self._process.stdout.receive(65_536)
                    *whole, rest = chunk.split(b"\n")
                    for part in whole:
                        await self._deliver(bytes(line + part))
                        line.clear()
                    line += rest
                    if len(line) > self._line_bytes:
                        self.fault = "tool_result_too_large"
                        self._signal(signal.SIGKILL)
                        break
        self._on_end()

    async def _deliver(self, line: bytes) -> None:
        message: SessionMessage | Exception
        try:
            message = SessionMessage(jsonrpc_message_adapter.validate_json(line, by_name=False))
        except ValueError as error:
            # A stray line on the output is no answer to anybody; the call that waits for one runs into its deadline.
            logger.warning("launcher %s: %d bytes on its output are no message", self._launcher.name, len(line))
            message = error
        await self._inward.send(message)

    async def _keep_stderr(self) -> None:
        stream: ByteReceiveStream | None = self._process.stderr
        assert stream is not None  # noqa: S101 - it was started with a pipe
        with suppress(anyio.ClosedResourceError, anyio.BrokenResourceError, anyio.EndOfStream, OSError):
            while True:
                text = (await stream.receive(4096)).decode(errors="replace")
                self.stderr.extend(line[:300] for line in text.splitlines() if line.strip())

    async def _stop(self) -> None:
        """Close its input, then end its whole process group: the order of the MCP specification, every wait bounded."""
        if self._process.stdin is not None:
            with suppress(OSError, anyio.BrokenResourceError, anyio.ClosedResourceError):
                await self._process.stdin.aclose()
        for signal_number in (None, signal.SIGTERM, signal.SIGKILL):
            if signal_number is not None:
                self._signal(signal_number)
            with anyio.move_on_after(_GRACE_SECONDS):
                while self._process.returncode is None:
                    await anyio.sleep(0.01)
                break
        # Descendants that outlived their leader, and would hold its output open.
        self._signal(signal.SIGKILL)
        with anyio.move_on_after(_GRACE_SECONDS):
            await self._process.aclose()

    def _signal(self, number: int) -> None:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, number)
