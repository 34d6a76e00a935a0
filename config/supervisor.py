"""`manage.py up`: start every process in order, keep them alive, stop them cleanly."""

import contextlib
import functools
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from config.embedded import processes

FIRST_PAUSE, LONGEST_PAUSE = 0.5, 10.0  # seconds between a death and the restart
STEADY = 30.0  # seconds alive after which a death counts as the first
Print = Callable[[str, str], None]


@dataclass
class Child:
    """One process that we keep alive. `grace`: seconds between SIGTERM and SIGKILL."""

    name: str
    command: list[str]
    environment: dict[str, str]
    grace: float = 10.0
    process: subprocess.Popen[bytes] | None = None
    started: float = 0.0
    pause: float = FIRST_PAUSE
    due: float = 0.0  # monotonic time of the next start, while it is dead

    def start(self, write: Print) -> None:
        """Start the process; its output is passed on line by line with its name in front."""
        self.process = subprocess.Popen(
            self.command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=os.environ | self.environment,
            process_group=0,
            preexec_fn=functools.partial(processes.die_with_parent, signal.SIGTERM),
        )
        self.started, self.due = time.monotonic(), 0.0
        threading.Thread(target=_pass_on, args=(self.process, self.name, write), daemon=True).start()

    def watch(self, write: Print) -> None:
        """Restart a dead process, each time after a longer pause."""
        if self.process is None or self.process.poll() is None:
            return
        now = time.monotonic()
        if not self.due:
            if now - self.started > STEADY:
                self.pause = FIRST_PAUSE
            write(
                "placet", f"{self.name} ended with {self.process.returncode}; starting it again in {self.pause:.1f} s"
            )
            self.due, self.pause = now + self.pause, min(self.pause * 2, LONGEST_PAUSE)
        elif now >= self.due:
            self.start(write)

    def ask(self) -> None:
        """Ask it to end."""
        if self.process is not None and self.process.poll() is None:
            _signal_group(self.process, signal.SIGTERM)

    def wait(self, asked: float) -> None:
        """Wait until it has ended; end it once its grace since `asked` (monotonic seconds) is over."""
        if self.process is None:
            return
        try:
            self.process.wait(max(0.0, asked + self.grace - time.monotonic()))
        except subprocess.TimeoutExpired:
            _signal_group(self.process, signal.SIGKILL)
            self.process.wait()


class Supervisor:
    """Runs children in the order given until it is told to stop."""

    def __init__(self, children: list[Child], *, write: Print) -> None:
        self.children = children
        self.write = write
        self.ended = threading.Event()

    def end(self, *_: object) -> None:
        """Stop soon: the handler of SIGINT and SIGTERM."""
        self.ended.set()

    def start(self, children: list[Child] | None = None) -> None:
        """Start `children`, or all."""
        for child in self.children if children is None else children:
            child.start(self.write)

    def watch(self, *, also: Callable[[], None]) -> None:
        """Keep the children alive until `end`; `also` is called each round and may restart what we do not hold."""
        while not self.ended.wait(0.2):
            self.look(also=also)

    def look(self, *, also: Callable[[], None]) -> None:
        """Restart what has died and is due."""
        also()
        for child in self.children:
            child.watch(self.write)

    def pids(self) -> dict[str, int]:
        """Return the pid of each process that was started, by name."""
        return {child.name: child.process.pid for child in self.children if child.process is not None}

    def stop(self) -> None:
        """Stop all children: what they were doing is in the database, so their order does not matter."""
        asked = time.monotonic()
        for child in self.children:
            child.ask()
        for child in self.children:
            child.wait(asked)


def python(*arguments: str) -> list[str]:
    """Return a command of this interpreter and this checkout."""
    return [sys.executable, str(Path(__file__).resolve().parent.parent / "manage.py"), *arguments]


def write(name: str, line: str) -> None:
    """Print one line of the process `name`."""
    sys.stdout.write(f"{name:<11}| {line}\n")
    sys.stdout.flush()


def _pass_on(process: subprocess.Popen[bytes], name: str, write: Print) -> None:
    assert process.stdout is not None  # noqa: S101 - narrows the type
    for line in process.stdout:
        with contextlib.suppress(ValueError, OSError):  # our own output is closed: we are ending
            write(name, line.decode(errors="replace").rstrip("\n"))


def _signal_group(process: subprocess.Popen[bytes], sign: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, sign)
