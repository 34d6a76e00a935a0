"""Print what an OPA server of your own needs to serve one environment: docs/guides/opa.md."""

import json
import socket
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from gateway import sidecars
from registry import bundle_keys, bundlefile, bundles
from registry.models import Environment


class Command(BaseCommand):
    requires_system_checks = ()
    help = "Print the configuration of an OPA server for one environment, with the keys that it has to pin."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("workspace", help="the workspace's slug")
        parser.add_argument("environment", help="the environment's name")
        parser.add_argument("--token-path", type=Path, required=True, help="file of OPA's key, as OPA will see it")
        parser.add_argument("--persistence", type=Path, required=True, help="directory where OPA keeps the bundle")
        parser.add_argument("--name", default=socket.gethostname(), help="under which it reports; default: this host")

    def handle(self, *args: Any, **options: Any) -> None:
        place = Environment.objects.filter(workspace__slug=options["workspace"], name=options["environment"]).first()
        if place is None:
            raise CommandError(f"There is no environment {options['environment']} in {options['workspace']}.")
        keys = bundle_keys.pinned(settings.PLACET_KEYS)
        if not keys:
            raise CommandError(f"No key signs bundles yet: {settings.PLACET_KEYS / 'bundle.pub'} is missing.")
        found = sidecars.configuration(
            options["workspace"],
            options["environment"],
            name=options["name"],
            registry=settings.PLACET_URL,
            token=options["token_path"],
            kept=options["persistence"],
            keys=keys,
            keyid=_signing(place) or bundlefile.key_id(keys[0]),
        )
        self.stdout.write(json.dumps(found, indent=2))


def _signing(place: Environment) -> str:
    """Return the name of the key that signed the bundle in force, empty if there is none."""
    raw = bundles.content_of(place.pk, place.bundle_revision)
    return sidecars.key_of(raw) if raw else ""
