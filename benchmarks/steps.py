"""What each step of one call costs, measured in this process through the whole web application."""

import cProfile
import io
import json
import pstats
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any
from unittest import mock

from django.core.wsgi import get_wsgi_application
from django.db import connections

from benchmarks import tools, workspace
from gateway import (
    answers,
    attributes,
    authentication,
    calls,
    claims,
    contract,
    holds,
    obligations,
    pdp,
    pep,
    sanitize,
    sessions,
    transport,
)
from gateway.api import calls as api

WARM_CALLS = 60
_ROOT = Path(__file__).resolve().parent.parent
WHOLE, LINE = "whole request", "the line (pep.call)"
# Where the line and its door call what; the second check of arguments belongs to step 7.
_STEPS: tuple[tuple[ModuleType, str, str], ...] = (
    (authentication, "bearer", "authenticate"),
    (api, "_asked", "parse"),
    (claims, "claim", "1 claim"),
    (sessions, "enter", "2 resolve"),
    (contract, "check_arguments", "3 check"),
    (sanitize, "scan", "4 scan"),
    (sanitize, "summary", "4 scan"),
    (pep, "_reserve", "5 reserve"),
    (attributes, "build", "6 decide: input"),
    (pdp, "decide", "6 decide"),
    (obligations, "apply", "7 oblige"),
    (holds, "check_unchanged", "7 oblige"),
    (calls, "decide", "8 record decided"),
    (transport, "invoke", "9 invoke"),
    (answers, "examine", "10 check and scan"),
    (calls, "finish", "11 record completed"),
    (api, "_answer", "answer"),
)
_SECOND = {"3 check": "7 oblige"}
_REST = {LINE: "line, between steps", WHOLE: "Django and middleware"}


@dataclass
class Reading:
    """Nanoseconds of one step of one call: wall, CPU, in SQL statements and in COMMIT; and how many statements."""

    wall: int = 0
    cpu: int = 0
    sql: int = 0
    commit: int = 0
    statements: int = 0

    def add(self, other: "Reading", sign: int = 1) -> None:
        """Add (or take away) another reading."""
        for name, value in vars(other).items():
            setattr(self, name, getattr(self, name) + sign * value)


class Stopwatch:
    """Times the outermost of the functions it wraps; what they call among each other belongs to them."""

    def __init__(self) -> None:
        self.calls: list[dict[str, Reading]] = []
        self._within: list[Reading] = []  # what is open: whole, line, step
        self._in_step = False

    @contextmanager
    def wrapping(self) -> Iterator[None]:
        """Wrap the steps, the statements and the commits of this thread."""
        connection: Any = connections["default"]
        with ExitStack() as stack:
            for module, name, step in _STEPS:
                stack.enter_context(mock.patch.object(module, name, self._step(step, getattr(module, name))))
            stack.enter_context(mock.patch.object(pep, "call", self._part(LINE, pep.call)))
            stack.enter_context(mock.patch.object(connection, "_commit", self._commit(connection._commit)))
            stack.enter_context(connection.execute_wrapper(self._execute))
            yield

    def whole(self, ask: Callable[[], None]) -> None:
        """Time one request."""
        self.calls.append({})
        self._part(WHOLE, ask)()

    def _step(self, step: str, function: Callable[..., Any]) -> Callable[..., Any]:
        timed = self._part(step, function)

        def run(*given: Any, **named: Any) -> Any:
            if self._in_step:
                return function(*given, **named)
            self._in_step = True
            try:
                return timed(*given, **named)
            finally:
                self._in_step = False

        return run

    def _part(self, part: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def run(*given: Any, **named: Any) -> Any:
            reading = Reading()
            self._within.append(reading)
            wall, cpu = time.perf_counter_ns(), time.thread_time_ns()
            try:
                return function(*given, **named)
            finally:
                reading.cpu = time.thread_time_ns() - cpu
                reading.wall = time.perf_counter_ns() - wall
                self._within.pop()
                known = self.calls[-1]
                name = _SECOND.get(part, part) if part in known else part
                known.setdefault(name, Reading()).add(reading)

        return run

    def _execute(self, execute: Callable[..., Any], *given: Any) -> Any:
        begun = time.perf_counter_ns()
        try:
            return execute(*given)
        finally:
            spent = time.perf_counter_ns() - begun
            for reading in self._within:
                reading.sql += spent
                reading.statements += 1

    def _commit(self, commit: Callable[[], None]) -> Callable[[], None]:
        def run() -> None:
            begun = time.perf_counter_ns()
            commit()
            for reading in self._within:
                reading.commit += time.perf_counter_ns() - begun

        return run


class Door:
    """The web application in this process, asked as a server would ask it."""

    def __init__(self, site: workspace.Site) -> None:
        self.application: Any = get_wsgi_application()
        self.key = site.keys[0]
        self.body = json.dumps({"name": workspace.ALLOWED, "arguments": tools.ARGUMENTS}).encode()
        self.name, self.sent = f"in-process-{time.time_ns()}", 0

    def ask(self) -> None:
        """Make one governed call. :raises RuntimeError: it was not answered with 200."""
        self.sent += 1
        said: list[str] = []
        answer = self.application(self._environ(), lambda status, *_: said.append(status))
        body = b"".join(answer)
        answer.close()
        if not said[0].startswith("200"):
            raise RuntimeError(f"{said[0]}: {body.decode()}")

    def _environ(self) -> dict[str, Any]:
        return {
            "REQUEST_METHOD": "POST",
            "PATH_INFO": "/api/v1/tool-calls/",
            "SERVER_NAME": "127.0.0.1",
            "SERVER_PORT": "80",
            "SERVER_PROTOCOL": "HTTP/1.1",
            "REMOTE_ADDR": "127.0.0.1",
            "HTTP_HOST": "127.0.0.1",
            "HTTP_AUTHORIZATION": f"Bearer {self.key}",
            "HTTP_IDEMPOTENCY_KEY": f"{self.name}-{self.sent}",
            "CONTENT_TYPE": "application/json",
            "CONTENT_LENGTH": str(len(self.body)),
            "wsgi.url_scheme": "http",
            "wsgi.input": io.BytesIO(self.body),
            "wsgi.errors": io.StringIO(),
        }


def measure(door: Door, *, count: int) -> list[dict[str, Any]]:
    """Return one row per step of `count` calls, in the order of the line; microseconds."""
    for _ in range(WARM_CALLS):
        door.ask()
    watch = Stopwatch()
    with watch.wrapping():
        for _ in range(count):
            watch.whole(door.ask)
    names = list(dict.fromkeys(step for _, _, step in _STEPS))
    inside = [name for name in names if name[0].isdigit()]
    for call in watch.calls:
        _rest(call, LINE, inside)
        _rest(call, WHOLE, [LINE, *(name for name in names if name not in inside)])
    order = ["authenticate", "parse", *inside, _REST[LINE], "answer", _REST[WHOLE], LINE, WHOLE]
    return [_row(name, [call[name] for call in watch.calls]) for name in order]


def profile(door: Door, *, count: int, top: int = 25) -> list[dict[str, Any]]:
    """Return the functions with the most CPU time of their own over `count` calls; microseconds a call."""
    for _ in range(WARM_CALLS):
        door.ask()
    profiler = cProfile.Profile(time.thread_time)
    profiler.enable()
    for _ in range(count):
        door.ask()
    profiler.disable()
    stats: dict[tuple[str, int, str], Any] = pstats.Stats(profiler).stats  # type: ignore[attr-defined]
    ranked = sorted(stats.items(), key=lambda item: -item[1][2])[:top]
    return [
        {
            "function": name,
            "place": _place(file, line),
            "times": round(times / count, 1),
            "own_us": round(own / count * 1e6, 1),
            "all_us": round(total / count * 1e6, 1),
        }
        for (file, line, name), (_, times, own, total, _) in ranked
    ]


def _rest(call: dict[str, Reading], whole: str, parts: list[str]) -> None:
    rest = Reading()
    rest.add(call[whole])
    for part in parts:
        rest.add(call[part], -1)
    call[_REST[whole]] = rest


def _row(name: str, readings: list[Reading]) -> dict[str, Any]:
    def middle(attribute: str) -> float:
        return float(round(statistics.median(getattr(reading, attribute) for reading in readings) / 1000, 1))

    cuts = statistics.quantiles((reading.wall for reading in readings), n=100)
    return {
        "step": name,
        "p50_us": middle("wall"),
        "p99_us": round(cuts[98] / 1000, 1),
        "cpu_us": round(statistics.fmean(reading.cpu for reading in readings) / 1000, 1),
        "statements": statistics.median(reading.statements for reading in readings),
        "sql_us": middle("sql"),
        "commit_us": middle("commit"),
    }


def _place(file: str, line: int) -> str:
    """Return file:line, short: below the repository, or below site-packages."""
    short = file.partition("site-packages/")[2] or file.removeprefix(f"{_ROOT}/").rpartition("python3.11/")[2]
    return f"{short}:{line}" if line else ""
