"""Run the evaluators: the embedded policy decision point, in processes of its own."""

import socket
import time
from argparse import ArgumentParser
from typing import Any
from uuid import UUID

import structlog
from django.conf import settings
from django.core.management.base import BaseCommand
from django.db import connection

from audit import loop
from audit.uuid7 import uuid7
from gateway import evaluators, pdp
from gateway.evaluator import KEPT
from registry import bundles

BEAT_SECONDS = 5.0  # the registry leaves out a decision point after 30 s of silence
_SEEN = """
INSERT INTO registry_pdp (id, kind, name, environment_id, revision, last_seen)
VALUES (%s, 'embedded', %s, %s, %s, statement_timestamp())
ON CONFLICT (kind, name, environment_id) DO UPDATE SET revision = excluded.revision, last_seen = excluded.last_seen
"""
log = structlog.get_logger(__name__)


class Command(BaseCommand):
    requires_system_checks = ()
    help = "Start evaluator processes (as many as PLACET_EVALUATORS says, else as cores) and keep them alive."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--interval", type=float, default=0.2, help="seconds between looks for new bundles")
        parser.add_argument(
            "--prefix", default="evaluator-", help="start of the sockets' names; callers use evaluator-"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        pool = pdp.pool(prefix=options["prefix"])
        pool.start()
        try:
            keeper = Keeper(pool, name=f"{socket.gethostname()}:{settings.PLACET_SOCKETS}"[:200])
            loop.until_stopped(keeper.step, interval=options["interval"])
        finally:
            pool.stop()


class Keeper:
    """Gives the evaluators each environment's newest bundle before calls need it, and reports what they serve.

    An environment's row names the newest revision that every evaluator has verified and compiled.
    """

    def __init__(self, pool: evaluators.Pool, *, name: str) -> None:
        self._pool = pool
        self._name = name
        self._newest: list[tuple[UUID, UUID, str, str]] = []
        self._last: tuple[int, UUID | None] | None = None
        # By socket, its process, environment, revision: whether the evaluator took the bundle.
        self._taken: dict[tuple[str, int, UUID, str], bool] = {}
        self._served: dict[UUID, str] = {}
        self._beat = 0.0

    def step(self) -> int:
        """Look once; return how many rows were written out of turn."""
        mark = bundles.mark()
        if mark != self._last:
            # More than an evaluator keeps would only push each other out; the rest is loaded when a call needs it.
            self._newest, self._last = bundles.newest()[: KEPT // 2], mark
        fresh = {}
        for environment, workspace, name, revision in self._newest:
            if self._give(environment, workspace, name, revision) and self._served.get(environment) != revision:
                fresh[environment] = revision
        self._served |= fresh
        due = time.monotonic() - self._beat > BEAT_SECONDS
        self._report(self._served if due else fresh)
        if due:
            self._beat = time.monotonic()
        return len(fresh)

    def _give(self, environment: UUID, workspace: UUID, name: str, revision: str) -> bool:
        """Let each evaluator load the bundle; say whether all have it."""
        raw = None
        complete = True
        for seat in self._pool.seats:
            key = (str(seat.path), seat.born, environment, revision)
            if key in self._taken:
                complete = complete and self._taken[key]
                continue
            raw = raw or bundles.content_of(environment, revision)
            if raw is None:
                return False
            try:
                answer = self._pool.tell(seat, pdp.load_frame(workspace, name, revision, raw))
            except OSError:
                complete = False
                continue
            self._taken[key] = answer["state"] == "done"
            if not self._taken[key]:
                log.error("bundle refused", environment=str(environment), revision=revision, code=answer.get("code"))
                complete = False
        return complete

    def _report(self, served: dict[UUID, str]) -> None:
        with connection.cursor() as cursor:
            for environment, revision in served.items():
                cursor.execute(_SEEN, [uuid7(), self._name, environment, revision])
