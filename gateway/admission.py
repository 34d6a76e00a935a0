"""Admission: on how many requests one process works at once, and whose turn is next. Threads and counts, no database.

A request has a *place* from its arrival to its answer. Most of that time it may be waiting for its tool, which costs us
nothing; so of those that have a place only a few are *at work*. More would not get more done: they would share the same
processors, and everybody's answer would come late. Who waits for a place is taken in turns by workspace, agent and
credential, and where too many wait, the one with the most waiting gives way: a flood drowns its own sender first.
"""

import threading
from collections import Counter, OrderedDict, deque
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from hashlib import sha256
from typing import NamedTuple

_BACK_SECONDS = 5.0  # after which who comes back from a tool goes on regardless: its outcome has to be recorded
_REMEMBERED = 10_000  # callers


class Caller(NamedTuple):
    """Whose request it is, from the coarse to the fine. Never evidence: who it really is, authentication says.

    Ids as texts: a UUID is hashed anew, in Python, each time that somebody is counted.
    """

    workspace: str | None
    agent: str
    credential: str | None


STRANGER = Caller(None, "", None)  # all who have not shown a good key here yet, together
_LEVELS = (1, 2, 3)
_Group = tuple[object, ...]  # the beginning of a Caller


class Full(Exception):
    """There is no room. `why`: queue_full; displaced: by somebody with fewer waiting; waited: too long."""

    def __init__(self, why: str) -> None:
        super().__init__(why)
        self.why = why


class _Waiter:
    """Somebody who waits; `let_in` and `why` are read once `called` is set, or the wait is over."""

    __slots__ = ("called", "caller", "let_in", "why")

    def __init__(self, caller: Caller) -> None:
        self.caller = caller
        self.called = threading.Event()
        self.let_in = False
        self.why = "waited"


class Gate:
    """The places of one process.

    :param places: requests in hand. :param at_work: of these, how many may be elsewhere than in their tool.
    :param waiting: requests that wait for a place. :param patience: seconds for which each of them does.
    :param share: places of one agent. :param strangers: places of all strangers together.
    """

    def __init__(self, *, places: int, at_work: int, waiting: int, patience: float, share: int, strangers: int) -> None:
        self.places, self.most_at_work, self.most_waiting = places, at_work, waiting
        self.patience, self.share, self.strangers = patience, share, strangers
        self._lock = threading.Lock()
        self._held: Counter[_Group] = Counter()
        self._in_hand = self._at_work = 0
        self._waiting: list[_Waiter] = []  # in the order of their arrival
        self._coming_back: deque[threading.Event] = deque()

    @property
    def counts(self) -> tuple[int, int, int]:
        """Return how many are in hand, at work and waiting."""
        return self._in_hand, self._at_work, len(self._waiting)

    @property
    def coming_back(self) -> int:
        """Return how many have come back from their tool and wait to go on."""
        return len(self._coming_back)

    def enter(self, caller: Caller) -> "Place":
        """Take a place, after waiting for it if need be. :raises Full: there is none."""
        with self._lock:
            if self._fits(caller):  # else than one who waits: who fits is let in as soon as they do
                self._take(caller)
                return Place(self, caller)
            if len(self._waiting) >= self.most_waiting:
                self._make_room(caller)
            waiter = _Waiter(caller)
            self._waiting.append(waiter)
        waiter.called.wait(self.patience)
        with self._lock:
            if waiter.let_in:
                return Place(self, caller)
            if waiter in self._waiting:
                self._waiting.remove(waiter)
        raise Full(waiter.why)

    def leave(self, caller: Caller) -> None:
        """Give a place back."""
        with self._lock:
            self._in_hand -= 1
            self._at_work -= 1
            for level in _LEVELS:
                self._held[caller[:level]] -= 1
                if not self._held[caller[:level]]:
                    del self._held[caller[:level]]
            self._call_next()

    def step_out(self) -> None:
        """Keep the place, but let another one work."""
        with self._lock:
            self._at_work -= 1
            self._call_next()

    def step_in(self) -> None:
        """Work again, before all who have not begun yet."""
        with self._lock:
            if self._at_work < self.most_at_work:
                self._at_work += 1
                return
            called = threading.Event()
            self._coming_back.append(called)
        called.wait(_BACK_SECONDS)
        with self._lock:
            if not called.is_set():
                self._coming_back.remove(called)
                self._at_work += 1

    def _fits(self, caller: Caller) -> bool:
        share = self.strangers if caller == STRANGER else self.share
        free = self._in_hand < self.places and self._at_work < self.most_at_work
        return free and self._held[caller[:2]] < share

    def _take(self, caller: Caller) -> None:
        self._in_hand += 1
        self._at_work += 1
        for level in _LEVELS:
            self._held[caller[:level]] += 1

    def _call_next(self) -> None:
        while self._coming_back and self._at_work < self.most_at_work:
            self._at_work += 1
            self._coming_back.popleft().set()
        while fitting := [waiter for waiter in self._waiting if self._fits(waiter.caller)]:
            # The one whose workspace has the least in hand, then whose agent, then whose credential, then the oldest.
            waiter = min(fitting, key=lambda one: [self._held[one.caller[:level]] for level in _LEVELS])
            self._waiting.remove(waiter)
            self._take(waiter.caller)
            waiter.let_in = True
            waiter.called.set()

    def _make_room(self, caller: Caller) -> None:
        """Send away one of those who have clearly more waiting than `caller`. :raises Full: nobody has."""
        for level in _LEVELS:
            kin = [one.caller[:level] for one in self._waiting if one.caller[: level - 1] == caller[: level - 1]]
            rivals = Counter(kin)
            own = rivals.pop(caller[:level], 0)
            group, most = rivals.most_common(1)[0] if rivals else ((), 0)
            if most > own + 1:
                victim = self._latest(group)
                self._waiting.remove(victim)
                victim.why = "displaced"
                victim.called.set()
                return
        raise Full("queue_full")

    def _latest(self, group: _Group) -> _Waiter:
        """Return who came last among those with the most waiting within `group`."""
        while len(group) < len(Caller._fields):
            level = len(group) + 1
            within = [one.caller[:level] for one in self._waiting if one.caller[: level - 1] == group]
            group = Counter(within).most_common(1)[0][0]
        return next(one for one in reversed(self._waiting) if one.caller == group)


class Place:
    """One request's place; the thread that has it works on that request."""

    __slots__ = ("caller", "gate")

    def __init__(self, gate: Gate, caller: Caller) -> None:
        self.gate, self.caller = gate, caller

    @contextmanager
    def held(self) -> Iterator[None]:
        """Have the place while the block runs, and give it back."""
        token = _place.set(self)
        try:
            yield
        finally:
            _place.reset(token)
            self.gate.leave(self.caller)


_place: ContextVar[Place | None] = ContextVar("place", default=None)


@contextmanager
def away() -> Iterator[None]:
    """Let another request work while the block waits for somebody else. Without a place, nothing is given up."""
    place = _place.get()
    if place is None:
        yield
        return
    place.gate.step_out()
    try:
        yield
    finally:
        place.gate.step_in()


class Acquaintances:
    """Who came with which `Authorization` before and was found good: enough to know whose turn it is, no more."""

    def __init__(self, most: int = _REMEMBERED) -> None:
        self._most = most
        self._known: OrderedDict[bytes, Caller] = OrderedDict()
        self._lock = threading.Lock()

    def of(self, authorization: str) -> Caller:
        """Return who that is, STRANGER if nobody knows."""
        key = sha256(authorization.encode()).digest()
        with self._lock:
            caller = self._known.get(key)
            if caller is not None:
                self._known.move_to_end(key)
        return caller or STRANGER

    def remember(self, authorization: str, caller: Caller) -> None:
        """Know the sender next time."""
        key = sha256(authorization.encode()).digest()
        with self._lock:
            self._known[key] = caller
            self._known.move_to_end(key)
            if len(self._known) > self._most:
                self._known.popitem(last=False)

    def forget(self, authorization: str) -> None:
        """Take the sender for a stranger again: the key is good no more."""
        with self._lock:
            self._known.pop(sha256(authorization.encode()).digest(), None)


acquaintances = Acquaintances()
