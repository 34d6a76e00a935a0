"""Shadow mode: the first engine decides, the second is asked the same at the same time, and differences are told.

If the two answer and one of them denies, the call is denied: the same signed text means two things, and nobody can
say which of them was approved (docs/adr). A second engine that does not answer changes nothing: it is on trial, and a
trial must not take calls down.
"""

import hashlib
import os
import threading
import time
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace

import orjson
import structlog
from django.db import connection

from audit import canonical
from audit.canonical import JSON
from gateway import decision, telemetry
from gateway.decision import Decision
from gateway.pdp.question import Engine, PdpFailed, Question, Reply

PATIENCE_SECONDS = 0.1  # how long the second engine's answer is waited for once the first has answered
REST_SECONDS = 1.0  # how long a second engine that did not answer is left alone
THREADS = 16
log = structlog.get_logger(__name__)


class Shadow:
    """`first` decides, `second` is compared."""

    def __init__(self, first: Engine, second: Engine) -> None:
        self._first = first
        self._second = second
        self._lock = threading.Lock()
        self._pid = 0
        self._pool: ThreadPoolExecutor | None = None
        self._rested = 0.0

    def evaluate(self, question: Question) -> Reply:
        """Return what `first` says. :raises PdpFailed: it failed; pdp_differed: the two differ in what they allow."""
        asked = self._ask(question)
        own: Reply | PdpFailed
        try:
            own = self._first.evaluate(question)
        except PdpFailed as failed:
            own = failed
        other = self._heard(asked, question)
        difference = _difference(own, other) if other is not None else None
        if difference is not None:
            for what in difference["differs"]:
                telemetry.DIFFERENCES.labels(what).inc()
            log.error("engines differ", environment=question.environment, **difference)
        if isinstance(own, PdpFailed):
            raise PdpFailed(own.code, own.detail, difference)
        if difference is not None and "allow" in difference["differs"]:
            raise PdpFailed("pdp_differed", "Two policy engines disagree on whether this is allowed.", difference)
        # OPA has logged its own answer: whoever compares its log with our trail finds it by this.
        asked_as = other.decision_id if isinstance(other, Reply) else ""
        return replace(own, difference=difference, decision_id=asked_as)

    def _ask(self, question: Question) -> "Future[Reply] | None":
        if time.monotonic() < self._rested:
            telemetry.SHADOWED.labels("away").inc()
            return None
        return self._threads().submit(self._evaluate, question)

    def _evaluate(self, question: Question) -> Reply:
        try:
            return self._second.evaluate(question)
        finally:
            connection.close()  # hardly ever opened; no thread of ours keeps one

    def _heard(self, asked: "Future[Reply] | None", question: Question) -> Reply | PdpFailed | None:
        """Return what the second engine said, None if nothing."""
        if asked is None:
            return None
        left = question.until - time.monotonic()
        try:
            other = asked.result(max(0.0, min(left, PATIENCE_SECONDS)))
        except TimeoutError:
            self._missed("late")
            return None
        except PdpFailed as failed:
            if failed.code.startswith("policy_"):
                telemetry.SHADOWED.labels("compared").inc()
                return failed
            self._missed(failed.code)
            return None
        except Exception as error:
            # Not of a kind that we know: still no answer, and a trial takes no calls down.
            log.error("the second engine broke", error=type(error).__name__, exc_info=True)
            self._missed("error")
            return None
        telemetry.SHADOWED.labels("compared").inc()
        return other

    def _missed(self, why: str) -> None:
        telemetry.SHADOWED.labels(why).inc()
        log.warning("the second engine gave no decision", why=why)
        self._rested = time.monotonic() + REST_SECONDS

    def _threads(self) -> ThreadPoolExecutor:
        with self._lock:
            if self._pool is None or self._pid != os.getpid():
                self._pid, self._pool = os.getpid(), ThreadPoolExecutor(THREADS, thread_name_prefix="pdp-shadow")
            return self._pool


def _difference(own: Reply | PdpFailed, other: Reply | PdpFailed) -> dict[str, JSON] | None:
    """Return what differs, and digests of both decisions; None if they are alike."""
    first, second = _decision(own), _decision(other)
    parts = _parts(first), _parts(second)
    differs = sorted(name for name in parts[0] if parts[0][name] != parts[1][name])
    if not differs:
        return None
    return {
        "differs": differs,
        "first": {"engine": _engine(own), "revision": first.revision, "decision": _digest(parts[0])},
        "second": {"engine": _engine(other), "revision": second.revision, "decision": _digest(parts[1])},
    }


def _decision(said: Reply | PdpFailed) -> Decision:
    if isinstance(said, PdpFailed):
        return decision.deny(said.code, said.detail)
    try:
        return decision.parse(orjson.loads(said.result), revision=said.revision)
    except orjson.JSONDecodeError:
        return decision.deny("policy_malformed", "", revision=said.revision)


def _parts(said: Decision) -> dict[str, JSON]:
    """Return what is compared; the order in which policies say things is no difference."""
    if said.failure is not None:
        # How a failure is worded is each engine's own; that it failed is not.
        return {"failure": said.failure, "allow": False, "reasons": [], "obligations": [], "labels": []}
    reasons = [canonical.dumps([one.layer, one.code, one.message]).decode() for one in said.reasons]
    obligations = [canonical.dumps(dict(one)).decode() for one in said.obligations]
    return {
        "failure": None,
        "allow": said.allow,
        "reasons": sorted(reasons),
        "obligations": sorted(obligations),
        "labels": sorted(said.labels),
    }


def _digest(parts: Mapping[str, JSON]) -> str:
    return "sha256:" + hashlib.sha256(canonical.dumps(dict(parts))).hexdigest()


def _engine(said: Reply | PdpFailed) -> str:
    return said.engine if isinstance(said, Reply) else ""
