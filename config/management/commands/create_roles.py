"""Create the database roles on a PostgreSQL of your own: `python manage.py create_roles`."""

from typing import Any

import psycopg
from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from config.embedded import postgres


class Command(BaseCommand):
    help = "Create Placet's runtime roles on the server of DATABASE_URL, whose user needs CREATEROLE."
    requires_system_checks = ()

    def handle(self, *args: Any, **options: Any) -> None:
        environment = settings.ENV
        if not environment.database_url:
            raise CommandError("DATABASE_URL is not set; the embedded database makes its roles by itself.")
        passwords = {role: environment.secret(f"database_{role}") for role in postgres.ROLES}
        with psycopg.connect(environment.database_url) as connection:
            database = connection.info.dbname
            postgres.create_roles(connection, passwords, database=database)
        self.stdout.write(f"Roles {', '.join('placet_' + role for role in postgres.ROLES)} can now use {database}.")
