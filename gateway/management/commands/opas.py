"""Run an OPA server for each environment that has a bundle: the sidecars of PLACET_PDP=opa and shadow."""

import socket
import subprocess
from argparse import ArgumentParser
from pathlib import Path
from typing import Any
from uuid import UUID

import structlog
from django.conf import settings
from django.core.management.base import BaseCommand, CommandError
from django.db import connection

from audit import loop
from gateway.pdp import place
from gateway.sidecars import Place, Sidecar
from registry import bundles, clock
from registry.models import Pdp

MOST = 64  # sidecars of one host: more environments want OPA servers of their own (OPA_URL)
log = structlog.get_logger(__name__)


class Command(BaseCommand):
    requires_system_checks = ()
    help = "Keep one OPA server for each environment beside us (PLACET_PDP=opa or shadow without OPA_URL)."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--interval", type=float, default=0.1, help="seconds between looks for new bundles")
        parser.add_argument(
            "--environment", type=UUID, action="append", help="id of an environment to serve; default: all of them"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            only = frozenset(options["environment"] or ())
            keeper = Keeper(binary(), registry=settings.PLACET_LOOPBACK, only=only)
        except FileNotFoundError as error:
            raise CommandError(str(error)) from error
        try:
            loop.until_stopped(keeper.step, interval=options["interval"])
        finally:
            keeper.stop()


def binary() -> Path:
    """Return the pinned opa (scripts/opa). :raises FileNotFoundError: with the one line that says what to do."""
    done = subprocess.run([settings.BASE_DIR / "scripts" / "opa"], capture_output=True, text=True, check=False)
    if done.returncode:
        raise FileNotFoundError(done.stderr.strip().splitlines()[-1] if done.stderr.strip() else "opa is missing.")
    return Path(done.stdout.strip())


class Keeper:
    """Starts a sidecar for each environment with a bundle. `only`: for these and no others, if any."""

    def __init__(self, binary: Path, *, registry: str, only: frozenset[UUID] = frozenset()) -> None:
        self._only = only
        self._binary = binary
        self._registry = registry
        self._last: tuple[int, UUID | None] | None = None
        self._keys: float | None = None
        self.sidecars: dict[UUID, Sidecar] = {}

    def step(self) -> int:
        """Look once."""
        mark = bundles.mark()
        pinned = settings.PLACET_KEYS / "bundle.pub"
        keys = pinned.stat().st_mtime if pinned.exists() else None
        if (mark, keys) != (self._last, self._keys):
            newest = [one for one in bundles.newest() if not self._only or one[0] in self._only]
            if len(newest) > MOST:
                log.error("too many environments for sidecars", environments=len(newest), most=MOST)
            for environment, workspace, name, revision in newest[:MOST]:
                self._keep(environment, workspace, name, revision)
            self._last, self._keys = mark, keys
        for sidecar in self.sidecars.values():
            sidecar.watch()
        return 0

    def stop(self) -> None:
        """End them all."""
        for sidecar in self.sidecars.values():
            sidecar.stop()

    def _keep(self, environment: UUID, workspace: UUID, name: str, revision: str) -> None:
        if environment not in self.sidecars:
            at = Place(_slug(workspace), name, place.own(workspace, name), f"{socket.gethostname()}:{environment}")
            self.sidecars[environment] = Sidecar(self._binary, at, registry=self._registry)
            # Activations wait for it from now on, and not only from its first report.
            Pdp.objects.update_or_create(
                kind="opa",
                name=at.name,
                environment_id=environment,
                defaults={"revision": "", "last_seen": clock.read()},
            )
        content = bundles.content_of(environment, revision)
        if content is not None:
            self.sidecars[environment].pin(content)


def _slug(workspace: UUID) -> str:
    with connection.cursor() as cursor:
        cursor.execute("SELECT slug FROM registry_workspace WHERE id = %s", [workspace])
        return str(cursor.fetchone()[0])
