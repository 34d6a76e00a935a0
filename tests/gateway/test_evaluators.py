"""The pool as a process: it loads what is published, reports it, survives its children and leaves nothing behind."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from uuid import UUID

import pytest
from django.conf import settings

from audit.uuid7 import uuid7
from gateway import evaluators, pdp
from gateway.management.commands.evaluators import Keeper
from registry import workspaces
from registry.models import Pdp
from tests import embedded
from tests.policies import bundling


@pytest.fixture
def environment(workspace):
    return workspaces.environment(workspace.pk, "development")


@pytest.fixture
def pool():
    """A pool of this test's own, under a name that no caller looks for."""
    found = evaluators.Pool(settings.PLACET_SOCKETS, count=2, keys=settings.PLACET_KEYS, prefix="mine-")
    found.start()
    yield found
    found.stop()


def wait(condition, seconds=60):
    deadline = time.monotonic() + seconds
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.02)
    assert condition()


def revision(environment, name):
    return Pdp.objects.filter(environment=environment, name=name).values_list("revision", flat=True).first()


def decide(published):
    return pdp.decide(
        published.input("release"),
        workspace=published.environment.workspace_id,
        environment=published.environment.name,
        revision=published.revision,
        deadline_ms=20_000,
    )


def test_a_pool_reports_a_revision_only_when_every_evaluator_has_it(environment, pool):
    keeper = Keeper(pool, name=f"keeper-{environment.pk}")
    first = bundling.publish(environment, {"release": bundling.OPEN})
    wait(lambda: keeper.step() >= 0 and revision(environment, f"keeper-{environment.pk}") == first.revision)
    kind = Pdp.objects.get(environment=environment, name=f"keeper-{environment.pk}").kind
    assert kind == "embedded"
    # A bundle that nobody can verify is never reported.
    bundling.publish(environment, {"release": bundling.OPEN + "\n"}, change=lambda raw: raw[:-30])
    for _ in range(5):
        keeper.step()
    assert revision(environment, f"keeper-{environment.pk}") == first.revision
    second = bundling.publish(environment, {"release": bundling.OPEN + "\n\n"})
    wait(lambda: keeper.step() >= 0 and revision(environment, f"keeper-{environment.pk}") == second.revision)


def test_a_bundle_is_noticed_after_one_whose_maker_had_its_clock_ahead(environment, pool):
    keeper, name = Keeper(pool, name=f"keeper-{environment.pk}"), f"keeper-{environment.pk}"
    early = UUID(int=uuid7().int + (3_600_000 << 80))  # its first 48 bits are milliseconds
    first = bundling.publish(environment, {"release": bundling.OPEN}, id=early)
    wait(lambda: keeper.step() >= 0 and revision(environment, name) == first.revision)
    second = bundling.publish(environment, {"release": bundling.OPEN + "\n"})
    wait(lambda: keeper.step() >= 0 and revision(environment, name) == second.revision, seconds=20)


def test_an_evaluator_that_comes_anew_gets_the_bundles_again(environment, pool):
    keeper = Keeper(pool, name=f"keeper-{environment.pk}")
    bundling.publish(environment, {"release": bundling.OPEN})
    wait(lambda: keeper.step() == 0 and revision(environment, f"keeper-{environment.pk}"))
    born = pool.seats[0].born
    os.kill(pool.seats[0].process.pid, signal.SIGKILL)
    wait(lambda: pool.seats[0].born > born)
    before = len(keeper._taken)
    wait(lambda: keeper.step() >= 0 and len(keeper._taken) > before)


def test_the_command_serves_reports_and_ends_cleanly(environment, monkeypatch):
    published = bundling.publish(environment, {"release": bundling.OPEN})
    variables = embedded.environment(settings.PLACET_HOME) | {
        "PLACET_PROCESS": "web",
        "PLACET_EVALUATORS": "2",
        "DJANGO_SETTINGS_MODULE": "config.settings",
    }
    prefix = f"served-{environment.pk.hex[-8:]}-"
    command = [sys.executable, str(embedded.ROOT / "manage.py"), "evaluators", "--prefix", prefix]
    process = subprocess.Popen(command, env=variables, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        sockets = [settings.PLACET_SOCKETS / f"{prefix}{number}.sock" for number in (0, 1)]
        wait(lambda: Pdp.objects.filter(environment=environment, revision=published.revision).exists())
        monkeypatch.setattr(pdp.embedded, "_sockets", lambda: sockets)
        assert decide(published).verdict == "allow"
        children = _children(process.pid)
        assert len(children) == 2
    finally:
        process.terminate()
        process.wait(30)
    assert process.returncode == 0
    assert not any(path.exists() for path in sockets)
    wait(lambda: not any(Path(f"/proc/{pid}").exists() for pid in children))
    # The row stays and grows stale; the registry leaves it out after 30 s.
    assert Pdp.objects.filter(environment=environment).exists()


def test_a_stale_socket_is_replaced(tmp_path):
    (tmp_path / "evaluator-0.sock").write_text("left over")
    (tmp_path / "evaluator-7.sock").write_text("left over")
    pool = evaluators.Pool(tmp_path, count=1, keys=tmp_path)
    try:
        assert [path.name for path in tmp_path.iterdir()] == ["evaluator-0.sock"]
        assert pool.paths[0].is_socket()
    finally:
        pool.stop()
    assert list(tmp_path.iterdir()) == []


def _children(pid):
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            fields = path.read_text().rpartition(")")[2].split()
            if int(fields[1]) == pid:
                found.append(int(path.parent.name))
    return found
