"""A real OPA behind a wire that goes bad: what it did not say is never an allow, and each deny has its own code.

In the default suite each toxic is tried once. `make chaos` goes on with random ones: PLACET_CHAOS_SEED, and
PLACET_CHAOS_ROUNDS for how many.
"""

import pytest

from gateway import pdp
from registry import bundles
from tests.chaos.proxy import Proxy
from tests.chaos.seeds import rounds
from tests.gateway import opas
from tests.gateway.stage import fresh, records

pytest_plugins = ["tests.chaos.directed"]
SHORT_MS = 300
BAD = {  # toxic, codes of the denials it may lead to; none: the decision is late or in pieces, and is one
    "late": ({"kind": "latency", "latency": 700}, {"pdp_timeout"}),
    "later than nothing": ({"kind": "latency", "latency": 20, "jitter": 15}, set()),
    "thin": ({"kind": "bandwidth", "rate": 1}, {"pdp_timeout", "pdp_slow"}),
    "thin the other way": ({"kind": "bandwidth", "rate": 1, "stream": "upstream"}, {"pdp_timeout"}),
    "closed slowly": ({"kind": "slow_close", "delay": 500}, set()),
    "silent": ({"kind": "timeout"}, {"pdp_timeout"}),
    "silent, then closed": ({"kind": "timeout", "timeout": 50}, {"pdp_cut"}),
    "reset": ({"kind": "reset_peer"}, {"pdp_cut"}),
    "reset before the question": ({"kind": "reset_peer", "stream": "upstream"}, {"pdp_cut"}),
    "sliced": ({"kind": "slicer", "average_size": 50, "size_variation": 40, "delay": 10}, set()),
    "dripping": ({"kind": "slicer", "average_size": 1, "delay": 20_000}, {"pdp_slow"}),
    "cut in the head": ({"kind": "limit_data", "bytes": 20}, {"pdp_cut"}),
    "cut in the body": ({"kind": "limit_data", "bytes": 300}, {"pdp_cut"}),
    "cut in the question": ({"kind": "limit_data", "bytes": 200, "stream": "upstream"}, {"pdp_cut"}),
    "garbled": ({"kind": "garbage", "bytes": 400}, {"pdp_malformed", "pdp_timeout", "pdp_cut"}),
    "garbled the other way": ({"kind": "garbage", "stream": "upstream"}, {"pdp_rejected", "pdp_timeout", "pdp_cut"}),
}
# What OPA says of each tool while it can be heard.
SAYS = {"put": "finished", "look": "finished", "forbidden": "denied", "careful": "parked"}


@pytest.fixture(scope="module")
def opa(_scene, django_db_blocker):
    """A sidecar with the live bundle of the scene."""
    with django_db_blocker.unblock():
        where = _scene.build.environment()
        bundle = bundles.find(_scene.workspace.pk, "development", where.bundle_revision)
    with opas.sidecar(bundle) as found, Proxy(str(found.place.socket), seed=1) as wire:
        yield wire


@pytest.fixture
def wire(scene, opa, settings):
    """The wire to OPA, whole, and in use; `wire.agent` calls over it."""
    opa.clear()
    settings.PLACET_PDP, settings.OPA_URL = "opa", opa.url
    pdp.engine.cache_clear()
    opa.agent = scene.agent()
    whole(scene, opa)
    yield opa
    pdp.engine.cache_clear()


def ask(scene, wire, name):
    """Make a call; return its outcome, what its tool did and its decision record."""
    value = fresh()
    outcome = scene.call(wire.agent, name, value)
    decided = [body["data"] for event, body in records(outcome.call) if event == "gateway.call.decided"]
    return outcome, scene.effects(value), decided


def whole(scene, wire):
    """Wait until OPA is heard again: each answer is its own, and the tool acts once."""

    def heard():
        outcome, effects, _ = ask(scene, wire, "put")
        assert len(effects) == (outcome.status == "finished")
        return outcome.status == "finished"

    opas.wait(heard, 20)


def lawful(scene, wire, name):
    """Make a call over a bad wire; fail if it is anything but what OPA says or a deny of ours. Return its code."""
    outcome, effects, [record] = ask(scene, wire, name)
    if outcome.code.startswith("pdp_"):
        assert (outcome.status, effects) == ("denied", [])
        assert (record["verdict"], record["code"], record["reasons"]) == ("deny", outcome.code, [outcome.code])
        assert outcome.again
        return outcome.code
    assert outcome.status == SAYS[name], outcome
    assert len(effects) == (outcome.status == "finished")
    assert record["engine"].startswith("opa ")
    return ""


@pytest.mark.parametrize("case", BAD)
def test_a_bad_wire_allows_nothing_that_opa_does_not(scene, wire, settings, case):
    toxic, codes = BAD[case]
    settings.PLACET_DECISION_TIMEOUT_MS = SHORT_MS if codes else 10_000
    wire.add(**toxic)
    told = {lawful(scene, wire, name) for name in ("put", "forbidden")}
    assert told <= (codes or {""})
    settings.PLACET_DECISION_TIMEOUT_MS = 10_000
    wire.clear()
    whole(scene, wire)
    assert lawful(scene, wire, "forbidden") == ""


def test_while_opa_is_down_nothing_is_allowed_and_then_it_is_asked_again(scene, wire):
    wire.down()
    assert {lawful(scene, wire, name) for name in SAYS} == {"pdp_unavailable"}
    wire.up()
    whole(scene, wire)


def test_a_decision_that_is_said_twice_is_not_taken_for_the_next_one(scene, wire):
    """What is left on the wire answers a question of before: an allow for `put` is none for `forbidden`."""
    wire.add("duplicate")
    for name in ("put", "forbidden", "put", "careful", "look", "forbidden"):
        assert lawful(scene, wire, name) == ""


@pytest.mark.slow
def test_whatever_happens_on_the_wire_no_answer_is_taken_for_another(scene, wire, settings):
    settings.PLACET_DECISION_TIMEOUT_MS = SHORT_MS
    told = {}
    for chance in rounds("pdp", 200):
        wire.clear()
        toxic = dict(chance.choice([toxic for toxic, _ in BAD.values()] + [{"kind": "duplicate"}]))
        toxic |= {name: chance.randrange(2 * size + 1) for name, size in toxic.items() if isinstance(size, int)}
        if toxic["kind"] in ("bandwidth", "slicer"):
            toxic = {name: size or 1 for name, size in toxic.items()}
        wire.add(**toxic, toxicity=chance.choice([0.5, 1.0]))
        for _ in range(3):
            code = lawful(scene, wire, chance.choice(list(SAYS)))
            told[code] = told.get(code, 0) + 1
    wire.clear()
    whole(scene, wire)
    print("answers over a bad wire:", told)


@pytest.mark.invariants
def test_after_all_of_this_every_invariant_holds(scene):
    assert scene.lawful()["I1"] > 0
