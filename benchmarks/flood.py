"""An open-loop load client: `python -m benchmarks.flood`, orders as JSON on stdin, results on stdout.

It asks at a rate, whatever the answers are: a closed loop would slow down with the server and hide an overload.
"""

import json
import sys
import threading
import time
from collections import Counter
from typing import Any

from benchmarks.load import Client


class Stream:
    """The calls of one agent at one rate, over so many connections."""

    def __init__(self, order: dict[str, Any]) -> None:
        self.order = order
        self.told: Counter[str] = Counter()  # by status, of what was asked within the time
        self.latencies: list[int] = []  # microseconds, of 200
        self.refusals: list[int] = []  # microseconds, of 429
        self._lock = threading.Lock()
        self._sent = 0

    def threads(self) -> list[threading.Thread]:
        """Return a thread for each connection."""
        return [threading.Thread(target=self._run, args=[number]) for number in range(self.order["connections"])]

    def _run(self, number: int) -> None:
        order, client = self.order, None
        pause = order["connections"] / order["rate"]
        due = order["begin"] + pause * number / order["connections"]
        while due < order["end"]:
            time.sleep(max(0.0, due - time.monotonic()))
            begun, due = time.monotonic(), max(due + pause, time.monotonic())
            try:
                client = client or Client(order["host"], order["port"])
                told = str(client.ask(self._request()))
            except (OSError, ValueError) as error:
                told, client = type(error).__name__, None
            self._note(begun, told, "retry-after" in client.head if client else False)

    def _note(self, begun: float, told: str, retry_after: bool) -> None:
        if begun < self.order["start"]:
            return
        took = int((time.monotonic() - begun) * 1e6)
        with self._lock:
            self.told[told] += 1
            if told == "200":
                self.latencies.append(took)
            elif told == "429":
                self.refusals.append(took)
                self.told["429 with Retry-After"] += retry_after

    def _request(self) -> bytes:
        with self._lock:
            self._sent += 1
            number = self._sent
        order, body = self.order, json.dumps(self.order["body"]).encode()
        key = order["keys"][number % len(order["keys"])]
        head = (
            f"POST {order['path']} HTTP/1.1\r\nHost: {order['host']}:{order['port']}\r\n"
            f"Authorization: Bearer {key}\r\nIdempotency-Key: {order['name']}-{number}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        return head.encode() + body


def main() -> None:
    """Carry out the orders: name, host, port, path, keys, body, rate, connections; begin, start and end (monotonic)."""
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    streams = [Stream(order) for order in json.load(sys.stdin)]
    threads = [thread for stream in streams for thread in stream.threads()]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    results = [{"told": one.told, "latencies": one.latencies, "refusals": one.refusals} for one in streams]
    json.dump(results, sys.stdout)


if __name__ == "__main__":
    main()
