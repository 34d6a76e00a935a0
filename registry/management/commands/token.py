"""Make an access token for a person, or end all of theirs: `python manage.py token USERNAME`."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils import timezone

from audit.refusal import Refusal
from audit.uuid7 import uuid7
from registry import people, tokens
from registry.management.commands.init import person


class Command(BaseCommand):
    help = "Print a new access token of a person, for automation. It can do what they can; it is shown once."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("username")
        parser.add_argument("--name", default="manage.py token", help="What it is for, in their list of tokens.")
        parser.add_argument(
            "--hours", type=int, default=tokens.USUAL_HOURS, help=f"Until it ends; at most {tokens.MOST_HOURS}."
        )
        parser.add_argument("--revoke-all", action="store_true", help="End every token of the person; make none.")

    def handle(self, *args: Any, username: str, name: str, hours: int, revoke_all: bool, **options: Any) -> None:
        row = person(username)
        how: dict[str, Any] = {"actor": people.COMMAND_LINE, "now": timezone.now(), "correlation_id": str(uuid7())}
        if revoke_all:
            ended = [tokens.revoke(one, **how) for one in tokens.standing(row)]
            self.stdout.write(f"{len(ended)} access tokens of {row.username} ended.")
            return
        try:
            _, secret = tokens.create(row, name=name, hours=hours, **how)
        except Refusal as refusal:
            raise CommandError(refusal.detail) from refusal
        self.stdout.write(secret)
