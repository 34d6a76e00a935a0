"""Sockets of outgoing HTTP: a name is resolved once, judged, and connected to at exactly that address.

httpcore asks these for a connection; the host that it sends and that TLS verifies stays the name.
"""

import os
import queue
import select
import socket
import ssl
import threading
from collections.abc import Callable, Iterable
from typing import Any

import anyio
import httpcore2
from anyio import to_thread

from gateway.departure import Departure, departure
from gateway.destinations import Address, ConnectRefused, Listed, admit, literal

LOOK_UPS = 32  # at once in a process; a resolver that hangs must not cost a thread for every call
LONGEST_CONNECT = 20.0  # seconds, whatever the deadline says
_CHUNK = 65_536
lookup: Callable[..., Any] = socket.getaddrinfo
_free = threading.BoundedSemaphore(LOOK_UPS)


def addresses(scheme: str, host: str, port: int, listed: Listed, *, seconds: float) -> list[Address]:
    """Resolve `host` once. Every address has to be admitted, so that a mixed answer gains nothing.

    :raises ConnectRefused: egress_unresolved, egress_forbidden, egress_timeout.
    """
    written = literal(host)
    found = [written] if written is not None else _resolved(host, port, seconds)
    for address in found:
        admit(scheme, host, port, address, listed)
    return found


class Backend(httpcore2.NetworkBackend):
    """Opens connections for threads. :param scheme: of every URL that it serves."""

    def __init__(self, scheme: str, listed: Listed) -> None:
        self._scheme = scheme
        self._listed = listed

    def connect_tcp(self, host: str, port: int, *_: object, **__: object) -> httpcore2.NetworkStream:
        """Connect to the first admitted address that answers. :raises ConnectRefused: none does."""
        mark = current()
        found = addresses(self._scheme, host, port, self._listed, seconds=_patience(mark))
        failure: OSError | None = None
        for place, address in enumerate(found):
            try:
                return Line(_connected(address, port, seconds=_patience(mark) / (len(found) - place)))
            except OSError as error:
                failure = error
        raise ConnectRefused("egress_unreachable", f"{host}:{port}: {failure}")


class Line(httpcore2.NetworkStream):
    """A connected socket, under the deadline and the byte limit of the exchange that uses it at the moment."""

    def __init__(self, line: socket.socket) -> None:
        self._line = line
        self._held = b""

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        """Return what comes next, b"" at the end. :raises ConnectRefused: too late, too much, or broken off."""
        if self._held:
            self.write(b"")
        mark = current()
        try:
            self._line.settimeout(_left(mark))
            data = self._line.recv(max_bytes)
        except OSError as error:
            raise _broken(error) from error
        count(mark, len(data))
        return data

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        """Send all of `buffer`. :raises ConnectRefused: too late.  :raises httpcore2.WriteError: broken off.

        Head and body of a request leave together: what is short is held until httpcore writes nothing, which ends it.
        """
        self._held += buffer
        if buffer and len(self._held) < _CHUNK:
            return
        mark, rest, self._held = current(), memoryview(self._held), b""
        try:
            while rest:
                self._line.settimeout(_left(mark))
                mark.begun = True
                rest = rest[self._line.send(rest[:_CHUNK]) :]
        except TimeoutError as error:
            raise _broken(error) from error
        except OSError as error:
            # httpcore goes on to read: a server may have answered before it had read everything.
            raise httpcore2.WriteError(str(error)) from error

    def close(self) -> None:
        """Close the socket."""
        self._line.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore2.NetworkStream:
        """Return this line under TLS, its certificate checked for the name. :raises ConnectRefused: it is not."""
        try:
            self._line.settimeout(min(_left(current()), LONGEST_CONNECT))
            return Line(ssl_context.wrap_socket(self._line, server_hostname=server_hostname))
        except (OSError, ValueError) as error:
            self.close()
            raise _no_tls(server_hostname, error) from error

    def get_extra_info(self, info: str) -> Any:
        """Tell the pool whether an idle connection has been closed at the other end."""
        if info == "is_readable":
            return _readable(self._line)
        if info == "server_addr":
            return self._line.getpeername()
        return None


class AsyncBackend(httpcore2.AsyncNetworkBackend):
    """Opens connections on an event loop. :param scheme: of every URL that it serves."""

    def __init__(self, scheme: str, listed: Listed) -> None:
        self._scheme = scheme
        self._listed = listed
        self._plain = httpcore2.AnyIOBackend()

    async def connect_tcp(self, host: str, port: int, *_: object, **__: object) -> httpcore2.AsyncNetworkStream:
        """Connect to the first admitted address that answers. :raises ConnectRefused: none does."""
        mark = current()

        def look_up() -> list[Address]:
            return addresses(self._scheme, host, port, self._listed, seconds=_patience(mark))

        found = await to_thread.run_sync(look_up, abandon_on_cancel=True)
        failure: Exception | None = None
        for place, address in enumerate(found):
            try:
                seconds = _patience(mark) / (len(found) - place)
                return AsyncLine(await self._plain.connect_tcp(str(address), port, timeout=seconds))
            except (httpcore2.NetworkError, httpcore2.TimeoutException) as error:
                failure = error
        raise ConnectRefused("egress_unreachable", f"{host}:{port}: {failure}")


class AsyncLine(httpcore2.AsyncNetworkStream):
    """The same as `Line`, on an event loop."""

    def __init__(self, line: httpcore2.AsyncNetworkStream) -> None:
        self._line = line

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        """See Line.read."""
        mark = current()
        try:
            data = await self._line.read(max_bytes, _bound(_left(mark)))
        except (httpcore2.NetworkError, httpcore2.TimeoutException) as error:
            raise _broken(error) from error
        count(mark, len(data))
        return data

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:
        """See Line.write."""
        mark = current()
        seconds = _bound(_left(mark))
        mark.begun = True
        try:
            await self._line.write(buffer, seconds)
        except httpcore2.TimeoutException as error:
            raise _broken(error) from error

    async def aclose(self) -> None:
        """Close the connection, without waiting for the other end's goodbye."""
        with anyio.move_on_after(1.0, shield=True):
            await self._line.aclose()

    async def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore2.AsyncNetworkStream:
        """See Line.start_tls."""
        seconds = min(_left(current()), LONGEST_CONNECT)
        try:
            return AsyncLine(await self._line.start_tls(ssl_context, server_hostname, seconds))
        except (httpcore2.NetworkError, httpcore2.TimeoutException, OSError, ValueError) as error:
            raise _no_tls(server_hostname, error) from error

    def get_extra_info(self, info: str) -> Any:
        """See Line.get_extra_info."""
        return self._line.get_extra_info(info)


def current() -> Departure:
    """Return the exchange under way in this context; one without bounds where nobody set any."""
    mark = departure.get()
    return Departure() if mark is None else mark


def count(mark: Departure, size: int) -> None:
    """Add to what was received; nothing means the end. :raises ConnectRefused: egress_too_large."""
    mark.received += size
    mark.ended = size == 0
    if mark.received > mark.most_bytes:
        raise ConnectRefused("egress_too_large", f"more than {mark.most_bytes} bytes", happened="maybe")


def _connected(address: Address, port: int, *, seconds: float) -> socket.socket:
    line = socket.socket(socket.AF_INET if address.version == 4 else socket.AF_INET6, socket.SOCK_STREAM)
    try:
        line.settimeout(seconds)
        line.connect((str(address), port))
        line.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    except OSError:
        line.close()
        raise
    return line


def _resolved(host: str, port: int, seconds: float) -> list[Address]:
    """Ask the system's resolver, which knows no deadline: a thread of its own may outlive our patience."""
    if not _free.acquire(timeout=max(seconds, 0)):
        raise ConnectRefused("egress_unresolved", f"{host}: {LOOK_UPS} names are being looked up already")
    answer: queue.SimpleQueue[list[Address] | Exception] = queue.SimpleQueue()

    def ask() -> None:
        try:
            found = lookup(host, port, type=socket.SOCK_STREAM)
            answer.put(list(dict.fromkeys(_address(entry) for entry in found)))
        except Exception as error:  # noqa: BLE001 - told to the one who waits
            answer.put(error)
        finally:
            _free.release()

    try:
        threading.Thread(target=ask, daemon=True, name="name look-up").start()
    except RuntimeError as error:
        _free.release()
        raise ConnectRefused("egress_unresolved", f"{host}: {error}") from error
    try:
        told = answer.get(timeout=max(seconds, 0))
    except queue.Empty:
        raise ConnectRefused("egress_timeout", f"{host}: its name was not resolved in time") from None
    if isinstance(told, Exception) or not told:
        raise ConnectRefused("egress_unresolved", f"{host}: {told or 'it has no address'}")
    return told


def _address(entry: Iterable[Any]) -> Address:
    *_, place = entry
    found = literal(str(place[0]))
    if found is None:
        raise ValueError(f"{place!r} is no address")
    return found


def _left(mark: Departure) -> float:
    if mark.remaining <= 0:
        raise ConnectRefused("egress_timeout", "the deadline passed", happened="maybe" if mark.begun else "no")
    # A socket's time-out has an upper bound.
    return min(mark.remaining, 86_400.0)


def _patience(mark: Departure) -> float:
    return min(_left(mark), LONGEST_CONNECT)


def _bound(seconds: float) -> float | None:
    return None if seconds >= 86_400.0 else seconds


def _broken(error: Exception) -> ConnectRefused:
    late = isinstance(error, TimeoutError | httpcore2.TimeoutException)
    mark = current()
    happened = "maybe" if mark.begun else "no"
    code = "egress_timeout" if late else "egress_unreachable"
    return ConnectRefused(code, str(error) or "no answer in time", happened=happened)  # type: ignore[arg-type]


def _no_tls(name: str | None, error: Exception) -> ConnectRefused:
    late = isinstance(error, TimeoutError | httpcore2.TimeoutException)
    return ConnectRefused("egress_timeout" if late else "egress_unreachable", f"TLS with {name}: {error}")


def _readable(line: socket.socket) -> bool:
    """Say whether an idle connection has something to read, which can only be its end."""
    if line.fileno() < 0:
        return True
    poll = select.poll()
    poll.register(line.fileno(), select.POLLIN)
    return bool(poll.poll(0))


def _forget() -> None:
    # Look-ups that were under way belong to the parent of a fork.
    global _free
    _free = threading.BoundedSemaphore(LOOK_UPS)


os.register_at_fork(after_in_child=_forget)
