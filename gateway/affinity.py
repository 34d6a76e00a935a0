"""CPU affinity: a web process stays on one processor, and so does the evaluator that it asks first.

Python works on one processor at a time, but the kernel wakes its threads on whichever is free, and each move leaves
the caches behind. Linux only; elsewhere nothing is pinned.
"""

import contextlib
import fcntl
import os
from pathlib import Path

_held: list[int] = []
number: int | None = None  # of this web process among those on the machine, None if it is not pinned


def cpu_of(place: int, *, of: int, pin: bool | None) -> int | None:
    """Return the processor for number `place` of `of` processes, None if they are to go where the kernel likes.

    :param pin: None: only where there are as many processes as processors, each of which has one to itself then. Where
        processors are shared with others, the kernel knows better.
    """
    if pin is False or not hasattr(os, "sched_getaffinity"):
        return None
    allowed = sorted(os.sched_getaffinity(0))
    if pin is None and len(allowed) != of:
        return None
    return allowed[place % len(allowed)]


def settle(directory: Path, *, workers: int, pin: bool | None) -> int | None:
    """Take the first free place among the web processes and stay on its processor; return the place, None if none.

    The place is a lock on a file in `directory`, which the kernel gives back whenever the process ends.
    """
    global number
    if cpu_of(0, of=workers, pin=pin) is None:
        return None
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    for place in range(workers):
        held = os.open(directory / f"web-{place}.place", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(held)
            continue
        _held.append(held)
        stay(os.getpid(), cpu_of(place, of=workers, pin=pin))
        number = place
        return place
    return None


def stay(pid: int, cpu: int | None) -> None:
    """Keep all threads of a process, and those that they start, on a processor; None: where they are."""
    if cpu is None:
        return
    # What has ended meanwhile needs no place; where a sandbox forbids it, or hides /proc, nothing is pinned.
    with contextlib.suppress(OSError):
        for thread in os.listdir(f"/proc/{pid}/task"):
            with contextlib.suppress(OSError):
                os.sched_setaffinity(int(thread), {cpu})
