"""The kinds of fault, by name and weight, and who injects them from a seed.

A kind is a small function of (ops, chance) that says in a few words what it did, or raises NothingThere if there was
nothing to do it to. What it changes for a while it puts back by `ops.later`.
"""

import contextlib
import heapq
import itertools
import threading
import time
from collections import Counter
from collections.abc import Callable
from typing import NamedTuple

import psycopg
import redis

from tests.chaos.recoveries import Recoveries
from tests.chaos.site import alive

MOST_TRIES = 600  # of covering, a tenth of a second each where there is nothing to break


class NothingThere(Exception):
    """The fault found nothing to break."""


class Fault(NamedTuple):
    """One kind of fault. `rest`: seconds that have to pass between two of them."""

    name: str
    weight: int
    rest: float
    inject: Callable


class Done(NamedTuple):
    """One fault that was injected."""

    at: float
    name: str
    what: str


KINDS: dict[str, Fault] = {}


def fault(*, weight, rest=0.0):
    """Enter a function among the kinds of fault."""

    def enter(inject):
        KINDS[inject.__name__] = Fault(inject.__name__, weight, rest, inject)
        return inject

    return enter


class Ops:
    """What faults have in their hands: the site, what is to be put back, and the measurement of recoveries."""

    def __init__(self, site):
        self.site = site
        self.recoveries = Recoveries(site)
        self.extra = []  # processes that we have started beside the supervisor's
        self._due, self._number, self._lock = [], itertools.count(), threading.Lock()

    def pid(self, name):
        """Return the pid of a process of the supervisor. :raises NothingThere: it is not there just now."""
        pid = self.site.pids().get(name)
        if pid is None or not alive(pid):
            raise NothingThere(name)
        return pid

    def later(self, seconds, undo):
        """Have `undo` called after so many seconds, or at the end of the faults."""
        with self._lock:
            heapq.heappush(self._due, (time.monotonic() + seconds, next(self._number), undo))

    def tick(self, *, everything=False):
        """Put back what is due."""
        while True:
            with self._lock:
                if not self._due or not (everything or self._due[0][0] <= time.monotonic()):
                    return
                _, _, undo = heapq.heappop(self._due)
            undo()

    def rows(self, statement, *parameters):
        """Return rows of the database. :raises NothingThere: it is away."""
        try:
            with self.site.connect(readonly=False) as connection:
                return connection.execute(statement, parameters).fetchall()
        except psycopg.Error as error:
            raise NothingThere("database") from error

    @contextlib.contextmanager
    def broker(self):
        """Yield a client of Valkey. :raises NothingThere: it is away."""
        client = self.site.broker()
        try:
            yield client
        except redis.RedisError as error:
            raise NothingThere("broker") from error
        finally:
            client.close()


class Injector:
    """Injects faults one after the other, as the seed says."""

    def __init__(self, ops, chance, kinds=None):
        self.ops, self.chance = ops, chance
        self.kinds = [KINDS[name] for name in sorted(kinds or KINDS)]
        self.done: list[Done] = []
        self._last: dict[str, float] = {}

    @property
    def counts(self):
        """How many faults of each kind there were."""
        return Counter(one.name for one in self.done)

    def inject(self):
        """Inject one fault of some kind; what finds nothing to break gives way to another kind."""
        while True:
            rested = [one for one in self.kinds if time.monotonic() - self._last.get(one.name, -1e9) >= one.rest]
            (kind,) = self.chance.choices(rested, [one.weight for one in rested])
            try:
                what = kind.inject(self.ops, self.chance)
            except NothingThere:
                time.sleep(0.05)
                self.ops.tick()
                continue
            self._last[kind.name] = time.monotonic()
            self.done.append(Done(time.time(), kind.name, what))
            return self.done[-1]

    def cover(self):
        """Inject each kind once, in an order of the seed's: what a short run can be sure to have tried."""
        left = [one for one in self.kinds if one.name not in self.counts]
        self.chance.shuffle(left)
        for _ in range(MOST_TRIES):
            if not left:
                return
            kind = left.pop(0)
            try:
                what = kind.inject(self.ops, self.chance)
            except NothingThere:
                left.append(kind)  # the database may be away for a moment
                time.sleep(0.1)
                self.ops.tick()
                continue
            self._last[kind.name] = time.monotonic()
            self.done.append(Done(time.time(), kind.name, what))
            yield self.done[-1]
