"""Bring manifests into a workspace: `python manage.py apply DIR --workspace SLUG --as USERNAME`."""

import json
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils import timezone

from audit.refusal import Refusal
from audit.uuid7 import uuid7
from registry.management.commands.init import person
from registry.manifests.apply import Applied, apply
from registry.models import Workspace


class Command(BaseCommand):
    help = "Create a version for each manifest below DIR whose content is new, and open proposals if asked to."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("directory", type=Path)
        parser.add_argument("--workspace", required=True)
        parser.add_argument("--as", dest="username", required=True, help="Who brings them, and so cannot approve them.")
        parser.add_argument("--propose", metavar="ENVIRONMENT", help="Propose agents and the baseline for it.")
        parser.add_argument("--json", action="store_true", help="Print one JSON document.")

    def handle(
        self,
        *args: Any,
        directory: Path,
        workspace: str,
        username: str,
        propose: str | None,
        json: bool,
        **options: Any,
    ) -> None:
        row = Workspace.objects.filter(slug=workspace).first()
        if row is None:
            raise CommandError(f"There is no workspace {workspace!r}; found it with `manage.py init {workspace}`.")
        try:
            applied = apply(
                row,
                directory,
                actor=person(username),
                now=timezone.now(),
                correlation_id=str(uuid7()),
                propose=propose,
            )
        except Refusal as refusal:
            raise CommandError(refusal.detail) from refusal
        self.stdout.write(_document(applied) if json else "\n".join(map(_line, applied)))


def _line(one: Applied) -> str:
    state = "new" if one.created else "unchanged"
    rest = f"  checks failing: {', '.join(one.failing)}" if one.failing else ""
    rest += f"  proposal {one.proposal.pk}" if one.proposal else "  live" if one.live else ""
    version = one.version
    return f"{state:<10} {version.kind}/{version.name} {version.number}  {version.digest[:19]}{rest}"


def _document(applied: list[Applied]) -> str:
    return json.dumps(
        [
            {
                "kind": one.version.kind,
                "name": one.version.name,
                "number": one.version.number,
                "digest": one.version.digest,
                "created": one.created,
                "failing": list(one.failing),
                "proposal": str(one.proposal.pk) if one.proposal else None,
                "live": one.live,
            }
            for one in applied
        ]
    )
