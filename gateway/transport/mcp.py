"""Tools behind MCP servers: one of its own for each (workspace, release, server), one client for its whole life."""

import asyncio
import os
import time
from collections.abc import Mapping
from contextvars import Context
from functools import partial
from typing import Any, cast
from uuid import UUID

from mcp_types import CallToolResult, RequestParamsMeta

from audit import canonical
from audit.canonical import JSON
from audit.refusal import Refusal
from gateway.endpoints import Endpoint
from gateway.launchers import Launcher
from gateway.transport import portal, servers, stdio, web
from gateway.transport.connection import Connection
from gateway.transport.outcome import RESULT_BYTES, Contract, Result, Scope, TransportFailed
from gateway.transport.trace import traceparent
from gateway.transport.wire import Wire

MOST_PROCESSES = 64
IDLE_SECONDS = 600.0
KEY_META = "dev.placet/idempotency-key"
_GRACE_SECONDS = 2.0

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
    meta = cast(RequestParamsMeta, {KEY_META: key, "traceparent": traceparent(correlation_id)})
    session = scope.session if isinstance(source, Launcher) and source.stateful else None
    place = (scope.workspace, scope.environment, scope.release, servers.title(source), source.digest, session)

    async def ask() -> CallToolResult:
        connection = _connection(place, source)
        asked = partial(Connection.call, tool=transport["tool"], arguments=sent, pin=transport["definition"], meta=meta)
        try:
            return await asked(connection, timeout=deadline - time.monotonic())
        except TransportFailed as failure:
            # It does not know us any more: a session that it forgot, a secret that was exchanged.
            if failure.happened != "no" or not connection.retiring:
                raise
        return await asked(_connection(place, source), timeout=deadline - time.monotonic())

    try:
        answer = portal.call(ask, timeout=deadline - time.monotonic() + _GRACE_SECONDS)
    except TimeoutError as error:
        # The event loop itself did not come round: what it had sent is unknown.
        raise TransportFailed("tool_timeout", "maybe") from error
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
            connection.stop()
    if sum(not c.stopping for c in _connections.values()) >= MOST_PROCESSES:
        if not idle:
            raise TransportFailed("tool_busy", "no", f"{MOST_PROCESSES} tool servers run and all are in use")
        idle[0].stop()


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
