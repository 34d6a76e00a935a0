"""One POST of JSON over HTTP within one deadline, on a connection that is kept open.

It stands where opa-python-client has a `requests` session. That one takes proxies and passwords from the
environment, follows redirects, tries again by itself, bounds each read instead of the whole exchange, and bounds no
answer's size; a decision point may do none of these. TCP, TLS and unix sockets.
"""

import http.client
import io
import select
import socket
import ssl
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote, urlsplit

import orjson

LARGEST = 4 * 1024 * 1024  # bytes of an answer, headers included


class Unreachable(ConnectionError):
    """Nobody is there."""


class Cut(ConnectionError):
    """The other side closed the connection before its answer was whole."""


class Late(TimeoutError):
    """The deadline passed. `begun`: part of an answer had come."""

    def __init__(self, *, begun: bool) -> None:
        super().__init__("late")
        self.begun = begun


class Oversize(ValueError):
    """The answer is larger than LARGEST."""


class Garbled(ValueError):
    """What came is no HTTP, or no JSON."""


@dataclass(frozen=True, slots=True)
class Address:
    """Where a server is. `socket`: path of its unix socket; empty over TCP."""

    host: str
    port: int
    tls: bool = False
    socket: str = ""

    @classmethod
    def parse(cls, url: str) -> "Address":
        """Return the address that `url` means: http, https or unix. :raises ValueError: it is none of these."""
        parts = urlsplit(url)
        if parts.scheme == "unix" and parts.path and not parts.netloc:
            return cls("localhost", 80, socket=unquote(parts.path))
        plain = parts.path in ("", "/") and not (parts.query or parts.fragment or parts.username or parts.password)
        if parts.scheme not in ("http", "https") or not parts.hostname or not plain:
            raise ValueError("must be http://host:port, https://host:port or unix:///path.sock")
        return cls(parts.hostname, parts.port or (443 if parts.scheme == "https" else 80), parts.scheme == "https")


class Refused(Exception):
    """The answer is another one than 200. `status`, `body`: what it is."""

    def __init__(self, status: int, body: bytes) -> None:
        super().__init__(f"status {status}")
        self.status = status
        self.body = body


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole answer."""

    status: int
    body: bytes

    def raise_for_status(self) -> None:
        """Do nothing if it is 200. :raises Refused:"""
        if self.status != 200:
            raise Refused(self.status, self.body)

    def json(self) -> Any:
        """Return the document. :raises Garbled: it is none."""
        try:
            return orjson.loads(self.body)
        except orjson.JSONDecodeError as error:
            raise Garbled from error


class Session:
    """Posts to one address over one connection; what opa-python-client asks of a session. For one thread."""

    def __init__(self, address: Address, headers: Mapping[str, str]) -> None:
        self._connection = _Connection(address)
        self._headers = {"Content-Type": "application/json", "Accept": "application/json", **headers}

    def post(self, url: str, *, json: Any, timeout: float) -> Answer:
        """Return the answer. `timeout`: seconds for all of it.

        :raises Unreachable, Cut, Late, Oversize, Garbled: there is none.
        """
        until = time.monotonic() + timeout
        path = urlsplit(url)
        target = f"{path.path}?{path.query}" if path.query else path.path
        body = orjson.dumps(json)
        connection = self._connection
        connection.discard()
        used = connection.sock is not None
        try:
            try:
                return connection.ask(target, body, self._headers, until=until)
            except Cut:
                # A server may close an idle connection at the very moment of our question, and then has not heard it.
                if not used or connection.heard:
                    raise
                connection.close()
                return connection.ask(target, body, self._headers, until=until)
        except BaseException:
            # An answer that is still to come must never be taken for the answer to the next question.
            connection.close()
            raise

    def close(self) -> None:
        """Close the connection; the next question opens another."""
        self._connection.close()


class _Connection(http.client.HTTPConnection):
    """An HTTP connection whose every operation ends at one moment."""

    def __init__(self, address: Address) -> None:
        super().__init__(address.host, address.port)
        self._address = address
        self._until = 0.0
        self._wire: _Wire | None = None

    @property
    def heard(self) -> bool:
        """Say whether a byte of the answer has come."""
        return self._wire is not None and self._wire.read > 0

    def discard(self) -> None:
        """Close the connection if something is on it already: it answers a question of before, or is the end."""
        if self._wire is not None and self._wire.spoken:
            self.close()

    def ask(self, target: str, body: bytes, headers: Mapping[str, str], *, until: float) -> Answer:
        """Post `body` and return the answer. :raises: see Session.post."""
        self._until = until
        if self._wire is not None:
            self._wire.begin(until)
        try:
            self.request("POST", target, body, dict(headers))
            answer = self.getresponse()
            if answer.length is None and not answer.chunked:
                raise Cut  # it does not say how long it is, so nobody can tell whether it is whole
            whole = Answer(answer.status, answer.read())
        except TimeoutError:
            raise Late(begun=self.heard) from None
        except (http.client.RemoteDisconnected, http.client.IncompleteRead, ConnectionError) as error:
            raise (error if isinstance(error, Unreachable) else Cut()) from error
        except http.client.HTTPException as error:
            raise Garbled from error
        except OSError as error:
            raise Unreachable from error
        return whole

    def connect(self) -> None:
        """Open the connection before the deadline."""
        address = self._address
        try:
            if address.socket:
                opened = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
                opened.settimeout(_left(self._until))
                opened.connect(address.socket)
            else:
                opened = socket.create_connection((address.host, address.port), _left(self._until))
                opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if address.tls:
                opened = _trust().wrap_socket(opened, server_hostname=address.host)
        except TimeoutError:
            raise
        except OSError as error:
            raise Unreachable from error
        self._wire = _Wire(opened, self._until)
        self.sock = self._wire


class _Wire:
    """As much of a socket as http.client uses, with one deadline and a bound on what is read."""

    def __init__(self, opened: socket.socket, until: float) -> None:
        self._socket = opened
        self._readers = 0
        self._closing = False
        self.begin(until)

    def begin(self, until: float) -> None:
        """Start another exchange."""
        self.until, self.read = until, 0

    @property
    def spoken(self) -> bool:
        """Say whether something waits to be read, though nothing was asked."""
        if self._socket.fileno() < 0:
            return True
        poll = select.poll()
        poll.register(self._socket.fileno(), select.POLLIN)
        return bool(poll.poll(0))

    def sendall(self, raw: bytes) -> None:
        """Send it all before the deadline."""
        self._socket.settimeout(_left(self.until))
        self._socket.sendall(raw)

    def makefile(self, mode: str) -> io.BufferedReader:
        """Return a reader of the answer."""
        self._readers += 1
        return io.BufferedReader(_Reading(self), 65_536)

    def receive(self, into: memoryview) -> int:
        """Read something before the deadline. :raises Oversize:"""
        self._socket.settimeout(_left(self.until))
        count = self._socket.recv_into(into)
        self.read += count
        if self.read > LARGEST:
            raise Oversize
        return count

    def close(self) -> None:
        """Close it once the answer has been read: http.client calls this before it reads the last one."""
        self._closing = True
        if self._readers == 0:
            self._socket.close()

    def let_go(self) -> None:
        """Note that an answer's reader is closed."""
        self._readers -= 1
        if self._closing:
            self.close()


class _Reading(io.RawIOBase):
    def __init__(self, wire: _Wire) -> None:
        self._wire = wire

    def readable(self) -> bool:
        return True

    def readinto(self, into: Any) -> int:
        return self._wire.receive(memoryview(into))

    def close(self) -> None:
        if not self.closed:
            super().close()
            self._wire.let_go()


def _left(until: float) -> float:
    left = until - time.monotonic()
    if left <= 0:
        raise TimeoutError
    return left


_context: ssl.SSLContext | None = None
_context_lock = threading.Lock()


def _trust() -> ssl.SSLContext:
    """Return the process's one TLS context: making one costs 20 ms."""
    global _context
    with _context_lock:
        if _context is None:
            _context = ssl.create_default_context()
        return _context
