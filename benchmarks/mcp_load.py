"""A load client that is the MCP SDK's: `python -m benchmarks.mcp_load`, orders and results as benchmarks.load."""

import asyncio
import json
import sys
import time
from collections import Counter
from typing import Any

from mcp.client import Client

_latencies: list[int] = []
_warm: list[int] = []
_errors: Counter[str] = Counter()


async def _ask(order: dict[str, Any]) -> None:
    """Call the tool again and again over one connection until the end."""
    start, end = order["start"], order["end"]
    async with Client(f"http://{order['host']}:{order['port']}/mcp") as client:
        while (begun := time.monotonic()) < end:
            answer = await client.call_tool(order["body"]["name"], order["body"]["arguments"])
            done = time.monotonic()
            if answer.is_error:
                _errors["tool"] += 1
            elif start <= begun and done <= end:
                _latencies.append(int((done - begun) * 1e6))
            else:
                _warm.append(1)


async def _carry_out(order: dict[str, Any]) -> None:
    for ended in await asyncio.gather(*(_ask(order) for _ in range(order["threads"])), return_exceptions=True):
        if ended is not None:
            _errors[type(ended).__name__] += 1


def main() -> None:
    """Carry out the order: host, port, body, threads (connections here), start and end (monotonic)."""
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    asyncio.run(_carry_out(json.load(sys.stdin)))
    json.dump({"latencies": _latencies, "warm": len(_warm), "errors": _errors}, sys.stdout)


if __name__ == "__main__":
    main()
