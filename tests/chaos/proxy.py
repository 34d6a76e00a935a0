"""A TCP proxy whose wire can be made bad, in the words of Toxiproxy: toxics that are added, and taken away again.

    with Proxy(("127.0.0.1", 8181)) as proxy:
        proxy.add("latency", latency=500, jitter=100)   # milliseconds, of what the server says
        proxy.add("bandwidth", stream="upstream", rate=1)  # kB/s, of what the client says
        proxy.clear()

`latency`: latency, jitter ms · `bandwidth`: rate kB/s · `slow_close`: delay ms · `timeout`: timeout ms; nothing passes,
and the connection is closed after it (0: never) · `reset_peer`: timeout ms, then a reset · `slicer`: average_size,
size_variation bytes, delay µs between the slices · `limit_data`: bytes, then it is closed. Ours: `garbage`: bytes that
do not come from the server stand in for its own; `duplicate`: everything is said twice, a whole answer at a time.
`down()` closes the port and every connection, `up()` opens it again. Toxics hold for connections that are open, too.
`toxicity`: the share of connections that a toxic befalls, from `seed`.
"""

import asyncio
import contextlib
import os
import random
import socket
import struct
import threading
from dataclasses import dataclass, field

CHUNK = 1 << 16
PAUSE = 0.1  # seconds of silence after which something was said; a delayed acknowledgement takes 0.04
#: What a toxic needs to know, with what it is if nobody says so.
ATTRIBUTES = {
    "latency": {"latency": 0, "jitter": 0},
    "bandwidth": {"rate": 0},
    "slow_close": {"delay": 0},
    "timeout": {"timeout": 0},
    "reset_peer": {"timeout": 0},
    "slicer": {"average_size": 1, "size_variation": 0, "delay": 0},
    "limit_data": {"bytes": 0},
    "garbage": {"bytes": 64},
    "duplicate": {},
}


@dataclass(frozen=True)
class Toxic:
    """One fault of one direction. :param stream: "downstream" (what the server says) or "upstream"."""

    kind: str
    stream: str = "downstream"
    toxicity: float = 1.0
    attributes: dict = field(default_factory=dict)

    def __post_init__(self):
        known = ATTRIBUTES[self.kind]  # KeyError: no such toxic
        if wrong := set(self.attributes) - set(known):
            raise ValueError(f"{self.kind} has no {sorted(wrong)}, but {sorted(known)}")
        if self.stream not in ("downstream", "upstream"):
            raise ValueError(f"{self.stream!r} is no stream")

    def __getitem__(self, name):
        return self.attributes.get(name, ATTRIBUTES[self.kind][name])


class _Link:
    """One connection of a client, and ours to the server."""

    def __init__(self, luck):
        self.luck, self.writers, self.passed, self.over = luck, [], {"downstream": 0, "upstream": 0}, False

    def end(self, *, reset=False):
        self.over = True
        for writer in self.writers:
            if reset:
                with contextlib.suppress(OSError):
                    linger = struct.pack("ii", 1, 0)
                    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            writer.transport.abort()


async def _burst(reader, chunk):
    """Return what is said without a pause, from `chunk` on."""
    with contextlib.suppress(TimeoutError):
        while more := await asyncio.wait_for(reader.read(CHUNK), PAUSE):
            chunk += more
    return chunk


class Proxy:
    """A proxy in front of `upstream`: a (host, port), or the path of a unix socket.

    :ivar connections: how many clients have come so far.
    """

    def __init__(self, upstream, *, seed=0):
        self.upstream, self.connections, self.toxics = upstream, 0, []
        self._random, self._links, self._server = random.Random(seed), set(), None
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self.port = 0

    def __enter__(self):
        self._thread.start()
        self.up()
        return self

    def __exit__(self, *_):
        self.down()
        self._do(self._finish())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}"

    @property
    def here(self):
        """The entry of PLACET_EGRESS_ALLOW that lists it."""
        return f"127.0.0.1:{self.port}"

    def add(self, kind, *, stream="downstream", toxicity=1.0, **attributes):
        """Let something go wrong from now on."""
        self.toxics = [*self.toxics, Toxic(kind, stream, toxicity, attributes)]

    def clear(self):
        """Take every toxic away. What was swallowed meanwhile does not come back, so those connections end."""
        self.toxics = []
        self._do(self._drop())

    def down(self):
        """Listen no more, and cut every connection."""
        if self._server is not None:
            self._do(self._close())

    def up(self):
        """Listen, on the port of before."""
        self._do(self._open())

    def _do(self, coroutine):
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(10)

    async def _open(self):
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def _close(self):
        self._server.close()
        self._server = None
        await self._drop()

    async def _drop(self):
        for link in list(self._links):
            link.end()
        await asyncio.sleep(0)

    async def _finish(self):
        serving = asyncio.all_tasks() - {asyncio.current_task()}
        for task in serving:
            task.cancel()
        await asyncio.gather(*serving, return_exceptions=True)

    async def _serve(self, near_reader, near_writer):
        self.connections += 1
        link = _Link(self._random.random())
        link.writers.append(near_writer)
        if self._server is None:  # it came as the port was closed
            link.end()
            return
        self._links.add(link)
        try:
            where = self.upstream
            connect = asyncio.open_unix_connection(where) if isinstance(where, str | os.PathLike) else None
            far_reader, far_writer = await (connect or asyncio.open_connection(*where))
            link.writers.append(far_writer)
            both = [self._pump(near_reader, far_writer, "upstream", link)]
            both.append(self._pump(far_reader, near_writer, "downstream", link))
            await asyncio.gather(*both)
        except OSError:
            pass  # one of the two has gone: so does the other
        finally:
            self._links.discard(link)
            link.end()

    async def _pump(self, reader, writer, stream, link):
        while not link.over and (chunk := await reader.read(CHUNK)):
            if self._toxics("duplicate", stream, link):
                chunk = 2 * await _burst(reader, chunk)
            for piece, pause in await self._poisoned(chunk, stream, link):
                await asyncio.sleep(pause)
                writer.write(piece)
                await writer.drain()
        for toxic in self._toxics("slow_close", stream, link):
            await asyncio.sleep(toxic["delay"] / 1000)
        if not link.over and writer.can_write_eof():
            writer.write_eof()

    async def _poisoned(self, chunk, stream, link):
        """Return what passes in place of a chunk: pieces with the seconds to wait before each."""
        for toxic in self._toxics("latency", stream, link):
            jitter = self._random.uniform(-toxic["jitter"], toxic["jitter"])
            await asyncio.sleep(max(0, toxic["latency"] + jitter) / 1000)
        for toxic in self._toxics("reset_peer", stream, link):
            await asyncio.sleep(toxic["timeout"] / 1000)
            link.end(reset=True)
            return []
        for toxic in self._toxics("timeout", stream, link):
            if toxic["timeout"]:
                await asyncio.sleep(toxic["timeout"] / 1000)
                link.end()
            return []
        for toxic in self._toxics("garbage", stream, link):
            chunk = self._random.randbytes(toxic["bytes"])
        for toxic in self._toxics("limit_data", stream, link):
            room = toxic["bytes"] - link.passed[stream]
            if len(chunk) >= room:
                writer = link.writers[0 if stream == "downstream" else 1]
                writer.write(chunk[: max(0, room)])
                await writer.drain()
                for one in link.writers:
                    one.close()
                link.over = True
                return []
        link.passed[stream] += len(chunk)
        pieces = [(chunk, 0.0)]
        for toxic in self._toxics("slicer", stream, link):
            pieces = [(piece, toxic["delay"] / 1e6) for piece in self._sliced(chunk, toxic)]
        for toxic in self._toxics("bandwidth", stream, link):
            pieces = [(piece, pause + len(piece) / (1000 * toxic["rate"])) for piece, pause in pieces]
        return pieces

    def _sliced(self, chunk, toxic):
        while chunk:
            size = toxic["average_size"] + self._random.randint(-toxic["size_variation"], toxic["size_variation"])
            piece, chunk = chunk[: max(1, size)], chunk[max(1, size) :]
            yield piece

    def _toxics(self, kind, stream, link):
        return [
            toxic
            for toxic in self.toxics
            if (toxic.kind, toxic.stream) == (kind, stream) and link.luck < toxic.toxicity
        ]
