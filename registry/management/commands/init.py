"""Found a workspace: `python manage.py init SLUG --admin USERNAME`."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils import timezone

from audit.refusal import Refusal
from audit.uuid7 import uuid7
from registry import workspaces
from registry.models import Person, Role


class Command(BaseCommand):
    help = "Found a workspace with its environments, its first people and its first charter (recorded as unreviewed)."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("slug", help="Short name of the workspace, as in its address.")
        parser.add_argument("--name", default="", help="Name to show; default: the short name.")
        parser.add_argument("--admin", required=True, help="Username of the first admin.")
        parser.add_argument(
            "--member",
            action="append",
            default=[],
            metavar="USERNAME=ROLE",
            help=f"A founding grant, repeatable; roles: {', '.join(Role.values)}.",
        )

    def handle(self, *args: Any, slug: str, name: str, admin: str, member: list[str], **options: Any) -> None:
        members = []
        for pair in member:
            username, separator, role = pair.partition("=")
            if not separator:
                raise CommandError(f"--member takes USERNAME=ROLE, got {pair!r}.")
            members.append((person(username), role, None))
        try:
            made = workspaces.init(
                slug,
                name or slug,
                admin=person(admin),
                now=timezone.now(),
                members=members,
                correlation_id=str(uuid7()),
            )
        except Refusal as refusal:
            raise CommandError(refusal.detail) from refusal
        self.stdout.write(
            f"Workspace {made.slug} is founded. Its charter is the shipped one and unreviewed: review it."
        )


def person(username: str) -> Person:
    """Return the person of that name. :raises CommandError: saying how to make one."""
    row = Person.objects.filter(username=username).first()
    if row is None:
        raise CommandError(f"There is no person {username!r}; make one with `manage.py person {username}`.")
    return row
