"""The people, the workspace and the database that every test may ask for.

Tests run as the runtime role `placet_web` and commit: what they prove holds with production's grants. Nothing is
rolled back or flushed; each test makes a workspace of its own.
"""

import os
import secrets
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path

import django
import psycopg
import pytest

from tests import durations, embedded

_stack = ExitStack()


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config):
    if config.getoption("numprocesses", None) and not hasattr(config, "workerinput"):
        return  # the parallel processes have a server each: what one sequences or sweeps is never another's
    place: Path = _stack.enter_context(embedded.home())
    os.environ["PLACET_HOME"] = str(place)
    os.environ.pop("DATABASE_URL", None)
    os.environ["DJANGO_SETTINGS_MODULE"] = "tests.settings"
    django.setup()


@pytest.hookimpl(trylast=True)
def pytest_unconfigure(config):
    _stack.close()


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config, items):
    """Let parallel processes begin with the files that take longest."""
    if hasattr(config, "workerinput"):
        items.sort(key=lambda item: -durations.of(item.nodeid.partition("::")[0]))


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item):
    """Let no test begin with a connection that the one before lost or left in a transaction."""
    from django.db import connections

    for connection in connections.all(initialized_only=True):
        _tidy(connection)


@pytest.fixture(scope="session")
def django_db_setup():
    """The database is made by tests/embedded.py, not by Django."""


@pytest.fixture
def db(django_db_blocker):
    """Access to the real, committing database as placet_web.

    Connections last from test to test, as they do in production from request to request; what a test has set or
    locked in one does not.
    """
    from django.db import connections

    with django_db_blocker.unblock():
        yield
        for connection in connections.all(initialized_only=True):
            _tidy(connection)


def _tidy(connection):
    """Leave a connection as a new one would be; close it if a test has left it broken or in a transaction."""
    raw = connection.connection
    if raw is None:
        return
    whole = not connection.in_atomic_block and not connection.closed_in_transaction and connection.autocommit
    try:
        if whole and raw.info.transaction_status is psycopg.pq.TransactionStatus.IDLE:
            raw.execute("RESET ALL; UNLISTEN *; SELECT pg_advisory_unlock_all()")
            return
    except psycopg.Error:
        pass
    connection.close()


@pytest.fixture
def now():
    return datetime.now(UTC)


@pytest.fixture
def people(db):
    """A new set of people; ROLES below says who may do what, adam is the admin and mallory a stranger."""
    from registry.models import Person

    suffix = secrets.token_hex(4)
    names = ("alice", "bob", "carol", "dave", "olga", "adam", "mallory")
    return {
        name: Person.objects.create_user(
            username=f"{name}-{suffix}",
            email=f"{name}-{suffix}@example.com",
            name=name.title(),
            password="correct horse",
        )
        for name in names
    }


ROLES = {
    "alice": ["author"],
    "bob": ["reviewer"],
    "carol": ["security"],
    "dave": ["auditor"],
    "olga": ["operator"],
}


@pytest.fixture
def workspace(people, now):
    """A new workspace with its first charter, three environments and everybody but mallory as a member."""
    from registry import memberships, workspaces

    slug = f"w-{secrets.token_hex(5)}"
    made = workspaces.init(slug, "Test workspace", admin=people["adam"], now=now)
    for name, roles in ROLES.items():
        member = memberships.add(made, people[name], actor=people["adam"], now=now, correlation_id="test")
        for role in roles:
            memberships.grant(member, role, environment=None, actor=people["adam"], now=now, correlation_id="test")
    return made


@pytest.fixture
def alice(people, workspace):
    return people["alice"]


@pytest.fixture
def bob(people, workspace):
    return people["bob"]


@pytest.fixture
def carol(people, workspace):
    return people["carol"]


@pytest.fixture
def dave(people, workspace):
    return people["dave"]


@pytest.fixture
def olga(people, workspace):
    return people["olga"]


@pytest.fixture
def adam(people, workspace):
    return people["adam"]


@pytest.fixture
def mallory(people):
    return people["mallory"]


@pytest.fixture
def client_for(db):
    """Return a function: person -> a REST client that is logged in as them."""
    from rest_framework.test import APIClient

    def make(person=None):
        client = APIClient()
        client.default_format = "json"
        if person is not None:
            client.force_login(person)
        return client

    return make
