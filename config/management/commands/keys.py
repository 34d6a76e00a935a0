"""Look after the keys of the installation: docs/operations/keys.md."""

from argparse import ArgumentParser
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any
from uuid import UUID

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError
from joserfc.jwk import ECKey

from audit import keys, rotation
from audit.refusal import Refusal
from audit.uuid7 import uuid7
from registry import bundle_keys, bundlefile
from registry.models import Workspace

NAMES = ("bundle", "checkpoint", "receipt", *rotation.SECRETS)
OVERLAP = timedelta(days=8)  # a key of a call means the same for 7


class Command(BaseCommand):
    requires_system_checks = ()
    help = "List, rotate and retire the keys of this installation. Every change is a record."

    def add_arguments(self, parser: ArgumentParser) -> None:
        steps = parser.add_subparsers(dest="step", required=True)
        steps.add_parser("list", help="show each key by its name, without secrets")
        rotate = steps.add_parser("rotate", help="make a new key; the old one goes on verifying")
        rotate.add_argument("name", choices=NAMES)
        rotate.add_argument("--workspace", help="slug of the log whose checkpoint key it is; default: every log")
        retire = steps.add_parser("retire", help="drop the old keys: what only they verify is refused from now on")
        retire.add_argument("name", choices=("bundle", *rotation.SECRETS))
        retire.add_argument("--now", action="store_true", help="do not wait for the overlap: the old key was stolen")
        steps.add_parser("rewrap", help="wrap the keys of sealed values with the newest values.kek")

    def handle(self, *args: Any, **options: Any) -> None:
        self.how: dict[str, Any] = {"now": datetime.now(UTC), "correlation_id": str(uuid7())}
        try:
            getattr(self, f"_{options['step']}")(options)
        except (Refusal, keys.KeyMissing) as error:
            raise CommandError(str(error)) from error

    def _list(self, options: dict[str, Any]) -> None:
        pinned = [bundlefile.key_id(key) for key in bundle_keys.pinned(settings.PLACET_KEYS)]
        self._say("bundle", pinned)
        for path in sorted(settings.PLACET_KEYS.glob("*.pub")):
            if path.stem != "bundle":
                self._say(path.stem, [line.split("+")[1] for line in reversed(keys.public(path.stem))])
        for name, purpose in rotation.SECRETS.items():
            if (settings.PLACET_KEYS / name).exists():
                self._say(name, [keys.secret_id(raw) for raw in keys.every_secret(name)], purpose)

    def _say(self, name: str, ids: list[str], purpose: str = "") -> None:
        self.stdout.write("  ".join([f"{name:<48}", " ".join(ids), purpose]).rstrip())

    def _rotate(self, options: dict[str, Any]) -> None:
        name = options["name"]
        if name == "checkpoint":
            for workspace in self._logs(options["workspace"]):
                coming = rotation.announce(workspace, **self.how)
                self.stdout.write(
                    f"{coming.public}\nannounced in the log of {workspace}; the publisher goes over to it"
                )
        elif name == "receipt":
            self.stdout.write(rotation.rotate_receipt(**self.how).public)
        elif name == "bundle":
            coming_id = bundlefile.key_id(bundle_keys.rotate(settings.PLACET_KEYS, partial(self._record, "rotated")))
            self.stdout.write(f"bundle {coming_id}; retire the old one when no decision point pins it any more")
        else:
            self.stdout.write(f"{name} {rotation.rotate_secret(name, **self.how)}")

    def _retire(self, options: dict[str, Any]) -> None:
        name = options["name"]
        if name == "bundle":
            gone = bundle_keys.retire(settings.PLACET_KEYS, partial(self._record, "retired"))
            self.stdout.write(f"{int(gone is not None)} old key(s) dropped")
            return
        changed = datetime.fromtimestamp((settings.PLACET_KEYS / name).stat().st_mtime, UTC)
        if not options["now"] and self.how["now"] - changed < OVERLAP:
            raise CommandError(
                f"{name} was rotated on {changed:%Y-%m-%d %H:%M} UTC; what was made under the old secret may still be "
                f"asked about until {changed + OVERLAP:%Y-%m-%d %H:%M}. If it was stolen: --now."
            )
        self.stdout.write(f"{rotation.retire_secret(name, **self.how)} old secret(s) dropped")

    def _record(self, what: str, key: ECKey) -> None:
        rotation.record(what, "bundle", bundlefile.key_id(key), **self.how)

    def _rewrap(self, options: dict[str, Any]) -> None:
        self.stdout.write(f"{rotation.rewrap(**self.how)} data key(s) wrapped anew")

    def _logs(self, slug: str | None) -> list[UUID]:
        rows = Workspace.objects.filter(slug=slug) if slug else Workspace.objects.all()
        found = list(rows.order_by("pk").values_list("pk", flat=True))
        if slug and not found:
            raise CommandError(f"There is no workspace {slug}.")
        return [pk for pk in found if keys.public(f"checkpoint-{pk}")]
