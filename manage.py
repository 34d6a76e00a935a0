#!/usr/bin/env python
"""Run Django's and Placet's own commands: `python manage.py help`."""

import os
import sys

# Only these change tables or move whole databases, so only these may use the owner's password.
OWNER_COMMANDS = {"migrate", "makemigrations", "sqlmigrate", "showmigrations", "create_roles", "up"}
OWNER_COMMANDS |= {"backup", "restore", "recovery"}


def main() -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
    if len(sys.argv) > 1 and sys.argv[1] in OWNER_COMMANDS:
        os.environ["PLACET_PROCESS"] = "owner"
    from django.core.management import execute_from_command_line

    execute_from_command_line(sys.argv)


if __name__ == "__main__":
    main()
