"""A stage for the executor's tests. Each test makes a release of its own live, so the workspace can be shared."""

from datetime import UTC, datetime

import pytest


@pytest.fixture(scope="session")
def _acts(django_db_setup, django_db_blocker):
    from tests.agents.acts import Acts
    from tests.gateway import conftest as gateway

    with django_db_blocker.unblock():
        stage = gateway._stage()
        return Acts(stage.workspace, stage.people, stage.now)


@pytest.fixture
def acts(_acts, db, settings):
    """The shared stage, with patience: these tests are not about a slow policy."""
    settings.PLACET_DECISION_TIMEOUT_MS = 10_000
    _acts.now = datetime.now(UTC)
    return _acts
