"""An open-loop load client: `python -m benchmarks.flood`, orders as JSON on stdin, results on stdout.

It asks at a rate, whatever the answers are: a closed loop would slow down with the server and hide an overload. One
thread for all connections: it runs on the processors that are being measured, and a hundred threads cost them twice.
"""

import heapq
import itertools
import json
import selectors
import socket
import sys
import time
from collections import Counter
from typing import Any

_TIMEOUT = 30.0
_LOST = "connection lost"


class Stream:
    """The calls of one agent at one rate, over so many connections."""

    def __init__(self, order: dict[str, Any]) -> None:
        self.order = order
        self.told: Counter[str] = Counter()  # by status, of what was asked within the time
        self.latencies: list[int] = []  # microseconds, of 200
        self.refusals: list[int] = []  # microseconds, of 429
        self._numbers = itertools.count(1)
        body = json.dumps(order["body"]).encode()
        ends = f"\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        self._end = ends.encode() + body
        start = f"POST {order['path']} HTTP/1.1\r\nHost: {order['host']}:{order['port']}\r\nAuthorization: Bearer "
        self._starts = [f"{start}{key}\r\nIdempotency-Key: {order['name']}-".encode() for key in order["keys"]]

    def request(self) -> bytes:
        """Return the next request."""
        number = next(self._numbers)
        return b"%b%d%b" % (self._starts[number % len(self._starts)], number, self._end)

    def note(self, begun: float, told: str, *, retry_after: bool = False) -> None:
        """Count one answer."""
        if begun < self.order["start"]:
            return
        took = int((time.monotonic() - begun) * 1e6)
        self.told[told] += 1
        if told == "200":
            self.latencies.append(took)
        elif told == "429":
            self.refusals.append(took)
            self.told["429 with Retry-After"] += retry_after


class Connection:
    """One keep-alive connection, one request at a time."""

    def __init__(self, stream: Stream, number: int) -> None:
        order = stream.order
        self.stream = stream
        self.pause = order["connections"] / order["rate"]
        self.due = order["begin"] + self.pause * number / order["connections"]
        self.begun = 0.0
        self.read = b""
        self.socket: socket.socket | None = None

    def ask(self, selector: selectors.BaseSelector) -> bool:
        """Send the next request; False if it could not be sent."""
        order = self.stream.order
        self.begun = time.monotonic()
        self.due = max(self.due + self.pause, self.begun)
        try:
            if self.socket is None:
                self.socket = socket.create_connection((order["host"], order["port"]), timeout=_TIMEOUT)
                self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                selector.register(self.socket, selectors.EVENT_READ, self)
            self.socket.sendall(self.stream.request())
        except OSError:
            self._lose(selector)
            return False
        return True

    def hear(self, selector: selectors.BaseSelector) -> bool:
        """Read what is there; say whether the answer is whole, or will never be."""
        assert self.socket is not None
        try:
            read = self.socket.recv(65_536)
        except OSError:
            read = b""
        if not read:
            self._lose(selector)
            return True
        self.read += read
        end = self.read.find(b"\r\n\r\n")
        if end < 0:
            return False
        head = self.read[:end].lower()
        if len(self.read) < end + 4 + int(head.partition(b"content-length:")[2].partition(b"\r\n")[0]):
            return False
        self.read = b""
        self.stream.note(self.begun, head[9:12].decode(), retry_after=b"\r\nretry-after:" in head)
        return True

    def _lose(self, selector: selectors.BaseSelector) -> None:
        self.stream.note(self.begun, _LOST)
        if self.socket is not None:
            selector.unregister(self.socket)
            self.socket.close()
        self.socket, self.read = None, b""


def carry_out(streams: list[Stream]) -> None:
    """Ask until the end of each order."""
    connections = [Connection(one, number) for one in streams for number in range(one.order["connections"])]
    numbers = itertools.count()
    idle = [(one.due, next(numbers), one) for one in connections]
    heapq.heapify(idle)
    asked = 0
    with selectors.DefaultSelector() as selector:
        while True:
            while idle and idle[0][0] <= time.monotonic():
                connection = heapq.heappop(idle)[2]
                if connection.due >= connection.stream.order["end"]:
                    continue
                if connection.ask(selector):
                    asked += 1
                else:
                    heapq.heappush(idle, (connection.due, next(numbers), connection))
            if not idle and not asked:
                return
            wait = max(0.0, idle[0][0] - time.monotonic()) if idle else _TIMEOUT
            for ready, _ in selector.select(wait):
                if ready.data.hear(selector):
                    asked -= 1
                    heapq.heappush(idle, (ready.data.due, next(numbers), ready.data))


def main() -> None:
    """Carry out the orders: name, host, port, path, keys, body, rate, connections; begin, start and end (monotonic)."""
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    streams = [Stream(order) for order in json.load(sys.stdin)]
    before = time.process_time()
    carry_out(streams)
    cpu = time.process_time() - before
    share = cpu / len(streams)
    results = [
        {"cpu": share, "told": one.told, "latencies": one.latencies, "refusals": one.refusals} for one in streams
    ]
    json.dump(results, sys.stdout)


if __name__ == "__main__":
    main()
