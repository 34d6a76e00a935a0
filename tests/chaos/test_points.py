"""Whatever named point a process dies at, everything ends as if it had not: read from the source, so none is left out.

Each deed (tests/chaos/deeds) that nobody disturbs tells which points it passes. At each of them the deed is done again
by a process that SIGKILLs itself there; then others recover and do it again. A point that no deed passes, or at which
nobody died, is a failure. In the default suite two deeds stand for all that pass a point; `make chaos` tries each, and
any passage of it from a seed (PLACET_CHAOS_SEED, PLACET_CHAOS_ROUNDS).
"""

import pytest

from tests.chaos import points
from tests.chaos.deeds import DEEDS
from tests.chaos.scene import kept_keys
from tests.chaos.seeds import rounds

pytest_plugins = ["tests.chaos.directed"]
NAMES = points.names()


@pytest.fixture(scope="module", autouse=True)
def _keys(_scene, django_db_blocker):
    with django_db_blocker.unblock(), kept_keys(_scene):
        yield


@pytest.fixture(scope="module")
def ways(_scene, django_db_blocker):
    """The points that each deed passes when nobody dies, in order. What went wrong on the way stands beside."""
    return {}


def way(scene, ways, name):
    """Let a deed be done once by a process that survives it; remember its way."""
    if name not in ways:
        order = DEEDS[name].prepare(scene)
        answer = scene.order(name, order)
        ways[name] = answer["passed"]
        assert answer["status"] == 0, answer["told"]
        DEEDS[name].check(scene, order)
    return ways[name]


def test_every_point_has_a_name_of_its_own():
    assert points.doubled() == []
    assert len(NAMES) > 60


@pytest.mark.parametrize("name", DEEDS)
def test_a_deed_that_nobody_disturbs_is_done(scene, ways, name):
    assert way(scene, ways, name)


@pytest.mark.parametrize("point", NAMES)
def test_a_process_that_dies_at_a_point_leaves_nothing_undone_and_nothing_done_twice(scene, ways, point):
    passing = [name for name in DEEDS if point in way(scene, ways, name)]
    assert passing, f"no deed passes {point}: add one to tests/chaos/deeds, or take the point out"
    passing = [name for name in passing if point.startswith(DEEDS[name].about)] or passing
    # Of those that suffer most from it: one with a call that must not happen twice, and one that knows its key.
    for unsafe in (True, False):
        able = [name for name in passing if DEEDS[name].unsafe == unsafe]
        if able:
            name = max(able, key=lambda one: (one.endswith(("pay", "steady", "undone")), -len(ways[one])))
            scene.killed(name, point)


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_whoever_dies_anywhere_on_any_way_others_end_it(scene, ways):
    """Every point of every deed once; then as many as are wanted at any passage of a point, often twice in a row."""
    tried = [(name, point) for name in DEEDS for point in dict.fromkeys(way(scene, ways, name))]
    for name, point in tried:
        print(name, point)
        scene.killed(name, point)
    for chance in rounds("points", 300):
        name, point = chance.choice(tried)
        skip = chance.randrange(ways[name].count(point))
        print(name, point, skip)
        scene.killed(name, point, skip, again=chance.choice([None, chance.choice(ways[name])]))
    print(scene.deaths.total(), "deaths at", len(scene.deaths), "points;", len(tried), "points of deeds, each once")
    assert set(NAMES) <= set(scene.deaths)


@pytest.mark.invariants
def test_after_all_of_this_every_invariant_holds(scene, tmp_path):
    assert scene.lawful(tmp_path / "trail.ndjson")["I1"] > 0
