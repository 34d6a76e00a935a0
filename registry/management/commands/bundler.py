"""Run the bundler: publishes signed bundles; the only process that reads the signing key."""

import time
from argparse import ArgumentParser
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import structlog
from django.conf import settings
from django.core.management.base import BaseCommand
from django.db import Error

from audit import loop
from registry import bundle_keys, bundles

SWEEP_SECONDS = 5.0
log = structlog.get_logger(__name__)


class Command(BaseCommand):
    requires_system_checks = ()
    help = "Publish the bundles that activations wait for, and drop what has drained, until stopped."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--once", action="store_true", help="publish what is due and stop")
        parser.add_argument("--interval", type=float, default=0.2, help="seconds between looks when idle")

    def handle(self, *args: Any, **options: Any) -> None:
        bundle_keys.signing(settings.PLACET_KEYS)  # made now, so that decision points can pin the public half
        if options["once"]:
            self.stdout.write(f"{publish_each(bundles.waiting())} bundle(s) published")
            return
        swept = 0.0

        def step() -> int:
            nonlocal swept
            done = publish_each(bundles.waiting())
            if time.monotonic() - swept > SWEEP_SECONDS:
                done += publish_each(bundles.in_use())
                swept = time.monotonic()
            return done

        loop.until_stopped(step, interval=options["interval"])


def publish_each(environments: list[UUID], *, using: str = "default") -> int:
    """Publish what is due in each environment; one that fails holds up none of the others."""
    published = 0
    for environment in environments:
        try:
            revision = bundles.publish(environment, now=datetime.now(UTC), using=using)
        except Error:
            raise  # the database went away: the loop waits for it
        except Exception as error:
            log.error("bundle failed", environment=str(environment), error=type(error).__name__, exc_info=True)
            continue
        if revision is not None:
            published += 1
            log.info("bundle published", environment=str(environment), revision=revision)
    return published
