"""A log under fire: writers that roll back, two sequencers and a publisher, and somebody who kills them at random."""

import contextlib
import os
import random
import secrets
import signal
import threading
import time
from collections import Counter
from datetime import UTC, datetime
from itertools import pairwise
from uuid import uuid4

from django.db import Error, connections, transaction

from audit import checkpoints, log, proofs, publisher, receipts, sequencer, verify
from audit.uuid7 import uuid7
from tests.audit import rfc6962, trails

_stock = threading.local()
_VICTIMS = """SELECT pid FROM pg_stat_activity WHERE datname = current_database()
    AND usename IN ('placet_web', 'placet_sequencer', 'placet_publisher') AND pid <> pg_backend_pid() ORDER BY pid"""


class RolledBack(Exception):
    """A writer thought better of it."""


def fetched_before():
    """Return an id that was fetched long before, the newest first: commits follow neither ids nor clocks."""
    if not getattr(_stock, "ids", None):
        _stock.ids = [uuid7() for _ in range(24)]
    return _stock.ids.pop()


class Fire:
    """One run. The seed decides what everybody does; how they meet is the machine's.

    :ivar acknowledged: ids for which there was a receipt. :ivar withdrawn: ids of what was rolled back for certain.
    :ivar faults: how often what was done to whom.
    """

    def __init__(self, seed):
        self.seed, self.workspace = seed, uuid4()
        self.acknowledged, self.withdrawn = set(), set()
        self.faults = Counter()
        self.failures = []
        self._lit, self._written = threading.Event(), threading.Event()
        self._lock = threading.Lock()

    def burn(self, *, writers, transactions):
        """Let `writers` make so many transactions each under fire, then put out the fire and drain the log."""
        writing = [self._thread(self._write, number, transactions) for number in range(writers)]
        others = [self._thread(work) for work in (self._sequence, self._publish, self._terminate, self._kill)]
        for thread in writing:
            thread.join()
        self._written.set()
        for thread in others:
            thread.join()
        connections.close_all()  # this thread's own were among the victims
        trails.publish(self.workspace)

    def _thread(self, work, *given):
        def guarded():
            try:
                work(*given)
            except Exception as error:  # noqa: BLE001 - told to the test
                self.failures.append(error)
            finally:
                connections.close_all()

        thread = threading.Thread(target=guarded)
        thread.start()
        return thread

    def _write(self, number, transactions):
        choose = random.Random(f"{self.seed}/writer/{number}")
        self._lit.wait()
        for _ in range(transactions):
            kept, dropped = [], []
            try:
                self._transaction(choose, kept, dropped)
                for entry in kept:
                    receipts.issue(entry)
            except RolledBack:
                dropped += kept
                kept = []
            except Error as error:
                # Killed: before its commit, or after it and before the answer. Only the database knows.
                self._count("commit missing" if isinstance(error, receipts.NotCommitted) else "transaction broken")
                connections.close_all()
                kept, dropped = [], []
            with self._lock:
                self.acknowledged.update(entry.id for entry in kept)
                self.withdrawn.update(entry.id for entry in dropped)

    def _transaction(self, choose, kept, dropped):
        with transaction.atomic():
            for _ in range(choose.randint(1, 4)):
                kept.append(self._append())
                if choose.random() < 0.3:
                    with contextlib.suppress(RolledBack), transaction.atomic():
                        dropped.append(self._append())
                        raise RolledBack
            time.sleep(choose.random() * 0.003)
            if choose.random() < 0.15:
                raise RolledBack

    def _append(self):
        how = {"workspace": self.workspace, "actor": trails.ACTOR, "correlation_id": "fire", "now": datetime.now(UTC)}
        return log.append(trails.EVENT, **how)

    def _sequence(self):
        """One sequencer in this process, in small batches, whose backend is among those that are terminated."""
        while not self._written.is_set():
            self._surviving(lambda: sequencer.sequence(self.workspace, batch=7, using="sequencer"))

    def _publish(self):
        while not self._written.is_set():
            self._surviving(lambda: publisher.publish(self.workspace, using="publisher"))
            self._written.wait(0.02)

    def _surviving(self, step):
        try:
            step()
        except Error:
            self._count("integration broken")
            connections.close_all()

    def _terminate(self):
        choose = random.Random(f"{self.seed}/terminate")
        with trails.superuser() as connection:
            while not self._written.wait(choose.uniform(0.02, 0.12)):
                victims = [pid for (pid,) in connection.execute(_VICTIMS).fetchall()]
                if victims:
                    connection.execute("SELECT pg_terminate_backend(%s)", [choose.choice(victims)])
                    self._count("backend terminated")

    def _kill(self):
        """The other sequencer is a process of its own: each is ended by SIGKILL, and another one follows."""
        choose = random.Random(f"{self.seed}/kill")
        while not self._written.is_set():
            process = trails.manage("sequencer", "--interval", "0.01", "--batch", "7", process="sequencer")
            self._until_connected(process)
            self._lit.set()
            self._written.wait(choose.uniform(0.05, 0.4))
            os.kill(process.pid, signal.SIGKILL)
            output, _ = process.communicate()
            assert process.returncode == -signal.SIGKILL, output
            self._count("sequencer killed")

    def _until_connected(self, process):
        with trails.superuser() as connection:
            own = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'placet sequencer' AND pid <> ALL(%s)"
            before = [pid for (pid,) in connection.execute(_VICTIMS).fetchall()]
            while process.poll() is None and not self._written.is_set():
                if connection.execute(own, [before]).fetchone()[0]:
                    return
                time.sleep(0.02)

    def _count(self, what):
        with self._lock:
            self.faults[what] += 1


def seed():
    """Return the seed of this run: PLACET_FIRE_SEED, or a new one."""
    return int(os.environ.get("PLACET_FIRE_SEED") or secrets.randbelow(10**9))


def check(fire, *, sampled):
    """Prove what was promised from the rows alone: every committed record once, dense, under checkpoints that agree.

    :returns: what was counted, for people.
    """
    workspace = fire.workspace
    with connections["default"].cursor() as cursor:
        cursor.execute("SELECT id, body FROM audit_record WHERE workspace = %s", [workspace])
        records = {record: bytes(body) for record, body in cursor.fetchall()}
        cursor.execute("SELECT index, record FROM audit_leaf WHERE workspace = %s ORDER BY index", [workspace])
        leaves = cursor.fetchall()
        cursor.execute("SELECT count(*) FROM audit_pending WHERE workspace = %s", [workspace])
        assert cursor.fetchone()[0] == 0
    order = [record for _, record in leaves]
    assert [index for index, _ in leaves] == list(range(len(leaves))), "the indices are not dense"
    assert len(set(order)) == len(order), "a record is in the tree twice"
    assert set(order) == set(records), "a committed record is missing, or one is there that nobody committed"
    assert fire.acknowledged <= set(order), "an acknowledged record is missing"
    assert not fire.withdrawn & set(order), "what was rolled back is in the tree"
    tree = rfc6962.Leaves([rfc6962.leaf(records[record]) for record in order])
    signed = _checkpoints(workspace)
    for point in signed:
        assert tree.root(point.size) == point.root, f"the checkpoint of {point.size} records has another root"
    for old, new in pairwise(signed):
        path = proofs.consistency(workspace, old.size, new.size)
        given = (old.size, new.size, old.root, path)
        assert rfc6962.roots_by_consistency(*given) == (old.root, new.root)
        assert verify.consistent(old.size, old.root, new.size, new.root, path)
    choose = random.Random(f"{fire.seed}/proofs")
    for index in choose.sample(range(len(order)), min(sampled, len(order))):
        point = choose.choice([one for one in signed if one.size > index])
        proof = proofs.inclusion(workspace, order[index], point.size)
        own = rfc6962.leaf(records[order[index]])
        assert rfc6962.root_by_inclusion(own, index, point.size, proof.path) == point.root
        assert verify.included(own, index, point.size, proof.path, point.root)
    return {"records": len(order), "withdrawn": len(fire.withdrawn), "checkpoints": len(signed), **fire.faults}


def _checkpoints(workspace):
    """Return every checkpoint as its signed note says it, the oldest first."""
    rows, keys = checkpoints.newest(workspace, limit=100_000), publisher.pinned(workspace)
    assert verify.open_checkpoint(publisher.copy_path(workspace).read_text(), keys).size == rows[0].size
    return [verify.open_checkpoint(row.note, keys) for row in reversed(rows)]
