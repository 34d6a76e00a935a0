"""The places of a process: how many there are, whose turn is next, and who gives way when too many wait."""

import threading
import time
from collections import Counter
from contextlib import ExitStack
from uuid import uuid4

import pytest

from gateway.admission import STRANGER, Acquaintances, Caller, Full, Gate, away

WORKSPACE = str(uuid4())
FLOOD, OTHER, ELSEWHERE = (
    Caller(WORKSPACE, "flood", str(uuid4())),
    Caller(WORKSPACE, "other", str(uuid4())),
    Caller(str(uuid4()), "far", str(uuid4())),
)


def gate_of(**more):
    return Gate(**{"places": 4, "at_work": 4, "waiting": 4, "patience": 30, "share": 4, "strangers": 2} | more)


def until(true):
    """Wait for another thread."""
    for _ in range(3000):
        if true():
            return
        time.sleep(0.01)
    raise TimeoutError


class Crowd:
    """Callers in threads of their own; each notes what came of it, in order."""

    def __init__(self, gate):
        self.gate, self.told, self.threads, self.displaced = gate, [], [], []
        self.gone = threading.Event()

    def send(self, caller, *, stay=False):
        """Let one more come, and see it in or waiting."""
        before, told = sum(self.gate.counts[::2]), len(self.told)
        self.threads.append(threading.Thread(target=self._come, args=[caller, stay]))
        self.threads[-1].start()
        until(lambda: sum(self.gate.counts[::2]) > before or len(self.told) > told)

    def _come(self, caller, stay):
        try:
            place = self.gate.enter(caller)
        except Full as full:
            if full.why == "displaced":
                self.displaced.append(self.threads.index(threading.current_thread()))
            self.told.append((caller, full.why))
            return
        with place.held():
            self.told.append((caller, "in"))
            if stay:
                self.gone.wait(30)

    def end(self):
        self.gone.set()
        for thread in self.threads:
            thread.join()


@pytest.fixture
def crowd():
    with ExitStack() as stack:

        def make(**more):
            made = Crowd(gate_of(**more))
            stack.callback(made.end)
            return made

        yield make


def test_who_finds_neither_place_nor_queue_is_turned_away_at_once(crowd):
    full = crowd(places=2, waiting=1)
    for _ in range(2):
        full.send(FLOOD, stay=True)
    full.send(FLOOD)
    assert full.gate.counts == (2, 2, 1)
    with pytest.raises(Full) as refused:
        full.gate.enter(FLOOD)
    assert refused.value.why == "queue_full"
    full.end()
    assert [what for _, what in full.told] == ["in"] * 3
    assert full.gate.counts == (0, 0, 0)


def test_who_waits_too_long_is_turned_away_and_takes_no_place_later():
    gate = gate_of(places=1, patience=0.01)
    with gate.enter(FLOOD).held(), pytest.raises(Full) as refused:
        gate.enter(OTHER)
    assert refused.value.why == "waited"
    assert gate.counts == (0, 0, 0)
    with gate.enter(OTHER).held():
        assert gate.counts == (1, 1, 0)


def test_one_agent_never_has_every_place_and_another_gets_in_at_once(crowd):
    one = crowd(places=3, share=2)
    for _ in range(2):
        one.send(FLOOD, stay=True)
    one.send(FLOOD)
    assert one.gate.counts == (2, 2, 1)
    with one.gate.enter(OTHER).held():
        assert one.gate.counts == (3, 3, 1)


def test_credentials_of_one_agent_share_its_places(crowd):
    one = crowd(places=3, share=2)
    for _ in range(2):
        one.send(FLOOD._replace(credential=str(uuid4())), stay=True)
    one.send(FLOOD._replace(credential=str(uuid4())))
    assert one.gate.counts == (2, 2, 1)


def test_turns_go_to_whoever_has_the_least_in_hand_not_to_who_came_first(crowd):
    one = crowd(places=3)
    held = [one.gate.enter(FLOOD) for _ in range(3)]
    for caller in (FLOOD, OTHER, ELSEWHERE):
        one.send(caller, stay=True)
    for expected in (
        ELSEWHERE,
        OTHER,
        FLOOD,
    ):  # of a workspace with nothing in hand, of an agent with nothing, the rest
        before = len(one.told)
        with held.pop().held():
            pass
        until(lambda before=before: len(one.told) > before)
        assert one.told[-1] == (expected, "in")


def test_a_flood_gives_way_in_the_queue_to_whoever_has_fewer_waiting(crowd):
    one = crowd(places=1, waiting=3)
    one.send(OTHER, stay=True)
    for _ in range(3):
        one.send(FLOOD)
    one.send(ELSEWHERE)
    one.send(OTHER)
    assert one.told[1:] == [(FLOOD, "displaced")] * 2
    assert one.displaced == [3, 2]  # who came last goes first
    # Now each has one waiting: nobody gives way any more.
    with pytest.raises(Full) as refused:
        one.gate.enter(OTHER._replace(agent="third"))
    assert refused.value.why == "queue_full"
    one.end()
    assert Counter(one.told[3:]) == Counter({(FLOOD, "in"): 1, (ELSEWHERE, "in"): 1, (OTHER, "in"): 1})


def test_strangers_have_few_places_however_many_names_they_invent(crowd):
    one = crowd(strangers=1)
    one.send(STRANGER, stay=True)
    one.send(STRANGER)
    assert one.gate.counts == (1, 1, 1)
    with one.gate.enter(FLOOD).held():
        assert one.gate.counts == (2, 2, 1)


def test_who_waits_for_a_tool_keeps_the_place_and_lets_another_work(crowd):
    one = crowd(places=2, at_work=1)
    back, out = threading.Event(), threading.Event()

    def call():
        with one.gate.enter(FLOOD).held(), away():
            out.set()
            back.wait(30)

    calling = threading.Thread(target=call)
    calling.start()
    assert out.wait(30)
    one.send(OTHER, stay=True)  # works meanwhile
    assert one.gate.counts == (2, 1, 0)
    one.send(ELSEWHERE)  # waits, though ...
    back.set()
    one.gone.set()
    calling.join()  # ... who comes back from a tool goes on first
    until(lambda: len(one.told) == 2)
    assert one.gate.counts == (0, 0, 0)


def test_who_comes_back_from_a_tool_goes_before_who_has_not_begun():
    gate, order = gate_of(places=3, at_work=1), []
    back = threading.Event()

    def call():
        with gate.enter(FLOOD).held():
            with away():
                back.wait(30)
            order.append("came back")

    def begin():
        with gate.enter(ELSEWHERE).held():
            order.append("began")

    calling, beginning = threading.Thread(target=call), threading.Thread(target=begin)
    calling.start()
    until(lambda: gate.counts == (1, 0, 0))
    with gate.enter(OTHER).held():
        beginning.start()
        until(lambda: gate.counts == (2, 1, 1))
        back.set()
        until(lambda: gate.coming_back == 1)
    calling.join()
    beginning.join()
    assert order == ["came back", "began"]


def test_without_a_place_nothing_is_given_up():
    with away():
        pass


def test_who_was_found_good_is_known_and_the_longest_unseen_is_forgotten():
    known = Acquaintances(most=2)
    assert known.of("Bearer a") == STRANGER
    known.remember("Bearer a", FLOOD)
    known.remember("Bearer b", OTHER)
    assert known.of("Bearer a") == FLOOD
    known.remember("Bearer c", ELSEWHERE)
    assert [known.of(f"Bearer {one}") for one in "abc"] == [FLOOD, STRANGER, ELSEWHERE]
