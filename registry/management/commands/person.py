"""Make a person who can sign in: `python manage.py person USERNAME --email ADDRESS`."""

import getpass
import os
import secrets
from typing import Any

from django.contrib.auth.password_validation import validate_password
from django.core.exceptions import ValidationError
from django.core.management.base import BaseCommand, CommandError, CommandParser

from registry.models import Person


class Command(BaseCommand):
    help = "Make a person, or set their password. What they may do are grants in a workspace, never flags here."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("username")
        parser.add_argument("--email", default="", help="Address; commit identities are mapped to people by it.")
        parser.add_argument("--name", default="", help="Name to show.")
        parser.add_argument("--staff", action="store_true", help="May look into the read-only admin.")
        parser.add_argument(
            "--generate", action="store_true", help="Make a password and print it, instead of asking for one."
        )

    def handle(
        self, *args: Any, username: str, email: str, name: str, staff: bool, generate: bool, **options: Any
    ) -> None:
        row = Person.objects.filter(username=username).first()
        # PLACET_PASSWORD: for scripts; the arguments of a process can be read by everybody on the machine.
        password = secrets.token_urlsafe(12) if generate else os.environ.get("PLACET_PASSWORD") or getpass.getpass()
        try:
            validate_password(password, row)
        except ValidationError as error:
            raise CommandError(" ".join(error.messages)) from error
        if row is None:
            row = Person.objects.create_user(username, email, password, name=name, is_staff=staff)
            self.stdout.write(f"{row.username} can sign in now; no workspace knows them yet.")
        else:
            row.set_password(password)
            row.save(update_fields=["password"])
            self.stdout.write(f"{row.username} has a new password.")
        if generate:
            self.stdout.write(password)
