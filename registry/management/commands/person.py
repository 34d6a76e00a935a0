"""Make a person who can sign in: `python manage.py person USERNAME --email ADDRESS`."""

import getpass
import os
import secrets
from typing import Any

from django.contrib.auth.password_validation import validate_password
from django.core.exceptions import ValidationError
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils import timezone

from audit.refusal import Refusal
from audit.uuid7 import uuid7
from registry import people
from registry.models import Person


class Command(BaseCommand):
    help = "Make a person, set their password, or take lost factors away. What they may do are grants in a workspace."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("username")
        parser.add_argument("--email", default="", help="Address; commit identities are mapped to people by it.")
        parser.add_argument("--name", default="", help="Name to show.")
        parser.add_argument("--subject", default="", help="Link this identity of the organisation's provider.")
        parser.add_argument(
            "--no-password", action="store_true", help="Make a person who signs in with the provider alone."
        )
        parser.add_argument(
            "--generate", action="store_true", help="Make a password and print it, instead of asking for one."
        )
        parser.add_argument(
            "--reset-factors", metavar="REASON", default="", help="Take lost second factors away; leave the password."
        )

    def handle(
        self,
        *args: Any,
        username: str,
        email: str,
        name: str,
        subject: str,
        no_password: bool,
        generate: bool,
        reset_factors: str,
        **options: Any,
    ) -> None:
        row = Person.objects.filter(username=username).first()
        how: dict[str, Any] = {"now": timezone.now(), "correlation_id": str(uuid7())}
        if reset_factors:
            if row is None:
                raise CommandError(f"There is no person {username!r}.")
            reset = people.reset_factors(row, by=None, reason=reset_factors, **how)
            self.stdout.write(f"{row.username} has no second factor any more (reset {reset.pk}).")
            return
        if row is None and no_password:
            row = Person.objects.create_user(username, email, None, name=name)
            self.stdout.write(f"{row.username} can sign in with the provider; no workspace knows them yet.")
        elif row is None or not subject:
            row = self._give_password(row, username, email, name, generate, how)
        if subject:
            try:
                people.link(row, subject, actor=people.COMMAND_LINE)
            except Refusal as refusal:
                raise CommandError(refusal.detail) from refusal
            self.stdout.write(f"{row.username} is linked to the identity {subject}.")

    def _give_password(
        self, row: Person | None, username: str, email: str, name: str, generate: bool, how: dict[str, Any]
    ) -> Person:
        # PLACET_PASSWORD: for scripts; the arguments of a process can be read by everybody on the machine.
        password = secrets.token_urlsafe(12) if generate else os.environ.get("PLACET_PASSWORD") or getpass.getpass()
        try:
            validate_password(password, row)
        except ValidationError as error:
            raise CommandError(" ".join(error.messages)) from error
        if row is None:
            row = Person.objects.create_user(username, email, password, name=name)
            self.stdout.write(f"{row.username} can sign in now; no workspace knows them yet.")
        else:
            people.set_password(row, password, actor=people.COMMAND_LINE, **how)
            self.stdout.write(f"{row.username} has a new password.")
        if generate:
            self.stdout.write(password)
        return row
