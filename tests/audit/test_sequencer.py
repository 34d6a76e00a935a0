"""Every committed record gets into the tree once, whatever the writers do and however many sequencers run or die."""

import contextlib
import random
import threading
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest
from django.db import connections, transaction

from audit import fsck, log, sequencer
from tests.audit import trails

POINTS = ("audit.sequencer.integrated", "audit.sequencer.committed")


def indices(workspace):
    with connections["default"].cursor() as cursor:
        cursor.execute("SELECT record FROM audit_leaf WHERE workspace = %s ORDER BY index", [workspace])
        return [record for (record,) in cursor.fetchall()]


def test_records_become_dense_leaves_in_batches(db):
    workspace = uuid4()
    entries = trails.write(workspace, 25)
    assert sequencer.sequence(workspace, batch=10, using="sequencer") == 10
    assert sequencer.sequence(workspace, batch=10, using="sequencer") == 10
    assert sequencer.drain(workspace, using="sequencer") == 5
    assert sequencer.sequence(workspace, using="sequencer") == 0
    assert set(indices(workspace)) == {entry.id for entry in entries}
    assert fsck.check(workspace).problems == []


def test_one_call_serves_every_workspace(db):
    first, second = uuid4(), uuid4()
    trails.write(first, 2)
    trails.write(second, 3)
    while sequencer.sequence(using="sequencer"):
        pass
    assert (len(indices(first)), len(indices(second))) == (2, 3)


def test_lag_is_the_age_of_what_waits_longest(db):
    workspace = uuid4()
    while sequencer.sequence(using="sequencer"):
        pass
    assert sequencer.lag(now=datetime.now(UTC)) == 0
    trails.write(workspace, 1)
    assert 29 < sequencer.lag(now=datetime.now(UTC) + timedelta(seconds=30)) < 60


class Race:
    """Writers with several rows, savepoints and rollbacks, whose ids are older than their commits."""

    def __init__(self, workspace):
        self.workspace = workspace
        self.written = threading.Event()
        self.committed, self.failures = [], []

    def run(self, *, writers, sequencers):
        writing = [threading.Thread(target=self.guarded, args=[self.write, seed]) for seed in range(writers)]
        moving = [threading.Thread(target=self.guarded, args=[self.integrate]) for _ in range(sequencers)]
        for thread in writing + moving:
            thread.start()
        for thread in writing:
            thread.join()
        self.written.set()
        for thread in moving:
            thread.join()

    def guarded(self, work, *arguments):
        try:
            work(*arguments)
        except Exception as error:  # noqa: BLE001 - told to the test
            self.failures.append(error)
        finally:
            connections.close_all()

    def write(self, seed):
        choose = random.Random(seed)
        for _ in range(40):
            with contextlib.suppress(ZeroDivisionError):
                self.committed.extend(self.transaction(choose))

    def transaction(self, choose):
        with transaction.atomic():
            ids = [self.append() for _ in range(choose.randint(1, 4))]
            if choose.random() < 0.4:
                with contextlib.suppress(KeyError), transaction.atomic():
                    self.append()
                    raise KeyError
            threading.Event().wait(choose.random() * 0.004)
            if choose.random() < 0.2:
                raise ZeroDivisionError
        return ids

    def append(self):
        now = datetime.now(UTC)
        return log.append(trails.EVENT, workspace=self.workspace, actor=trails.ACTOR, correlation_id="", now=now).id

    def integrate(self):
        while not self.written.is_set():
            sequencer.sequence(self.workspace, batch=7, using="sequencer")


def test_racing_writers_and_two_sequencers_lose_nothing_and_double_nothing(db):
    workspace = uuid4()
    race = Race(workspace)
    race.run(writers=6, sequencers=2)
    assert race.failures == []
    assert len(indices(workspace)) > 0
    trails.publish(workspace)
    assert len(race.committed) > 300
    assert sorted(indices(workspace)) == sorted(race.committed)
    report = fsck.check(workspace)
    assert (report.problems, report.leaves, report.pending) == ([], len(race.committed), 0)


@pytest.mark.parametrize("point", POINTS)
def test_a_sequencer_killed_at_any_point_leaves_a_whole_tree(db, point):
    workspace = uuid4()
    sequencer.drain(using="sequencer")  # what other tests left waiting would be taken first
    trails.write(workspace, 300)
    killed = trails.manage("sequencer", "--batch", "270", process="sequencer", PLACET_CRASH_AT=point)
    output, _ = killed.communicate(timeout=60)
    assert killed.returncode == -9, output
    assert len(indices(workspace)) == (0 if point.endswith("integrated") else 270)
    assert fsck.check(workspace).problems == []
    sequencer.drain(workspace, using="sequencer")
    report = fsck.check(workspace)
    assert (report.problems, report.leaves) == ([], 300)


def test_sigterm_ends_the_process_cleanly_with_nothing_half_done(db):
    workspace = uuid4()
    process = trails.manage("sequencer", "--interval", "0.02", process="sequencer")
    trails.write(workspace, 20)
    for _ in range(500):
        if len(indices(workspace)) == 20:
            break
        threading.Event().wait(0.05)
    process.terminate()
    output, _ = process.communicate(timeout=30)
    assert (process.returncode, output) == (0, "")
    assert len(indices(workspace)) == 20
