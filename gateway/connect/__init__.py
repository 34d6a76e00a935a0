"""The only way out over HTTP: for tools, models, MCP servers, key sets and webhooks.

A name is resolved once and connected to at exactly the address that was judged; only public addresses over HTTPS, or
what PLACET_EGRESS_ALLOW lists. No redirect is followed, no proxy or password file is read from the environment,
nothing is decompressed, and everything is bounded: bytes, and the time of the whole exchange.
"""

import functools
import os
import ssl
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any, Literal, NoReturn

import httpcore2
import httpx2
from django.conf import settings

from gateway.connect.lines import AsyncBackend, Backend, current
from gateway.connect.pools import AsyncPool, Pool
from gateway.departure import Departure, departure
from gateway.destinations import ConnectRefused, Destination, Listed, is_header, parse, read_list

__all__ = [
    "Answer",
    "AsyncClient",
    "ConnectRefused",
    "Departure",
    "Request",
    "Streamed",
    "client",
    "close",
    "departure",
    "fetch",
    "stream",
]
MOST_CONNECTIONS = 64  # of one purpose, in one process
IDLE_SECONDS = 30.0
HEADER_BYTES = 102_400  # httpcore's own bound, on top of a body's
AsyncClient = httpx2.AsyncClient
Request = httpx2.Request
_pools: dict[tuple[str, str, Listed], Pool] = {}
_making = threading.Lock()
_inherited: list[object] = []
_BROKEN = (httpcore2.NetworkError, httpcore2.ProtocolError, httpcore2.TimeoutException, httpcore2.UnsupportedProtocol)


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole response. :param headers: names in lower case; repeated ones joined by a comma."""

    status: int
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True, slots=True)
class Streamed:
    """A response whose body is still coming. Iterating raises what `fetch` raises."""

    status: int
    headers: Mapping[str, str]
    chunks: Iterator[bytes]


def fetch(
    url: str,
    *,
    purpose: str,
    deadline: float,
    most_bytes: int,
    method: str = "GET",
    headers: Mapping[str, str] | None = None,
    body: bytes = b"",
) -> Answer:
    """Make one request and return the whole response, whatever its status but a redirect.

    :param purpose: what it is for, such as "jwks" or "endpoint forge": each has connections of its own.
    :param deadline: time.monotonic() seconds by which all of the response must be here.
    :param most_bytes: of the body.
    :raises ConnectRefused: no such request is made, or no usable response came.
    """
    asked = stream(
        url, purpose=purpose, deadline=deadline, most_bytes=most_bytes, method=method, headers=headers, body=body
    )
    with asked as answer:
        return Answer(answer.status, answer.headers, b"".join(answer.chunks))


@contextmanager
def stream(
    url: str,
    *,
    purpose: str,
    deadline: float,
    most_bytes: int,
    method: str = "GET",
    headers: Mapping[str, str] | None = None,
    body: bytes = b"",
) -> Iterator[Streamed]:
    """Make one request; the body is read as the caller iterates. Parameters and errors as for `fetch`."""
    where = parse(url)
    mark = Departure(deadline, most_bytes + HEADER_BYTES)
    if mark.remaining <= 0:
        raise ConnectRefused("egress_timeout", "the deadline passed before the request")
    before = departure.set(mark)
    response = None
    try:
        response = _pool(purpose, where.scheme).handle_request(_request(where, method, headers or {}, body, mark))
        told = _headers(response.headers)
        _examine(response.status, told, mark)
        yield Streamed(response.status, told, _chunks(response, most_bytes))
    except _BROKEN as error:
        _fail(error, mark)
    finally:
        if response is not None:
            with suppress(*_BROKEN, ConnectRefused):
                response.close()
        departure.reset(before)


def client(
    url: str,
    *,
    headers: Mapping[str, str],
    most_bytes: int,
    stand_in: Callable[[ConnectRefused], bytes | None],
    heard: Callable[[Departure], None],
) -> AsyncClient:
    """Return a client of one server for the MCP SDK, to be used on one event loop and closed by the caller.

    The SDK gives up a whole connection when one request fails, so a failed request is answered instead: status 502
    and `stand_in`'s JSON, unless that has none. `heard` is told the departure of each request, with its status or
    failure. Bodies that are no event stream are whole when the SDK sees them.

    :param url: its scheme, host and port are the only ones that are asked.
    :param headers: sent with every request. :param most_bytes: of one response, event streams included.
    :raises ConnectRefused: egress_invalid.
    """
    return httpx2.AsyncClient(
        transport=_Transport(parse(url), most_bytes, stand_in, heard),
        headers={**headers, "accept-encoding": "identity"},
        timeout=None,  # the departure's deadline counts, or a stream is meant to stay open
        trust_env=False,
        follow_redirects=False,
    )


def close() -> None:
    """Close all connections of this process that no request uses."""
    with _making:
        pools = list(_pools.values())
        _pools.clear()
    for pool in pools:
        pool.close()


class _Transport(httpx2.AsyncBaseTransport):
    """What `client` says, over pinned connections of its own."""

    def __init__(
        self,
        server: Destination,
        most_bytes: int,
        stand_in: Callable[[ConnectRefused], bytes | None],
        heard: Callable[[Departure], None],
    ) -> None:
        self._server = server
        self._most_bytes = most_bytes
        self._stand_in = stand_in
        self._heard = heard
        self._pool = AsyncPool(
            ssl_context=tls(),
            max_connections=MOST_CONNECTIONS,
            keepalive_expiry=IDLE_SECONDS,
            network_backend=AsyncBackend(server.scheme, _listed()),
        )

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        mark = departure.get()
        if mark is None or mark.begun:
            # Not the call itself: what the SDK asks by itself, or again, must not overwrite what is known of the call.
            mark = Departure(mark.deadline if mark is not None else float("inf"))
            departure.set(mark)
        mark.most_bytes = self._most_bytes + HEADER_BYTES
        try:
            return await self._ask(request, mark)
        except ConnectRefused as error:
            mark.failure = error
            body = self._stand_in(error)
            if body is None:
                raise httpx2.ConnectError(str(error)) from error
        finally:
            self._heard(mark)
        return httpx2.Response(502, headers={"content-type": "application/json"}, content=body)

    async def _ask(self, request: httpx2.Request, mark: Departure) -> httpx2.Response:
        where = parse(str(request.url))
        if (where.scheme, where.host, where.port) != (self._server.scheme, self._server.host, self._server.port):
            raise ConnectRefused("egress_forbidden", f"{where.authority} is not the server that was meant")
        own = {name: value for name, value in request.headers.items() if is_header(name)}
        asked = _request(where, request.method, own, await request.aread(), mark)
        try:
            response = await self._pool.handle_async_request(asked)
            mark.status, mark.headers = response.status, _headers(response.headers)
            try:
                _examine(response.status, mark.headers, mark)
                if mark.headers.get("content-type", "").lower().startswith("text/event-stream"):
                    return httpx2.Response(response.status, headers=mark.headers, stream=_Events(response, mark))
                body = await response.aread()
            except BaseException:
                await response.aclose()
                raise
            await response.aclose()
        except _BROKEN as error:
            _fail(error, mark)
        return httpx2.Response(response.status, headers=mark.headers, content=body)

    async def aclose(self) -> None:
        await self._pool.aclose()


class _Events(httpx2.AsyncByteStream):
    """The body of an event stream, read under the departure of its own request."""

    def __init__(self, response: httpcore2.Response, mark: Departure) -> None:
        self._response = response
        self._mark = mark

    async def __aiter__(self) -> AsyncIterator[bytes]:
        departure.set(self._mark)
        try:
            async for chunk in self._response.aiter_stream():
                yield chunk
        except (*_BROKEN, ConnectRefused) as error:
            self._mark.failure = error
            raise httpx2.ReadError(str(error)) from error

    async def aclose(self) -> None:
        await self._response.aclose()


def _pool(purpose: str, scheme: str) -> Pool:
    listed = _listed()
    found = _pools.get((purpose, scheme, listed))
    if found is not None:
        return found
    with _making:
        if (purpose, scheme, listed) not in _pools:
            _pools[purpose, scheme, listed] = Pool(
                ssl_context=tls(),
                max_connections=MOST_CONNECTIONS,
                keepalive_expiry=IDLE_SECONDS,
                network_backend=Backend(scheme, listed),
            )
        return _pools[purpose, scheme, listed]


@functools.cache
def tls() -> ssl.SSLContext:
    """Return the one TLS context of this process: the system's certificate authorities, or PLACET_CA_FILE's.

    :raises ConnectRefused: egress_forbidden: there are none to be read, so nobody can be trusted.
    """
    try:
        context = ssl.create_default_context(cafile=settings.PLACET_CA_FILE or None)
    except (OSError, ValueError) as error:
        raise ConnectRefused("egress_forbidden", f"PLACET_CA_FILE: {error}") from error
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


def _listed() -> Listed:
    return _read(settings.PLACET_EGRESS_ALLOW)


@functools.lru_cache(maxsize=8)
def _read(text: str) -> Listed:
    try:
        return read_list(text)
    except ValueError as error:
        raise ConnectRefused("egress_forbidden", f"PLACET_EGRESS_ALLOW: {error}") from error


def _request(
    where: Destination, method: str, headers: Mapping[str, str], body: bytes, mark: Departure
) -> httpcore2.Request:
    for name in headers:
        if not is_header(name):
            raise ConnectRefused("egress_invalid", f"the header {name[:100]!r} is ours to set, or none")
    sent = [("Host", where.authority), ("Accept-Encoding", "identity"), *headers.items()]
    if body or method not in {"GET", "HEAD", "DELETE"}:
        sent.append(("Content-Length", str(len(body))))
    try:
        return httpcore2.Request(
            method,
            httpcore2.URL(scheme=where.scheme, host=where.host, port=where.port, target=where.target),
            headers=[(name.encode("ascii"), value.encode("ascii")) for name, value in sent],
            content=body,
            extensions={"timeout": {"pool": None if mark.remaining == float("inf") else mark.remaining}},
        )
    except UnicodeEncodeError as error:
        raise ConnectRefused("egress_invalid", "a header has characters beyond ASCII") from error


def _headers(raw: Any) -> dict[str, str]:
    told: dict[str, str] = {}
    for name, value in raw:
        key, text = name.decode("latin-1").lower(), value.decode("latin-1")
        told[key] = f"{told[key]}, {text}" if key in told else text
    return told


def _examine(status: int, headers: Mapping[str, str], mark: Departure) -> None:
    """Refuse what we do not read: redirects, other protocols, compressed bodies (a small one may be a large one)."""
    happened: Literal["no", "maybe"] = "maybe" if mark.begun else "no"
    if 300 <= status < 400:
        detail = f"{status} to {headers.get('location', '')[:200]!r}: redirects are not followed"
        raise ConnectRefused("egress_redirect", detail, happened=happened)
    if status < 200:
        raise ConnectRefused("egress_protocol_error", f"unexpected status {status}", happened=happened)
    if headers.get("content-encoding", "identity").strip().lower() not in {"", "identity"}:
        raise ConnectRefused("egress_encoded", headers["content-encoding"][:100], happened=happened)


def _chunks(response: httpcore2.Response, most_bytes: int) -> Iterator[bytes]:
    mark, size = current(), 0
    try:
        for chunk in response.iter_stream():
            size += len(chunk)
            if size > most_bytes:
                raise ConnectRefused("egress_too_large", f"more than {most_bytes} bytes", happened="maybe")
            yield chunk
    except _BROKEN as error:
        _fail(error, mark)


def _fail(error: Exception, mark: Departure) -> NoReturn:
    happened: Literal["no", "maybe"] = "maybe" if mark.begun else "no"
    if isinstance(error, httpcore2.TimeoutException):
        raise ConnectRefused("egress_timeout", str(error), happened=happened) from error
    if isinstance(error, httpcore2.LocalProtocolError | httpcore2.UnsupportedProtocol):
        raise ConnectRefused("egress_invalid", str(error), happened=happened) from error
    # An answer that is not whole because the connection ended is no fault of its form.
    code = (
        "egress_protocol_error"
        if isinstance(error, httpcore2.ProtocolError) and not mark.ended
        else "egress_unreachable"
    )
    raise ConnectRefused(code, str(error) or repr(error), happened=happened) from error


def _forget() -> None:
    # After a fork the connections are the parent's. Kept, not collected: closing them would say goodbye for it.
    global _pools, _making
    _inherited.append(_pools)
    _pools, _making = {}, threading.Lock()


os.register_at_fork(after_in_child=_forget)
