"""The database server of an installation: started where it is ours, for as long as a command needs it."""

import contextlib
from collections.abc import Iterator

import psycopg
from django.db import connections

from config.embedded import postgres, processes
from config.env import Environment


def start(environment: Environment) -> postgres.Server:
    """Start the embedded server and see to its roles and database. :raises processes.StartFailed: what to do."""
    server = postgres.start(
        environment.placet_home, environment.sockets, superuser_password=environment.secret("database_superuser")
    )
    passwords = {role: environment.secret(f"database_{role}") for role in postgres.ROLES}
    with psycopg.connect(_superuser(environment)) as connection:
        postgres.create_roles(connection, passwords, database="placet")
    return server


@contextlib.contextmanager
def running(environment: Environment, *, new: bool = False) -> Iterator[None]:
    """Run the block with a database that answers: the one of DATABASE_URL, that of `up`, or one started for the block.

    :param new: make one where there is none.
    :raises processes.StartFailed: there is none, or it does not start.
    """
    if environment.database_url or _answers(environment):
        yield
        return
    data = postgres.data(environment.placet_home)
    if not new and not (data / "PG_VERSION").exists():
        raise processes.StartFailed(f"There is no database under {data}. Is PLACET_HOME the right one?")
    server = start(environment)
    try:
        yield
    finally:
        connections.close_all()
        server.stop()


def _answers(environment: Environment) -> bool:
    if not (environment.sockets / ".s.PGSQL.5432").exists():
        return False
    try:
        psycopg.connect(_superuser(environment), connect_timeout=5).close()
    except psycopg.OperationalError:
        return False
    return True


def _superuser(environment: Environment) -> str:
    password = environment.secret("database_superuser")
    return postgres.conninfo(environment.sockets, user="postgres", password=password, dbname="postgres")
