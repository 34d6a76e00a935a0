"""A stage for races on the line of calls, with patience: a busy machine must not make a policy late."""

from datetime import UTC, datetime

import pytest
from django.test import override_settings

from tests.gateway import conftest as gateway
from tests.races import dice


@pytest.fixture(scope="session")
def _raced(django_db_setup, django_db_blocker):
    from tests.gateway.stage import TOOLS

    with django_db_blocker.unblock(), override_settings(**gateway.PATIENT):
        stage = gateway._stage()
        stage.live({name: TOOLS[name] for name in ("look", "put", "pay", "launch", "careful", "careless", "narrow")})
        return stage


@pytest.fixture
def stage(_raced, db):
    """The stage of the races: what a history ends, it brings back."""
    with override_settings(**gateway.PATIENT):
        _raced.now = datetime.now(UTC)
        yield _raced


@pytest.fixture(autouse=True)
def _seed():
    print(dice.told())
