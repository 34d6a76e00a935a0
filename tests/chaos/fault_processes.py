"""Processes that are killed, that stop and go on as zombies, and that there are two of."""

import contextlib
import signal
import subprocess
import sys

from config import supervisor
from tests.chaos.faults import NothingThere, fault
from tests.chaos.site import LEASE_SECONDS, children, send

ZOMBIE_SECONDS = LEASE_SECONDS * 1.6


def _child_of(ops, name, chance):
    """Return the pid of some child of a process."""
    found = children(ops.pid(name))
    if not found:
        raise NothingThere(f"{name} has no child just now")
    return chance.choice(found)


def _serves(ops):
    """Do nothing if the web process answers: one that is starting is left alone, or there would be no load at all."""
    if not ops.site.ready():
        raise NothingThere("web")


def _kill(ops, name):
    """SIGKILL a process with all that it has started."""
    pid = ops.pid(name)
    pids = [pid, *children(pid)]
    held = ops.recoveries.held(pids)
    send(pid, group=True)
    ops.recoveries.watch(f"kill_{name}", held)
    return f"{name} {pid}, {len(held)} steps held"


@fault(weight=10)
def kill_worker_child(ops, chance):
    """SIGKILL one of the processes that work on steps."""
    busy = ops.rows("SELECT split_part(lease_owner, '/', 2)::int FROM agents_step WHERE state = 'leased'")
    pool = children(ops.pid("worker"))
    # One with a step in its hands, if there is one: that is the moment that matters.
    pids = [pid for (pid,) in busy if pid in pool] or pool
    if not pids:
        raise NothingThere("worker")
    pid = chance.choice(pids)
    held = ops.recoveries.held([pid])
    send(pid)
    ops.recoveries.watch("kill_worker_child", held)
    return f"{pid}, {len(held)} steps held"


@fault(weight=3)
def kill_worker(ops, chance):
    """SIGKILL the worker with all its processes."""
    return _kill(ops, "worker")


@fault(weight=2)
def kill_worker_parent(ops, chance):
    """SIGKILL the worker's parent alone: its children are orphans in the middle of their work."""
    pid = ops.pid("worker")
    send(pid)
    return str(pid)


@fault(weight=4, rest=4.0)
def kill_web_child(ops, chance):
    """SIGKILL a web worker in the middle of its requests."""
    _serves(ops)
    pid = _child_of(ops, "web", chance)
    send(pid)
    return str(pid)


@fault(weight=1, rest=20.0)
def kill_web(ops, chance):
    """SIGKILL the web server with all its workers."""
    _serves(ops)
    return _kill(ops, "web")


@fault(weight=5)
def kill_evaluator(ops, chance):
    """SIGKILL one process that evaluates policies."""
    pid = _child_of(ops, "evaluators", chance)
    send(pid)
    return str(pid)


@fault(weight=1, rest=10.0)
def kill_evaluators(ops, chance):
    """SIGKILL all of them."""
    return _kill(ops, "evaluators")


@fault(weight=3)
def kill_sweeper(ops, chance):
    """SIGKILL the sweeper."""
    return _kill(ops, "sweeper")


@fault(weight=4)
def kill_sequencer(ops, chance):
    """SIGKILL the sequencer."""
    return _kill(ops, "sequencer")


@fault(weight=4)
def kill_publisher(ops, chance):
    """SIGKILL the publisher."""
    return _kill(ops, "publisher")


@fault(weight=3)
def kill_bundler(ops, chance):
    """SIGKILL the bundler."""
    return _kill(ops, "bundler")


@fault(weight=1, rest=60.0)
def kill_supervisor(ops, chance):
    """SIGKILL the supervisor; an operator starts it again, at once."""
    ops.site.process.kill()
    ops.site.process.wait()
    ops.site.up()
    return "started again"


@fault(weight=4)
def stop_worker_child(ops, chance):
    """Let a worker sleep for longer than its lease, and wake up as a zombie that believes it still has the step."""
    pid = _child_of(ops, "worker", chance)
    held = ops.recoveries.held([pid])
    send(pid, signal.SIGSTOP)
    ops.recoveries.watch("stop_worker_child", held)
    ops.later(ZOMBIE_SECONDS, lambda: send(pid, signal.SIGCONT))
    return f"{pid}, {len(held)} steps held"


@fault(weight=2)
def stop_web_child(ops, chance):
    """Let a web worker sleep in the middle of its requests."""
    _serves(ops)
    pid = _child_of(ops, "web", chance)
    send(pid, signal.SIGSTOP)
    ops.later(chance.uniform(0.5, ZOMBIE_SECONDS), lambda: send(pid, signal.SIGCONT))
    return str(pid)


@fault(weight=2)
def stop_something(ops, chance):
    """Let one of the small processes sleep, and wake up with what it knew before."""
    name = chance.choice(["sequencer", "publisher", "bundler", "sweeper"])
    pid = ops.pid(name)
    send(pid, signal.SIGSTOP)
    ops.later(chance.uniform(1.0, 6.0), lambda: send(pid, signal.SIGCONT))
    return f"{name} {pid}"


@fault(weight=2, rest=8.0)
def two_sequencers(ops, chance):
    """Run another sequencer beside the one that there is, and kill it in the end."""
    return _second(ops, chance, "sequencer")


@fault(weight=2, rest=8.0)
def two_publishers(ops, chance):
    """Run another publisher beside the one that there is, and kill it in the end."""
    return _second(ops, chance, "publisher")


@fault(weight=1, rest=8.0)
def two_sweepers(ops, chance):
    """Run another sweeper beside the one that there is, and kill it in the end."""
    return _second(ops, chance, "sweeper")


def _second(ops, chance, name):
    role = {"sweeper": "worker"}.get(name, name)
    command = [sys.executable, *supervisor.python(name)[1:]]
    environment = ops.site.environment | {"PLACET_PROCESS": role}
    process = subprocess.Popen(command, env=environment, stdout=ops.site.log, stderr=ops.site.log, cwd="/")
    ops.extra.append(process)

    def end():
        process.kill()
        process.wait()

    seconds = chance.uniform(4.0, 12.0)
    ops.later(seconds, end)
    return f"{name} {process.pid} for {seconds:.0f} s"


def heal(ops):
    """Let everything run that sleeps."""
    for name, pid in ops.site.pids().items():
        for each in (pid, *children(pid)):
            if name != "supervisor":
                send(each, signal.SIGCONT)
    for process in ops.extra:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
            process.wait()
