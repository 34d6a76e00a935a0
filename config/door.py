"""The front door: bounds what a web process works on, and turns the rest away before Django sees it."""

import io
import random
import re
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import partial
from http import HTTPStatus
from typing import Any

import orjson
from django.conf import settings
from prometheus_client import Gauge

from audit import canonical
from audit.refusal import Refusal
from audit.uuid7 import uuid7
from config.content_policy import CONTENT_SECURITY_POLICY
from gateway.admission import Caller, Full, Gate, Place, acquaintances, away
from gateway.exchange import ARRIVED
from gateway.shedding import ledger

Environ = dict[str, Any]
Application = Callable[..., Iterable[bytes]]
CALLS = "/api/v1/tool-calls/"
# Who stops an agent finds a place whatever the rest of the world does: nobody's other requests take these.
STOPS = re.compile(r"/api/v1/stops/|/w/[^/]+/stops/")
STOP_PLACES = 2
# Answered at once whatever goes on, or bounded by themselves (PLACET_OPA_WAITERS).
FREE = ("/livez", "/readyz", "/metrics", "/static/", "/opa/bundles/")
LONGEST_RETRY = 3  # seconds; spread, so that those who were turned away together do not come back together
OVERLOADED = Refusal(
    "overloaded",
    "More requests arrive than can be carried out. This one was not looked at and nothing was done: send it again "
    "after Retry-After, with the same Idempotency-Key.",
    status=429,
)


class Door:
    """A WSGI application (PEP 3333) in front of another one."""

    def __init__(self, application: Application, *, calls: Gate, stops: Gate, others: Gate) -> None:
        self.application, self.calls, self.stops, self.others = application, calls, stops, others

    def __call__(self, environ: Environ, start_response: Callable[..., Any]) -> Iterable[bytes]:
        """Pass a request on, in its turn, or answer 429."""
        environ[ARRIVED] = time.monotonic()
        path = environ.get("PATH_INFO", "")
        if path.startswith(FREE):
            return self.application(environ, start_response)
        is_call = path == CALLS and environ.get("REQUEST_METHOD") == "POST"
        caller = acquaintances.of(environ.get("HTTP_AUTHORIZATION", ""))
        try:
            place = self.calls.enter(caller) if is_call else self._enter(path, caller)
        except Full as full:
            ledger.count(caller, full.why)
            return _turned_away(path, start_response)
        with place.held():
            if is_call:
                # A client that takes its time to send must not keep others from work.
                with away():
                    environ["wsgi.input"] = io.BytesIO(environ["wsgi.input"].read(canonical.LARGEST_BODY + 1))
            return self.application(environ, start_response)

    def _enter(self, path: str, caller: Caller) -> Place:
        """Take a place for anything but a call. :raises Full: there is none."""
        if STOPS.match(path):
            # Strangers may have taken these: then a stop has what everybody has, and not less.
            with suppress(Full):
                return self.stops.enter(caller)
        return self.others.enter(caller)


def gates() -> dict[str, Gate]:
    """Return the gates of a web process, as it is set."""
    calls = Gate(
        places=settings.PLACET_CALLS_PER_PROCESS,
        at_work=settings.PLACET_CALLS_AT_WORK,
        waiting=settings.PLACET_CALLS_WAITING,
        patience=settings.PLACET_CALLS_WAIT_MS / 1000,
        share=settings.PLACET_CALLS_PER_AGENT,
        strangers=max(1, settings.PLACET_CALLS_PER_PROCESS // 4),
    )
    rest = settings.PLACET_OTHER_REQUESTS - STOP_PLACES
    places = rest - rest // 3
    # People come with a cookie, so that all of them are strangers here; a key is known, and never all there is.
    others = _rest(places, waiting=rest // 3, share=max(1, places // 2))
    return {"calls": calls, "stops": _rest(STOP_PLACES, waiting=0, share=STOP_PLACES), "others": others}


def _rest(places: int, *, waiting: int, share: int) -> Gate:
    patience = settings.PLACET_CALLS_WAIT_MS / 1000
    return Gate(places=places, at_work=places, waiting=waiting, patience=patience, share=share, strangers=places)


def watch(gates: dict[str, Gate]) -> None:
    """Show the gates in /metrics."""
    gauge = Gauge("placet_requests", "Requests of this process, by gate and by where they are.", ["gate", "where"])
    for name, gate in gates.items():
        for place, where in enumerate(("in_hand", "at_work", "waiting")):
            gauge.labels(name, where).set_function(partial(_count, gate, place))


def _count(gate: Gate, place: int) -> float:
    return gate.counts[place]


def _turned_away(path: str, start_response: Callable[..., Any]) -> Iterable[bytes]:
    status = HTTPStatus(OVERLOADED.status)
    correlation_id = str(uuid7())
    document = {
        "type": f"urn:placet:error:{OVERLOADED.code}",
        "title": status.phrase,
        "status": status.value,
        "code": OVERLOADED.code,
        "detail": OVERLOADED.detail,
        "instance": path,
        "correlation_id": correlation_id,
    }
    body = orjson.dumps(document)
    headers = [
        ("Content-Type", "application/problem+json"),
        ("Content-Length", str(len(body))),
        ("Retry-After", str(random.randint(1, LONGEST_RETRY))),  # noqa: S311 - spreads retries, guards nothing
        ("Cache-Control", "no-store"),
        ("Content-Security-Policy", CONTENT_SECURITY_POLICY),
        ("X-Content-Type-Options", "nosniff"),
        ("X-Correlation-ID", correlation_id),
    ]
    start_response(f"{status.value} {status.phrase}", headers)
    return [body]
