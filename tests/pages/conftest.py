"""A steward whose workspace has something on every page, and visitors with a browser's cookies."""

import secrets
from datetime import UTC, datetime

import pytest


@pytest.fixture
def visitor(db):
    """Return a function: person -> a browser that is signed in as them; None: nobody."""
    from django.test import Client

    def make(person=None, *, csrf=False):
        client = Client(enforce_csrf_checks=csrf, headers={"accept": "text/html"})
        if person is not None:
            client.force_login(person)
        return client

    return make


@pytest.fixture
def build(workspace, people, now):
    """Builders bound to the workspace of the test and its people."""
    from tests.registry.builders import Builder

    return Builder(workspace, people, now)


def furnished():
    """Return a steward of a new workspace, with a release that is live."""
    from registry import workspaces
    from registry.models import Person
    from tests.conftest import ROLES
    from tests.pages.scene import Steward

    now, suffix = datetime.now(UTC), secrets.token_hex(4)
    people = {
        name: Person.objects.create_user(f"{name}-{suffix}", f"{name}-{suffix}@example.com", name=name.title())
        for name in (*ROLES, "adam", "mallory")
    }
    members = [(people[name], role, None) for name, roles in ROLES.items() for role in roles]
    workspace = workspaces.init(f"w-{suffix}", "Steward's", admin=people["adam"], now=now, members=members)
    steward = Steward(workspace, people, now)
    steward.furnish()
    return steward


@pytest.fixture(scope="session")
def _steward(django_db_setup, django_db_blocker):
    with django_db_blocker.unblock():
        return furnished()


@pytest.fixture
def steward(_steward, db):
    """The shared steward: a test makes calls, holds and runs of its own and changes nothing that is live."""
    _steward.now = datetime.now(UTC)
    return _steward


@pytest.fixture
def there(steward):
    """Return a function: the address of a page of the steward's workspace."""
    return lambda path="": f"/w/{steward.workspace.slug}/{path}"


@pytest.fixture
def trail(workspace):
    """Return a function: the events of the workspace since the fixture was made, in order."""
    from audit import records

    before = {row.id for row in records.newest(workspace.pk, limit=1000)}

    def events():
        rows = records.newest(workspace.pk, limit=1000)
        return [row.event for row in reversed(rows) if row.id not in before]

    return events
