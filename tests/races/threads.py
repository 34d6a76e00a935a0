"""Threads that keep their database connections from one history to the next, and start each of them together."""

import contextlib
import threading
from concurrent.futures import ThreadPoolExecutor

from django.db import connections


class Threads:
    """`with Threads(6) as threads:` then `threads.race([work, …])` with at most so many functions."""

    def __init__(self, count):
        self.count = count
        self._pool = ThreadPoolExecutor(count)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        with contextlib.suppress(threading.BrokenBarrierError):
            self.race([connections.close_all] * self.count)
        self._pool.shutdown()

    def race(self, works):
        """Run the functions at the same moment, each in a thread of its own; return what they returned, in order."""
        barrier = threading.Barrier(len(works))

        def run(work):
            barrier.wait(60)
            return work()

        return [future.result() for future in [self._pool.submit(run, work) for work in works]]
