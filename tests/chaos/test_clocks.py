"""A process whose wall clock is an hour off, or jumps: the database tells the time, so nothing ends early or twice.

The clock is bent beneath the process (tests/chaos/clock.c), as a bad time server bends it. `make chaos` goes on with
jumps at random points: PLACET_CHAOS_SEED, PLACET_CHAOS_ROUNDS.
"""

import os
import shutil
import struct
import subprocess
from pathlib import Path

import pytest

from tests.chaos.deeds import DEEDS, OTHERS
from tests.chaos.scene import dying, kept_keys
from tests.chaos.seeds import rounds

pytest_plugins = ["tests.chaos.directed"]
HOUR = 3600
#: Deeds that begin and end with leases, holds, sessions and activations.
SHORT = ["call:pay", "call:launch", "hold:release", "run:risky", "state:write", "activation", "publish"]


@pytest.fixture(scope="module")
def bent(_scene, django_db_blocker, tmp_path_factory):
    """Return a function: seconds -> the clock of the victim is off by so much from now on."""
    if shutil.which("cc") is None:
        line = "cc is missing: outside CI, the tests of wrong clocks are skipped"
        pytest.fail(line) if os.environ.get("CI") == "true" else pytest.skip(line)
    place = tmp_path_factory.mktemp("clock")
    source, library, shift = Path(__file__).parent / "clock.c", place / "clock.so", place / "shift"
    subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-o", library, source], check=True)

    def bend(seconds):
        shift.write_bytes(struct.pack("l", seconds))

    bend(0)
    with django_db_blocker.unblock(), kept_keys(_scene), dying(_scene, LD_PRELOAD=str(library), CLOCK_SHIFT=str(shift)):
        yield bend


def done(scene, name, order, **more):
    """Let the process with the wrong clock do a deed; look at what came of it."""
    answer = scene.order(name, order, **more)
    assert answer["status"] == 0, answer["told"]
    (DEEDS | OTHERS)[name].check(scene, order)


@pytest.mark.parametrize("hours", [1, -1])
def test_a_process_with_a_wrong_clock_is_not_ready_and_is_again_when_it_is_right(scene, bent, hours):
    bent(hours * HOUR)
    done(scene, "clock:ready", {"ready": False})
    bent(3 * hours)  # seconds
    done(scene, "clock:ready", {"ready": False})
    bent(0)
    done(scene, "clock:ready", {"ready": True})


@pytest.mark.parametrize("name", OTHERS)
@pytest.mark.parametrize("hours", [1, -1])
def test_nothing_ends_early_or_late_and_no_lease_is_given_twice(scene, bent, name, hours):
    order = OTHERS[name].prepare(scene)
    bent(hours * HOUR)
    done(scene, name, order | ({"ready": False} if name == "clock:ready" else {}))


@pytest.mark.parametrize("hours", [1, -1])
def test_what_is_done_under_a_wrong_clock_is_done_as_ever(scene, bent, hours):
    for name in SHORT:
        order = DEEDS[name].prepare(scene)
        bent(hours * HOUR)
        done(scene, name, order)


@pytest.mark.slow
def test_a_clock_that_jumps_anywhere_on_the_way_changes_nothing(scene, bent):
    ways = {}
    for chance in rounds("clocks", 150):
        name = chance.choice(list(DEEDS))
        bent(0)
        if name not in ways:
            order = DEEDS[name].prepare(scene)
            ways[name] = scene.order(name, order)["passed"]
            DEEDS[name].check(scene, order)
        order = DEEDS[name].prepare(scene)
        bent(chance.choice([0, HOUR, -HOUR]))
        done(scene, name, order, jump_at=chance.choice(ways[name]), jump=chance.choice([HOUR, -HOUR, 90, -90]))


@pytest.mark.invariants
def test_after_all_of_this_every_invariant_holds(scene):
    assert scene.lawful()["I1"] > 0
