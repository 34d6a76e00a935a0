"""A pool of evaluator processes: started, watched, started again; what kills three of them is quarantined.

The pool owns the listening sockets (mode 0600), so callers that come while an evaluator is being replaced wait in
its backlog instead of being refused.
"""

import contextlib
import os
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path

import structlog

from gateway import affinity, wire
from gateway.evaluator import MARK_BYTES, Mark
from registry.admission import bounds

STRIKES = 3
_ROOT = Path(__file__).resolve().parent.parent
_BACKLOG = 128
_LOOK_SECONDS = 0.02
_STEADY_SECONDS = 5.0
_PAUSES = (0.0, 0.0, 0.5, 2.0)  # seconds before the n-th start in a row without a steady time
log = structlog.get_logger(__name__)


class Seat:
    """One evaluator's socket, and the process that serves it now. `born` counts its processes."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.mark_descriptor = os.memfd_create("placet-mark")
        os.ftruncate(self.mark_descriptor, MARK_BYTES)
        self.mark = Mark(self.mark_descriptor)
        path.unlink(missing_ok=True)
        self.listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.listening.bind(str(path))
        # Nobody can connect before we listen, so the mode is in time.
        path.chmod(0o600)
        self.listening.listen(_BACKLOG)
        self.process: subprocess.Popen[bytes] | None = None
        self.born = 0
        self.started = 0.0
        self.hasty = 0
        self.due = 0.0

    def close(self) -> None:
        """End the process and take the socket away."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
        self.listening.close()
        os.close(self.mark_descriptor)
        self.path.unlink(missing_ok=True)


class Pool:
    """`count` evaluators with sockets `<prefix>N.sock` in `directory`.

    :param keys: directory of bundle.pub. :param pin: whether each stays on a processor, see gateway.affinity.
    """

    def __init__(
        self, directory: Path, *, count: int, keys: Path, prefix: str = "evaluator-", pin: bool | None = False
    ) -> None:
        self._keys = keys
        self._pin = pin
        self._strikes: Counter[str] = Counter()
        self.quarantined: set[str] = set()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        for stale in directory.glob(f"{prefix}*.sock"):
            stale.unlink(missing_ok=True)
        self.seats = [Seat(directory / f"{prefix}{number}.sock") for number in range(count)]

    @property
    def paths(self) -> list[Path]:
        """Return the sockets."""
        return [seat.path for seat in self.seats]

    def start(self) -> None:
        """Start the evaluators and watch them from a thread of our own.

        The same thread starts them all: the kernel's parent-death signal is tied to the thread that forked.
        """
        self._thread = threading.Thread(target=self._watch, name="evaluators", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End the evaluators."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join(10)
        for seat in self.seats:
            seat.close()

    def tell(self, seat: Seat, frame: bytes, *, seconds: float = 5.0) -> dict[str, object]:
        """Send one frame to an evaluator and return the header of its answer. :raises OSError: it did not answer."""
        until = time.monotonic() + seconds
        with contextlib.closing(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)) as connected:
            connected.settimeout(seconds)
            connected.connect(str(seat.path))
            connection = wire.Connection(connected)
            connection.send(frame, until=until)
            return connection.receive(until=until)[0]

    def _watch(self) -> None:
        while not self._stop.is_set():
            for seat in self.seats:
                if seat.process is not None and seat.process.poll() is not None:
                    self._bury(seat, seat.process.returncode)
                if seat.process is None and time.monotonic() >= seat.due:
                    self._start(seat)
            self._stop.wait(_LOOK_SECONDS)

    def _start(self, seat: Seat) -> None:
        command = [sys.executable, "-m", "gateway.evaluator", "--parent", str(os.getpid()), "--keys", str(self._keys)]
        passed = (seat.listening.fileno(), seat.mark_descriptor)
        command += ["--listen", str(passed[0]), "--mark", str(passed[1]), "--quarantined", *sorted(self.quarantined)]
        seat.mark.clear()
        seat.process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd=_ROOT,
            env=bounds.ENVIRONMENT,
            pass_fds=passed,
        )
        place = self.seats.index(seat)
        affinity.stay(seat.process.pid, affinity.cpu_of(place, of=len(self.seats), pin=self._pin))
        seat.born += 1
        seat.started = time.monotonic()

    def _bury(self, seat: Seat, code: int) -> None:
        """Note who killed an evaluator, and let the next one come: at once, unless it dies young again and again."""
        culprit = seat.mark.read()
        log.warning("evaluator ended", code=code, socket=seat.path.name, evaluating=culprit or None)
        steady = time.monotonic() - seat.started > _STEADY_SECONDS
        seat.hasty = 0 if steady or culprit else seat.hasty + 1
        seat.process, seat.due = None, time.monotonic() + _PAUSES[min(seat.hasty, len(_PAUSES) - 1)]
        if not culprit:
            return
        self._strikes[culprit] += 1
        if self._strikes[culprit] >= STRIKES and culprit not in self.quarantined:
            log.error("policy quarantined", policy=culprit, strikes=STRIKES)
            self.quarantined.add(culprit)
            for other in self.seats:
                if other is not seat and other.process is not None:
                    self._forbid(other, culprit)

    def _forbid(self, seat: Seat, key: str) -> None:
        """Tell an evaluator in the background: it may be busy until its watchdog ends it, and then learns anew."""

        def tell() -> None:
            with contextlib.suppress(OSError):
                self.tell(seat, wire.pack({"op": "quarantine", "key": key}), seconds=30.0)

        threading.Thread(target=tell, daemon=True).start()
