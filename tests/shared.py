"""Fixtures of the tests that look at the whole: name this module in `pytest_plugins`."""

from datetime import UTC, datetime

import pytest
from django.test import override_settings


@pytest.fixture(scope="session")
def refusing(django_db_setup):
    """A trigger that obeys tests.world.unrecordable; other connections do not notice it."""
    from tests.audit import trails

    with trails.superuser() as owner:
        owner.execute(
            """CREATE OR REPLACE FUNCTION test_refuse() RETURNS trigger LANGUAGE plpgsql AS $$
               BEGIN RAISE EXCEPTION 'could not extend file: No space left on device' USING ERRCODE = 'disk_full';
               END $$"""
        )
        owner.execute(
            """CREATE OR REPLACE TRIGGER test_refuse BEFORE INSERT ON audit_record FOR EACH ROW
               WHEN (current_setting('placet.refuse', true) = 'on') EXECUTE FUNCTION test_refuse()"""
        )
    yield
    with trails.superuser() as owner:
        owner.execute("DROP TRIGGER IF EXISTS test_refuse ON audit_record")


@pytest.fixture(scope="session")
def _world(django_db_setup, django_db_blocker):
    from tests.gateway import conftest as gateway
    from tests.world import World

    with django_db_blocker.unblock(), override_settings(**gateway.PATIENT):
        return World()


@pytest.fixture
def world(_world, db, settings):
    """The shared world, with patience for policies on a busy machine."""
    settings.PLACET_DECISION_TIMEOUT_MS = 10_000
    _world.now = datetime.now(UTC)
    return _world
