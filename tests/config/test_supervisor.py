"""The supervisor keeps processes alive and leaves none behind."""

import os
import signal
import sys
import threading
import time
from types import SimpleNamespace

from config.stack import Stack
from config.supervisor import Child, Supervisor

SLEEPER = [sys.executable, "-c", "import time; print('up', flush=True); time.sleep(600)"]


def supervised(*children):
    lines = []
    supervisor = Supervisor(list(children), write=lambda name, line: lines.append((name, line)))
    supervisor.start()
    thread = threading.Thread(target=supervisor.watch, kwargs={"also": lambda: None})
    thread.start()
    return supervisor, thread, lines


def wait_for(condition):
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.02)


def test_a_killed_process_is_started_again_and_its_output_is_prefixed():
    child = Child("sleeper", SLEEPER, {})
    supervisor, thread, lines = supervised(child)
    try:
        wait_for(lambda: ("sleeper", "up") in lines)
        first = child.process.pid
        os.kill(first, signal.SIGKILL)
        wait_for(lambda: child.process.pid != first and child.process.poll() is None)
        wait_for(lambda: lines.count(("sleeper", "up")) == 2)
        assert any(name == "placet" and "sleeper ended with -9" in line for name, line in lines)
    finally:
        supervisor.end()
        thread.join()
        supervisor.stop()


def test_a_process_that_keeps_dying_is_restarted_after_longer_and_longer_pauses():
    child = Child("broken", [sys.executable, "-c", "raise SystemExit(3)"], {}, pause=0.01)
    supervisor, thread, _lines = supervised(child)
    try:
        wait_for(lambda: child.pause >= 0.08)
    finally:
        supervisor.end()
        thread.join()
        supervisor.stop()


def test_what_dies_before_everything_is_ready_is_not_waited_for(tmp_path):
    child = Child("broken", [sys.executable, "-c", "raise SystemExit(3)"], {}, pause=0.01)
    whole = Stack.__new__(Stack)
    whole.environment = SimpleNamespace(loopback="127.0.0.1:9", placet_home=tmp_path)
    whole.database = whole.broker = None
    whole.pids, whole.supervisor = {}, Supervisor([child], write=lambda name, line: None)
    whole.supervisor.start()
    first = child.process.pid
    try:
        assert not whole.wait_until_ready(timeout=3)
        assert child.process.pid != first
        assert '"broken"' in (tmp_path / "processes.json").read_text()
    finally:
        whole.supervisor.stop()


def test_stopping_ends_every_process_even_one_that_ignores_the_request():
    stubborn = "import signal, time; signal.signal(15, signal.SIG_IGN); print('up', flush=True); time.sleep(600)"
    child = Child("stubborn", [sys.executable, "-c", stubborn], {}, grace=0.3)
    supervisor, thread, lines = supervised(child, Child("sleeper", SLEEPER, {}))
    wait_for(lambda: len([line for _, line in lines if line == "up"]) == 2)
    supervisor.end()
    thread.join()
    supervisor.stop()
    assert [one.process.poll() for one in supervisor.children] == [-signal.SIGKILL, -signal.SIGTERM]
