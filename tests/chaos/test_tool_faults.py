"""A tool that acts and is not heard: whatever is lost of its answer, it acts once for a key, and an unsafe one once.

Over plain HTTP and over MCP, behind a wire of ours. The tools' own log is what counts.
"""

import contextlib
import threading
import time

import pytest
from django.db import connections

from gateway import pep
from tests.chaos.deeds.deed import how, lapse
from tests.chaos.scene import KINDS
from tests.chaos.seeds import rounds
from tests.gateway.effects import until
from tests.gateway.stage import fresh, records

pytest_plugins = ["tests.chaos.directed"]
WAYS = ("http", "mcp")
#: What the line says of an answer that it did not get; `duplicate`: it gets one too many.
CODES = {"timeout": "tool_timeout", "reset": "tool_unreachable", "500": "tool_server_error", "duplicate": ""}


@pytest.fixture
def agent(scene):
    return scene.agent(agent="outward")


@contextlib.contextmanager
def trouble(scene, way, fault):
    """Within the block, what a tool answers does not arrive as it was meant; that it acts is not disturbed."""
    place, wire = scene.place / way, scene.wires[way]
    file = place / ("status-after" if fault == "500" else "gate")
    if fault == "duplicate":
        wire.add("duplicate")
    else:
        file.write_text("500")
    try:
        yield
    finally:
        file.unlink(missing_ok=True)
        wire.clear()


def attempt(scene, agent, way, tool, fault, value):
    """Make a call into the trouble; return its outcome."""
    deadline = time.monotonic() + 1.5 if fault == "timeout" else None
    asked = scene.request(f"{way}_{tool}", value, key=value, deadline=deadline)
    with trouble(scene, way, fault):
        if fault != "reset":
            return pep.call(agent, asked, now=scene.now)
        heard = []

        def ask():
            heard.append(pep.call(agent, asked, now=scene.now))
            connections.close_all()

        asking = threading.Thread(target=ask)
        asking.start()
        until(lambda: scene.effects(value))
        scene.wires[way].down()
        scene.wires[way].up()
        asking.join()
        return heard[0]


def once(scene, agent, way, tool, fault):
    """Let a tool act unheard, and repeat the call under its key; fail if it acted twice."""
    value = fresh()
    outcome = attempt(scene, agent, way, tool, fault, value)
    code = CODES[fault]
    assert (outcome.status, outcome.code) == (("unknown", code) if code else ("finished", "")), outcome
    assert outcome.again == (tool != "launch" and bool(code))
    again = scene.call(agent, f"{way}_{tool}", value, key=value)
    if code and tool == "launch":
        # Nobody guesses: it waits for a person, whoever asks and however often.
        assert (again.status, again.again) == ("unknown", False)
        lapse(agent.id)
        assert scene.call(agent, f"{way}_{tool}", value, key=value).status == "unknown"
        pep.settle(again.call, person=scene.people["olga"], outcome="happened", **how())
        again = scene.call(agent, f"{way}_{tool}", value, key=value)
    assert again.status == "finished", again
    effects = scene.effects(value)
    assert len({effect["key"] for effect in effects}) == 1
    decided = [body for event, body in records(again.call) if event == "gateway.call.decided"]
    assert len(effects) <= len(decided)
    if tool != "put":
        assert len(effects) == 1


@pytest.mark.parametrize("tool", KINDS)
@pytest.mark.parametrize("fault", CODES)
@pytest.mark.parametrize("way", WAYS)
def test_a_tool_that_acts_and_is_not_heard_does_not_act_again(scene, agent, way, fault, tool):
    assert scene.call(agent, f"{way}_put").status == "finished"  # the wire is whole
    once(scene, agent, way, tool, fault)
    assert scene.call(agent, f"{way}_put").status == "finished"


def test_an_answer_that_is_said_twice_is_not_taken_for_the_next_one(scene, agent):
    for way in WAYS:
        with trouble(scene, way, "duplicate"):
            for _ in range(4):
                value = fresh()
                outcome = scene.call(agent, f"{way}_put", value)
                assert outcome.status == "finished"
                said = outcome.result["structured"] if way == "mcp" else outcome.result
                assert said["value"] == value
                assert len(scene.effects(value)) == 1


@pytest.mark.slow
def test_whatever_is_lost_of_answers_no_tool_acts_twice(scene):
    for chance in rounds("tools", 120):
        way, fault, tool = (chance.choice(list(some)) for some in (WAYS, CODES, KINDS))
        once(scene, scene.agent(agent="outward"), way, tool, fault)


@pytest.mark.invariants
def test_after_all_of_this_every_invariant_holds(scene):
    assert scene.lawful()["I1"] > 0
