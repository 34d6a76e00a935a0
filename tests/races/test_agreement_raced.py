"""Whatever people do at the same moment, nothing goes live without the quorum that holds at that moment.

Each history sets up proposals, brings them some way, and lets six threads act on real PostgreSQL: approve, take back,
ask for changes, reject, abandon, request, publish, finish, deactivate, grant, revoke, contribute, roll back, expire,
change the charter. Then `ledger` replays what was committed. See docs/operations/races.md.
"""

from tests.races import dice
from tests.races.agreement import Agreement, History
from tests.races.threads import Threads

THREADS = 6
EACH = 100  # histories of one workspace: what is to be compared grows with each of them


@dice.bouts(50, 2000)
def test_nothing_goes_live_below_the_quorum_that_holds_at_that_moment(db, monkeypatch, count):
    activated = 0
    with Threads(THREADS) as threads:
        for first in range(0, count, EACH):
            scene = Agreement()
            scene.patch(monkeypatch)
            for number in range(first, min(first + EACH, count)):
                _one(scene, number, threads)
            activated += scene.ledger.activated
    print(f"{dice.told()}: {count} histories, {activated} activations")
    assert activated > count / 5


def _one(scene, number, threads):
    history = History(scene, number, dice.of("agreement", number))
    history.set_up()
    threads.race(history.works(THREADS))
    history.tidy()
    scene.ledger.read(history.started)
    scene.ledger.compare()
    assert not scene.ledger.wrong, f"{dice.told()} history {number}\n{scene.ledger.wrong}\n{history.told()}"
