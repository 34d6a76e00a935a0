"""Whether the processes of Placet may enter the database. A restored one stays shut until a person has accepted it.

The runtime roles lose the right to connect; the owner keeps it. So it holds for every process on every machine, and
for those that know nothing of it.
"""

from django.db import connections

from config.embedded.postgres import ROLES

_RUNTIME = ", ".join(f"placet_{role}" for role in ROLES if role != "owner")


def close(*, using: str = "default") -> None:
    """Keep the runtime roles out from now on; sessions that are open already go on."""
    _execute("REVOKE CONNECT ON DATABASE {} FROM PUBLIC, " + _RUNTIME, using)


def open(*, using: str = "default") -> None:
    """Let the runtime roles in again."""
    _execute("GRANT CONNECT ON DATABASE {} TO " + _RUNTIME, using)


def shut(*, using: str = "default") -> bool:
    """Say whether the runtime roles are kept out."""
    with connections[using].cursor() as cursor:
        cursor.execute("SELECT has_database_privilege('placet_web', current_database(), 'CONNECT')")
        return not cursor.fetchone()[0]


def _execute(statement: str, using: str) -> None:
    connection = connections[using]
    with connection.cursor() as cursor:
        cursor.execute("SELECT current_database()")
        cursor.execute(statement.format(connection.ops.quote_name(cursor.fetchone()[0])))
