"""Frames on an evaluator's socket: a length, a JSON header on one line, a payload of bytes. No Django."""

import socket
import struct
import time
from typing import Any

import orjson

LARGEST = 32 * 1024 * 1024  # bytes of a frame; a bundle is the largest thing that is sent
_LENGTH = struct.Struct(">I")


class Closed(ConnectionError):
    """The other side went away, or spoke nonsense."""


class Late(TimeoutError):
    """The time was over before the frame was whole."""


def pack(header: dict[str, Any], payload: bytes = b"") -> bytes:
    """Return a frame."""
    body = orjson.dumps(header) + b"\n" + payload
    return _LENGTH.pack(len(body)) + body


class Connection:
    """One end of a connection, with what has been read ahead."""

    def __init__(self, connected: socket.socket) -> None:
        self.socket = connected
        self._buffer = bytearray()

    def fileno(self) -> int:
        """Return the descriptor, for a selector."""
        return self.socket.fileno()

    def send(self, frame: bytes, *, until: float) -> None:
        """Send a whole frame before the monotonic time `until`. :raises Closed, Late:"""
        try:
            self.socket.settimeout(_left(until))
            self.socket.sendall(frame)
        except TimeoutError as error:
            raise Late from error
        except OSError as error:
            raise Closed from error

    def receive(self, *, until: float) -> tuple[dict[str, Any], bytes]:
        """Return the next frame (header, payload) before the monotonic time `until`. :raises Closed, Late:"""
        while True:
            frame = self.take()
            if frame is not None:
                return frame
            try:
                self.socket.settimeout(_left(until))
                self.feed(self.socket.recv(262_144))
            except TimeoutError as error:
                raise Late from error
            except OSError as error:
                raise Closed from error

    def feed(self, read: bytes) -> None:
        """Add what was read. :raises Closed: nothing was, or a frame is too large."""
        if not read:
            raise Closed
        self._buffer += read
        if len(self._buffer) >= 4 and _LENGTH.unpack_from(self._buffer)[0] > LARGEST:
            raise Closed

    def take(self) -> tuple[dict[str, Any], bytes] | None:
        """Return the first whole frame that was read, None if there is none yet. :raises Closed: it is no frame."""
        if len(self._buffer) < 4:
            return None
        end = 4 + _LENGTH.unpack_from(self._buffer)[0]
        if len(self._buffer) < end:
            return None
        head, mark, payload = bytes(self._buffer[4:end]).partition(b"\n")
        del self._buffer[:end]
        try:
            header = orjson.loads(head)
        except orjson.JSONDecodeError as error:
            raise Closed from error
        if not mark or not isinstance(header, dict):
            raise Closed
        return header, payload

    def close(self) -> None:
        """Close it, whatever state it is in."""
        self.socket.close()


def _left(until: float) -> float:
    left = until - time.monotonic()
    if left <= 0:
        raise Late
    return left
