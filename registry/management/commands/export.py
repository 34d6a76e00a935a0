"""Write a workspace as manifests: `python manage.py export DIR --workspace SLUG`."""

from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from registry.manifests.export import export
from registry.models import Workspace


class Command(BaseCommand):
    help = "Write the newest version of each artifact as a manifest below DIR; applying them again changes nothing."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("directory", type=Path)
        parser.add_argument("--workspace", required=True)

    def handle(self, *args: Any, directory: Path, workspace: str, **options: Any) -> None:
        row = Workspace.objects.filter(slug=workspace).first()
        if row is None:
            raise CommandError(f"There is no workspace {workspace!r}.")
        for path in export(row, directory):
            self.stdout.write(str(path))
