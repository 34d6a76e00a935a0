"""Stages for the gateway's tests: one that tests share, and one of a test's own where it changes what is live."""

import json
import os
import secrets
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest
from django.test import override_settings

from config.embedded import valkey as embedded_valkey
from tests import embedded
from tests.conftest import ROLES


def _stage():
    from registry import memberships, workspaces
    from registry.models import Person
    from tests.gateway.stage import Stage

    now = datetime.now(UTC)
    suffix = secrets.token_hex(4)
    people = {
        name: Person.objects.create_user(username=f"{name}-{suffix}", email=f"{name}-{suffix}@example.com", name=name)
        for name in ("alice", "bob", "carol", "dave", "olga", "adam", "mallory")
    }
    workspace = workspaces.init(f"w-{secrets.token_hex(5)}", "Test workspace", admin=people["adam"], now=now)
    for name, roles in ROLES.items():
        member = memberships.add(workspace, people[name], actor=people["adam"], now=now, correlation_id="test")
        for role in roles:
            memberships.grant(member, role, environment=None, actor=people["adam"], now=now, correlation_id="test")
    return Stage(workspace, people, now)


# These tests are about the line: a busy machine must not make a policy late.
PATIENT = {"PLACET_DECISION_TIMEOUT_MS": 10_000}


@pytest.fixture
def patient():
    """Give policies all the time they need."""
    with override_settings(**PATIENT):
        yield


@pytest.fixture(scope="session")
def _shared(django_db_setup, django_db_blocker):
    with django_db_blocker.unblock(), override_settings(**PATIENT):
        stage = _stage()
        stage.live()
        return stage


@pytest.fixture
def stage(_shared, db, patient):
    """The shared stage: a test brings its own credentials, sessions and values, and changes nothing else."""
    _shared.now = datetime.now(UTC)
    return _shared


@pytest.fixture
def valkey(tmp_path):
    """A Valkey of the test's own that CACHE_URL points to; the value is its process."""
    tmp_path.chmod(0o711)
    process = embedded_valkey.start(tmp_path, tmp_path, password="open")
    with override_settings(CACHE_URL=f"redis+unix://:open@{tmp_path}/valkey.sock"):
        yield process
    process.kill()
    process.wait()


@pytest.fixture(scope="session")
def victim(_shared, django_db_blocker):
    """Return a function: an order for tests/gateway/victim.py -> the exit status of the process that carried it out."""
    with django_db_blocker.unblock():
        credential = str(_shared.agent().id)
    environment = embedded.environment(Path(os.environ["PLACET_HOME"]))
    with subprocess.Popen(
        [sys.executable, "-m", "tests.gateway.victim"],
        env=environment | {"DJANGO_SETTINGS_MODULE": "tests.settings", "PLACET_DECISION_TIMEOUT_MS": "10000"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:

        def carry_out(order):
            print(json.dumps(order), file=process.stdin, flush=True)
            return process.stdout.readline().strip()

        assert carry_out({"credential": credential, "tool": "look", "value": "warm"}) == "ready"
        yield carry_out
        process.stdin.close()


@pytest.fixture
def own_stage(db, patient):
    """A stage of the test's own, with nothing live yet."""
    return _stage()


@pytest.fixture
def agent(stage):
    """A principal of a new credential of the steward."""
    return stage.agent()
