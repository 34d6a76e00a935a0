"""Fixtures of the directed faults: name this module in `pytest_plugins`."""

import os
from contextlib import ExitStack
from datetime import UTC, datetime
from unittest import mock

import pytest
from django.test import override_settings


@pytest.fixture(scope="session")
def _scene(django_db_setup, django_db_blocker, tmp_path_factory):
    from gateway import connect, transport
    from gateway.transport import definitions
    from tests.chaos import scene
    from tests.gateway import conftest as gateway
    from tests.gateway.effects import install

    install()
    with ExitStack() as stack:
        place = tmp_path_factory.mktemp("scene")
        environment, wires = stack.enter_context(scene.servers(place))
        stack.callback(connect.close)
        stack.callback(transport.close)
        patient = override_settings(PLACET_DECISION_TIMEOUT_MS=scene.PATIENCE_MS, **environment)
        with django_db_blocker.unblock(), patient:
            made = scene.Scene(gateway._stage(), place, environment, wires)
            made.bring_to_life(definitions.fetch("effects", endpoint=True))
            stack.enter_context(scene.dying(made))
        yield made


@pytest.fixture
def scene(_scene, db, settings):
    """The shared scene; its tools write into its own log."""
    from tests.chaos import scene

    settings.PLACET_DECISION_TIMEOUT_MS = scene.PATIENCE_MS
    for name, text in _scene.environment.items():
        setattr(settings, name, text)
    _scene.now = datetime.now(UTC)
    with mock.patch.dict(os.environ, STAGE_LOG=str(_scene.log)), scene.more_tools():
        yield _scene
