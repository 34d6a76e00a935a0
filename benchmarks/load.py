"""A load client of a process of its own: `python -m benchmarks.load`, an order as JSON on stdin, results on stdout.

A few lines over a socket instead of http.client: that spends 170 microseconds of CPU a request, on the processors
that are being measured, which would flatter every ratio to the cheaper anchor.
"""

import json
import socket
import sys
import threading
import time
from collections import Counter
from typing import Any

_TIMEOUT = 30.0


class Client:
    """One keep-alive connection, one request at a time. `head`: of the last answer, in lower case."""

    def __init__(self, host: str, port: int) -> None:
        self.socket = socket.create_connection((host, port), timeout=_TIMEOUT)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.head = ""

    def ask(self, request: bytes) -> int:
        """Send a request, read its whole answer, return the status. :raises OSError, ValueError: no such answer."""
        self.socket.sendall(request)
        read = b""
        while (end := read.find(b"\r\n\r\n")) < 0:
            read += self._more()
        head = read[:end].lower()
        self.head = head.decode("latin-1")
        length = int(head.partition(b"content-length:")[2].partition(b"\r\n")[0])
        missing = end + 4 + length - len(read)
        while missing > 0:
            missing -= len(self._more())
        return int(head[9:12])

    def _more(self) -> bytes:
        read = self.socket.recv(65_536)
        if not read:
            raise ConnectionError("The server closed the connection.")
        return read


class Worker(threading.Thread):
    """Asks again and again from the start until the end; what it asks before the start is warm-up."""

    def __init__(self, order: dict[str, Any], number: int) -> None:
        super().__init__()
        self.order = order
        self.name = f"{order['name']}-{number}"
        self.key = order["keys"][number % len(order["keys"])]
        self.body = json.dumps(order["body"]).encode()
        self.latencies: list[int] = []  # microseconds, of expected answers
        self.warm = 0
        self.errors: Counter[str] = Counter()
        self.sent = 0

    def run(self) -> None:
        start, end = self.order["start"], self.order["end"]
        client = None
        while (begun := time.monotonic()) < end:
            try:
                client = client or Client(self.order["host"], self.order["port"])
                status = client.ask(self._request())
            except (OSError, ValueError) as error:
                self.errors[type(error).__name__] += 1
                client = None
                time.sleep(0.05)
                continue
            done = time.monotonic()
            if status != self.order["expect"]:
                self.errors[str(status)] += 1
            elif start <= begun and done <= end:
                self.latencies.append(int((done - begun) * 1e6))
            else:
                self.warm += 1

    def _request(self) -> bytes:
        self.sent += 1
        head = (
            f"POST {self.order['path']} HTTP/1.1\r\nHost: {self.order['host']}:{self.order['port']}\r\n"
            f"Authorization: Bearer {self.key}\r\nIdempotency-Key: {self.name}-{self.sent}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(self.body)}\r\n\r\n"
        )
        return head.encode() + self.body


def main() -> None:
    """Carry out the order: name, host, port, path, keys, body, expect, threads, start and end (monotonic)."""
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    order = json.load(sys.stdin)
    workers = [Worker(order, number) for number in range(order["threads"])]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    errors: Counter[str] = sum((worker.errors for worker in workers), Counter())
    latencies = [latency for worker in workers for latency in worker.latencies]
    json.dump({"latencies": latencies, "warm": sum(w.warm for w in workers), "errors": errors}, sys.stdout)


if __name__ == "__main__":
    main()
