"""Tools behind MCP servers: one of its own for each (workspace, release, server), one client for its whole life."""

import asyncio
import os
import time
from collections.abc import Mapping
from contextvars import Context
from functools import partial
from typing import Any
from uuid import UUID

from mcp_types import CallToolResult

from audit import canonical, crash
from audit.canonical import JSON
from audit.refusal import Refusal
from gateway.endpoints import Endpoint
from gateway.launchers import Launcher
from gateway.transport import portal, servers, stdio, web
from gateway.transport.connection import Connection
from gateway.transport.message import Call
from gateway.transport.outcome import RESULT_BYTES, Contract, Result, Scope, TransportFailed
from gateway.transport.trace import traceparent
from gateway.transport.wire import Wire

MOST_PROCESSES = 64
IDLE_SECONDS = 600.0
KEY_META = "dev.placet/idempotency-key"
_TRIES = 3  # to enter a connection: it may end between being found and being entered

Place = tuple[UUID, str, str, str, str, UUID | None]  # workspace, environment, release, server, its digest, session
_connections: dict[Place, Connection] = {}  # touched on the event loop alone
_lives: set[asyncio.Task[None]] = set()
_inherited: list[object] = []
_failures: dict[Place, tuple[int, float]] = {}  # starts that failed in a row, not before (monotonic)


def invoke(
    contract: Contract, arguments: Mapping[str, JSON], *, key: str, deadline: float, scope: Scope, correlation_id: str
) -> Result:
    """Call the tool that the contract names, once. :raises TransportFailed: no usable answer."""
    transport = contract.content["transport"]
    if "definition" not in transport:
        raise TransportFailed("tool_unpinned", "no", f"{contract.name}: its contract pins no definition of the tool")
    source = servers.source_of(transport, scope)
    if isinstance(source, Endpoint):
        deadline = web.until(source, deadline)
    sent = dict(arguments)
    if argument := transport.get("key_argument"):
        sent[argument] = key
    meta = {KEY_META: key, "traceparent": traceparent(correlation_id)}
    session = scope.session if isinstance(source, Launcher) and source.stateful else None
    place = (scope.workspace, scope.environment, scope.release, servers.title(source), source.digest, session)
    call = Call(transport["tool"], sent, transport["definition"], meta)
    try:
        answer = _answer(place, source, call, deadline)
    except _Retired:
        answer = _answer(place, source, call, deadline, again=True)
    return _result(answer, as_json=transport.get("text") == "json")


async def end_all() -> None:
    """End every tool server of this process and wait until they are gone."""
    going = list(_connections.values())
    for connection in going:
        connection.stop()
    for connection in going:
        await connection.ended.wait()


def processes() -> list[int]:
    """Return the process ids of the tool servers of this process: for tests and for operators."""
    wires = [connection.wire for connection in _connections.values() if connection.ready.is_set()]
    return [wire.pid for wire in wires if isinstance(wire, stdio.Wire)]


class _Retired(Exception):
    """The server does not know us any more: a session that it forgot, a secret that was exchanged. Nothing happened."""


def _answer(
    place: Place, source: servers.Source, call: Call, deadline: float, *, again: bool = False
) -> CallToolResult:
    connection = _entered(place, source, deadline)
    try:
        connection.confirm(call, deadline=deadline)
        crash.point("transport.mcp.sending")
        answer = connection.ask(call, deadline=deadline)
        crash.point("transport.mcp.answered")
        return answer
    except TransportFailed as failure:
        if again or failure.happened != "no" or not connection.retiring:
            raise
        raise _Retired from failure
    finally:
        connection.leave()


def _entered(place: Place, source: servers.Source, deadline: float) -> Connection:
    """Return a connection that counts this call as one of its own; `leave` ends that."""
    for _ in range(_TRIES):
        connection = _connections.get(place)
        if connection is None or not connection.usable:
            try:
                connection = portal.call(partial(_opened, place, source), timeout=deadline - time.monotonic())
            except TimeoutError as error:
                raise TransportFailed("tool_timeout", "no") from error
        if connection.enter():
            return connection
        if connection.gone and not connection.listings:
            raise connection.wire.unreachable()
    raise TransportFailed("tool_unreachable", "no", f"{servers.title(source)}: every connection ended at once")


async def _opened(place: Place, source: servers.Source) -> Connection:
    return _connection(place, source)


def _connection(place: Place, source: servers.Source) -> Connection:
    connection = _connections.get(place)
    if connection is not None and connection.usable:
        return connection
    count, not_before = _failures.get(place, (0, 0.0))
    if time.monotonic() < not_before:
        raise TransportFailed("tool_unreachable", "no", f"its last {count} starts failed; the next try is not due yet")
    _make_room()

    def wire(of: Connection) -> Wire:
        return servers.wire_of(source, on_loss=of.lose, on_refusal=of.retire)

    connection = _connections[place] = Connection(servers.title(source), wire)
    # The server outlives the call that needed it first: nothing of that call, its deadline least of all, stays with it.
    task = asyncio.get_running_loop().create_task(_live(place, connection), context=Context())
    _lives.add(task)  # the loop itself keeps only weak references
    task.add_done_callback(_lives.discard)
    return connection


async def _live(place: Place, connection: Connection) -> None:
    await connection.live()
    if _connections.get(place) is connection:
        del _connections[place]
    if connection.listings:
        _failures.pop(place, None)
    else:
        count = _failures.get(place, (0, 0.0))[0] + 1
        _failures[place] = (count, time.monotonic() + min(0.5 * 2**count, 30.0))
    connection.ended.set()


def _make_room() -> None:
    """End what nobody has used for long; at the limit, also the one that was unused the longest."""
    now = time.monotonic()
    idle = sorted((c for c in _connections.values() if not c.busy and not c.stopping), key=lambda c: c.last_used)
    for connection in idle:
        if now - connection.last_used > IDLE_SECONDS:
            connection.stop_idle()
    if sum(not c.stopping for c in _connections.values()) < MOST_PROCESSES:
        return
    if not any(not connection.stopping and connection.stop_idle() for connection in idle):
        raise TransportFailed("tool_busy", "no", f"{MOST_PROCESSES} tool servers run and all are in use")


def _result(answer: CallToolResult, *, as_json: bool) -> Result:
    content: dict[str, Any] = {
        "content": [block.model_dump(mode="json", by_alias=True, exclude_none=True) for block in answer.content],
        "structured": answer.structured_content,
    }
    if as_json and not answer.is_error and content["structured"] is None:
        content["structured"] = _parsed(content["content"])
    try:
        size = len(canonical.dumps(content))
    except canonical.NotCanonical as error:
        raise TransportFailed("tool_result_malformed", "maybe", str(error)) from error
    if size > RESULT_BYTES:
        raise TransportFailed("tool_result_too_large", "maybe", f"{size} bytes")
    return Result(content, answer.is_error, {"transport": "mcp"})


def _parsed(blocks: list[dict[str, JSON]]) -> JSON:
    texts = [str(block["text"]).encode() for block in blocks if block["type"] == "text"]
    try:
        if len(texts) != 1:
            raise TransportFailed(
                "tool_result_malformed", "maybe", f"{len(texts)} texts where one JSON text was agreed"
            )
        return canonical.loads(texts[0], field="result")
    except (Refusal, UnicodeEncodeError) as error:
        raise TransportFailed("tool_result_malformed", "maybe", str(error)) from error


def _forget() -> None:
    # After a fork the servers are the parent's. Kept, not collected: their finalisers would kill them.
    global _connections, _failures, _lives
    _inherited.append((_connections, _failures, _lives))
    _connections, _failures, _lives = {}, {}, set()


portal.on_close(end_all)
os.register_at_fork(after_in_child=_forget)
