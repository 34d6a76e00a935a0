"""The embedded engine: asks the evaluators over private sockets.

A caller goes to another evaluator when the first is busy with something long, so one bad policy does not hold up the
others' calls.
"""

import atexit
import contextlib
import itertools
import os
import socket
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn
from uuid import UUID

import structlog
from django.conf import settings

from gateway import affinity, evaluators, wire
from gateway.pdp.question import PdpFailed, Question, Reply
from registry import bundles

_HEDGE_SECONDS = 0.05  # how long an evaluator may leave a request lying before another one is asked
_PAUSE_SECONDS = 0.005
_OVERRUN = 0.8  # an evaluation that was cut off after this share of its limit was too slow, else it crashed
log = structlog.get_logger(__name__)


class Embedded:
    """regorus in evaluator processes."""

    def __init__(self) -> None:
        self._local = threading.local()
        self._turns = itertools.count(os.getpid())  # processes do not all begin with the same one

    def evaluate(self, question: Question) -> Reply:
        """Ask one evaluator after another until one has started on the question. :raises PdpFailed:"""
        limit_ms = settings.PLACET_DECISION_TIMEOUT_MS
        frame = wire.pack(
            {
                "op": "decide",
                "workspace": str(question.workspace),
                "environment": question.environment,
                "revision": question.revision,
                "policy": question.policy,
                "until": question.until,
                "limit_ms": limit_ms,
            },
            question.document,
        )
        paths = _sockets()
        turn = self._turn()
        reached = False
        while time.monotonic() < question.until:
            if not paths:
                raise PdpFailed("pdp_unavailable", "No evaluator is running.")
            path = paths[turn % len(paths)]
            turn += 1
            connection = self._connection(path)
            if connection is None:
                if turn % len(paths) == 0:
                    time.sleep(_PAUSE_SECONDS)
                continue
            reached = True
            try:
                return self._ask(connection, question, frame, limit_ms / 1000)
            except (wire.Closed, wire.Late):
                # It had not started: the question is still ours to ask.
                self._drop(path)
            except PdpFailed as failed:
                if failed.code in ("pdp_timeout", "pdp_crashed", "policy_panic"):
                    self._drop(path)
                raise
        if reached:
            raise PdpFailed("pdp_timeout", "No evaluator came to the question in time.")
        raise PdpFailed("pdp_unavailable", "No evaluator could be reached.")

    def _ask(self, connection: wire.Connection, question: Question, frame: bytes, limit: float) -> Reply:
        """Ask one evaluator. :raises wire.Closed, wire.Late: it did not start; PdpFailed: it has answered, or died."""
        connection.send(frame, until=question.until)
        hedge = min(question.until, time.monotonic() + _HEDGE_SECONDS)
        header, payload = connection.receive(until=hedge)
        if header["state"] == "unknown":
            self._load(connection, question)
            connection.send(frame, until=question.until)
            header, payload = connection.receive(until=question.until)
        if header["state"] == "started":
            began = time.monotonic()
            try:
                header, payload = connection.receive(until=question.until)
            except wire.Late:
                raise PdpFailed("pdp_timeout", "The evaluation took too long.") from None
            except wire.Closed:
                if time.monotonic() - began >= limit * _OVERRUN:
                    raise PdpFailed("pdp_timeout", "The evaluation took too long and was ended.") from None
                raise PdpFailed("pdp_crashed", "The evaluator crashed over this call.") from None
        if header["state"] != "done":
            _refused(header)
        return Reply(payload, str(header["engine"]), question.revision)

    def _load(self, connection: wire.Connection, question: Question) -> None:
        """Give the evaluator the bundle, which it verifies. :raises PdpFailed: there is none, or it is refused."""
        raw = bundles.find(question.workspace, question.environment, question.revision)
        if raw is None:
            raise PdpFailed("bundle_unknown", "There is no bundle of this revision.")
        frame = load_frame(question.workspace, question.environment, question.revision, raw)
        connection.send(frame, until=question.until)
        header, _ = connection.receive(until=question.until)
        if header["state"] != "done":
            _refused(header)
        if header.get("left_out"):
            log.error("bundle holds what is out of place", revision=question.revision, left_out=header["left_out"])

    def _turn(self) -> int:
        """Return which evaluator this thread asks first: always the same, whose caches are warm, and each its own."""
        if affinity.number is not None:
            return affinity.number  # the one on our own processor
        turn: int | None = getattr(self._local, "turn", None)
        if turn is None:
            turn = self._local.turn = next(self._turns)
        return turn

    def _connection(self, path: Path) -> wire.Connection | None:
        """Return this thread's connection to an evaluator, None if there is nobody."""
        if getattr(self._local, "pid", None) != os.getpid():
            # After a fork the parent's connections are the parent's.
            self._local.pid, self._local.connections = os.getpid(), {}
        known: dict[Path, wire.Connection] = self._local.connections
        if path not in known:
            connected = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            connected.settimeout(_HEDGE_SECONDS)
            try:
                connected.connect(str(path))
            except OSError:
                connected.close()
                return None
            known[path] = wire.Connection(connected)
        return known[path]

    def _drop(self, path: Path) -> None:
        connection = self._local.connections.pop(path, None)
        if connection is not None:
            connection.close()


def load_frame(workspace: UUID, environment: str, revision: str, raw: bytes) -> bytes:
    """Return the frame that gives an evaluator a bundle."""
    header = {"op": "load", "workspace": str(workspace), "environment": environment, "revision": revision}
    return wire.pack(header, raw)


def pool(*, prefix: str = "evaluator-") -> evaluators.Pool:
    """Return a new pool as settings say; the caller starts it."""
    count = settings.PLACET_EVALUATORS or os.cpu_count() or 1
    return evaluators.Pool(
        settings.PLACET_SOCKETS,
        count=count,
        keys=settings.PLACET_KEYS,
        prefix=prefix,
        pin=settings.PLACET_PIN_CPUS,
    )


def _refused(header: Mapping[str, Any]) -> NoReturn:
    raise PdpFailed(str(header.get("code", "pdp_error")), str(header.get("detail", "The evaluator gave no answer.")))


_private_lock = threading.Lock()
_private: dict[int, evaluators.Pool] = {}


def _sockets() -> list[Path]:
    """Return the sockets of the running pool; in tests, of one of this process's own if there is none."""
    names = sorted(name for name in os.listdir(settings.PLACET_SOCKETS) if name.startswith("evaluator-"))
    shared = [settings.PLACET_SOCKETS / name for name in names]
    if not shared and settings.PLACET_PRIVATE_EVALUATORS:
        return _private_pool().paths
    return shared


def _private_pool() -> evaluators.Pool:
    with _private_lock:
        found = _private.get(os.getpid())
        if found is None:
            found = _private[os.getpid()] = pool(prefix=f"private-{os.getpid()}-")
            found.start()
            atexit.register(_end_private, os.getpid())
        return found


def _end_private(pid: int) -> None:
    if pid == os.getpid():
        with contextlib.suppress(KeyError):
            _private.pop(pid).stop()
