"""Web processes and evaluators stay on a processor where they have one each."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from gateway import affinity
from gateway.evaluators import Pool

ROOT = Path(__file__).resolve().parents[2]
CPUS = sorted(os.sched_getaffinity(0))
_SETTLE = """
import os, sys, threading, time
from pathlib import Path
from gateway import affinity
threading.Thread(target=time.sleep, args=[60], daemon=True).start()
place = affinity.settle(Path(sys.argv[1]), workers=2, pin=True)
threads = map(int, os.listdir("/proc/self/task"))
print(place, sorted({cpu for one in threads for cpu in os.sched_getaffinity(one)}), flush=True)
sys.stdin.read()
"""


@pytest.fixture
def web(tmp_path):
    """Start a process that settles as a web process does; return it, its place and its threads' processors."""
    started = []

    def start():
        process = subprocess.Popen(
            [sys.executable, "-c", _SETTLE, str(tmp_path / "sockets")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
        )
        started.append(process)
        place, _, cpus = process.stdout.readline().strip().partition(" ")
        return process, place, cpus

    yield start
    for process in started:
        process.kill()
        process.wait()
        process.stdin.close()
        process.stdout.close()


def test_each_web_process_has_a_place_and_a_processor_and_a_dead_ones_place_is_free_again(web):
    first, *where = web()
    assert where == ["0", str([CPUS[0]])]
    assert web()[1:] == ("1", str([CPUS[1 % len(CPUS)]]))
    assert web()[1:] == ("None", str(CPUS))
    first.kill()
    first.wait()
    assert web()[1:] == ("0", str([CPUS[0]]))


def test_where_processes_and_processors_differ_in_number_nothing_is_pinned_unless_one_says_so():
    assert affinity.cpu_of(0, of=len(CPUS), pin=None) == CPUS[0]
    assert affinity.cpu_of(0, of=len(CPUS) + 1, pin=None) is None
    assert affinity.cpu_of(0, of=len(CPUS) + 1, pin=True) == CPUS[0]
    assert affinity.cpu_of(0, of=len(CPUS), pin=False) is None


def test_a_process_that_is_gone_or_may_not_be_pinned_is_let_be():
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    affinity.stay(gone.pid, CPUS[0])
    affinity.stay(os.getpid(), 10_000)  # no such processor
    assert sorted(os.sched_getaffinity(0)) == CPUS


@pytest.mark.parametrize(("pin", "cpus"), [(True, CPUS[:1]), (False, CPUS)])
def test_an_evaluator_stays_on_its_processor_also_after_it_was_killed(tmp_path, pin, cpus):
    pool = Pool(tmp_path, count=1, keys=tmp_path, pin=pin)
    pool.start()
    try:
        for born in (1, 2):
            process = _running(pool, born)
            assert sorted(os.sched_getaffinity(process.pid)) == cpus
            process.kill()
    finally:
        pool.stop()


def _running(pool, born):
    until = time.monotonic() + 20
    while pool.seats[0].born < born or pool.seats[0].process is None:
        assert time.monotonic() < until
        time.sleep(0.01)
    return pool.seats[0].process
