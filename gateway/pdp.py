"""The PDP: hands one decision input to a policy engine and brings back a decision. It never raises.

Every failure is a deny with a code of its own (docs/reference/policies.md). The engine is chosen by settings: one
class per engine, all with `evaluate`. The embedded one asks the evaluators over private sockets; a caller goes to
another evaluator when the first is busy with something long, so one bad policy does not hold up the others' calls.
"""

import atexit
import contextlib
import functools
import os
import random
import socket
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn, Protocol
from uuid import UUID

import jsonschema_rs
import orjson
import structlog
from django.conf import settings

from audit import canonical
from gateway import decision, evaluators, wire
from gateway.decision import Decision
from registry import bundles, policies

_HEDGE_SECONDS = 0.05  # how long an evaluator may leave a request lying before another one is asked
_PAUSE_SECONDS = 0.005
_OVERRUN = 0.8  # an evaluation that was cut off after this share of its limit was too slow, else it crashed
log = structlog.get_logger(__name__)


class PdpFailed(Exception):
    """No decision. `code`: the reason code; `detail`: for people, without values from the input."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(f"{code}: {detail}")
        self.code = code
        self.detail = detail


@dataclass(frozen=True)
class Question:
    """What an engine needs. `until`: monotonic time of the caller's deadline; `policy`: digest of the release's."""

    document: bytes
    workspace: UUID
    environment: str
    revision: str
    policy: str
    until: float


class Engine(Protocol):
    """A policy engine behind the PDP."""

    def evaluate(self, question: Question) -> tuple[bytes, str]:
        """Return (JSON of data.placet.decision, engine name). :raises PdpFailed:"""


def decide(
    document: Mapping[str, Any], *, workspace: UUID, environment: str, revision: str, deadline_ms: int
) -> Decision:
    """Return the decision on `document` (decision-input.v1.json) under the bundle `revision`; a deny if in doubt.

    :param deadline_ms: wall time that the caller gives; one evaluation may take at most
        PLACET_DECISION_TIMEOUT_MS of CPU.
    """
    name = ""
    try:
        until = time.monotonic() + deadline_ms / 1000
        raw = _checked(document)
        policy = str(document["agent"]["policy"])
        result, name = engine().evaluate(Question(raw, workspace, environment, revision, policy, until))
        answer = decision.parse(orjson.loads(result), engine=name, revision=revision)
    except PdpFailed as failed:
        answer = decision.deny(failed.code, failed.detail, revision=revision)
    except Exception as error:
        # Every failure of the PDP is a deny.
        log.error("pdp failed", error=type(error).__name__, exc_info=True)
        answer = decision.deny("pdp_error", "The decision point failed.", engine=name, revision=revision)
    return answer


@functools.cache
def engine() -> Engine:
    """Return the engine that settings.PLACET_PDP names."""
    name = settings.PLACET_PDP
    if name not in ENGINES:
        raise ValueError(f"PLACET_PDP must be one of {', '.join(ENGINES)}, got {name!r}.")
    return ENGINES[name]()


class Embedded:
    """regorus in evaluator processes."""

    def __init__(self) -> None:
        self._local = threading.local()

    def evaluate(self, question: Question) -> tuple[bytes, str]:
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
        turn = random.randrange(len(paths)) if paths else 0  # noqa: S311 - spreads load, keeps no secret
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

    def _ask(self, connection: wire.Connection, question: Question, frame: bytes, limit: float) -> tuple[bytes, str]:
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
        return payload, str(header["engine"])

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


ENGINES: dict[str, type[Engine]] = {"embedded": Embedded}


def load_frame(workspace: UUID, environment: str, revision: str, raw: bytes) -> bytes:
    """Return the frame that gives an evaluator a bundle."""
    header = {"op": "load", "workspace": str(workspace), "environment": environment, "revision": revision}
    return wire.pack(header, raw)


def pool(*, prefix: str = "evaluator-") -> evaluators.Pool:
    """Return a new pool as settings say; the caller starts it."""
    count = settings.PLACET_EVALUATORS or os.cpu_count() or 1
    return evaluators.Pool(settings.PLACET_SOCKETS, count=count, keys=settings.PLACET_KEYS, prefix=prefix)


def _refused(header: Mapping[str, Any]) -> NoReturn:
    raise PdpFailed(str(header.get("code", "pdp_error")), str(header.get("detail", "The evaluator gave no answer.")))


@functools.cache
def _validator() -> jsonschema_rs.Draft202012Validator:
    schema = orjson.loads((policies.SCHEMAS / "decision-input.v1.json").read_bytes())
    return jsonschema_rs.Draft202012Validator(schema, offline=True)


def _checked(document: Mapping[str, Any]) -> bytes:
    """Return the canonical bytes of an input that the frozen schema accepts. :raises PdpFailed: input_invalid."""
    if not _validator().is_valid(document):
        error = next(iter(_validator().iter_errors(document)))
        place = "".join(f"/{step}" for step in error.instance_path) or "/"
        raise PdpFailed("input_invalid", f"The decision input does not fit its schema at {place} ({error.kind.name}).")
    try:
        return canonical.dumps(document)
    except canonical.NotCanonical as error:
        raise PdpFailed("input_invalid", "The decision input has no canonical JSON form.") from error


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
