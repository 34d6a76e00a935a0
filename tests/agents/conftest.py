"""A stage for the executor's tests. Each test makes a release of its own live, so the workspace can be shared."""

import json
import os
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests import embedded


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


@pytest.fixture(scope="session")
def _victim():
    """Return a function that gives orders to tests/agents/victim.py."""
    environment = embedded.environment(Path(os.environ["PLACET_HOME"]))
    environment |= {"DJANGO_SETTINGS_MODULE": "tests.settings", "PLACET_DECISION_TIMEOUT_MS": "10000"}
    command = [sys.executable, "-m", "tests.agents.victim"]
    with subprocess.Popen(
        command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:

        def carry_out(**order):
            print(json.dumps(order), file=process.stdin, flush=True)
            return int(process.stdout.readline())

        yield carry_out
        process.stdin.close()


@pytest.fixture
def victim(_victim, acts, tmp_path):
    """The same, warm: it has made one call."""
    from tests.agents.acts import open_step

    if not hasattr(acts, "warm"):
        acts.scripted([{"say": "done"}])
        assert _victim(do="advance", step=str(open_step(acts.start()).pk), log=str(tmp_path / "warm")) == 0
        acts.warm = True
    return _victim
