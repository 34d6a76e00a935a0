"""The command line against a real server: a thread that serves the real application on the test's own PostgreSQL."""

import json
import threading
from datetime import UTC, datetime
from types import SimpleNamespace

import pytest


@pytest.fixture(scope="session")
def server():
    """The address of a server that answers like the installed one."""
    from django.conf import settings
    from django.core.servers.basehttp import ThreadedWSGIServer, WSGIRequestHandler

    from config.wsgi import application

    class Quiet(WSGIRequestHandler):
        def log_message(self, *args):
            """Say nothing."""

    served = ThreadedWSGIServer(("127.0.0.1", 0), Quiet)
    served.daemon_threads = True
    served.set_app(application)
    thread = threading.Thread(target=served.serve_forever, daemon=True)
    thread.start()
    url, before = f"http://127.0.0.1:{served.server_port}", settings.PLACET_URL
    settings.PLACET_URL = url  # what the links lead to
    yield url
    settings.PLACET_URL = before
    served.shutdown()
    served.server_close()


@pytest.fixture
def token(db):
    """Return a function: person -> the secret of a new access token."""
    from registry import tokens

    def make(person, hours=1):
        how = {"actor": person.actor, "now": datetime.now(UTC), "correlation_id": "test"}
        return tokens.create(person, name="test", hours=hours, **how)[1]

    return make


@pytest.fixture
def placet(server, token, tmp_path, monkeypatch):
    """Return a function that runs the command as a person (None: nobody) and returns exit code, stdout and stderr."""
    from typer.testing import CliRunner

    from config.cli.app import app

    for name in ("PLACET_TOKEN", "PLACET_WORKSPACE", "DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("COLUMNS", "160")
    secrets = {}

    def run(person, *arguments, **options):
        env = {"PLACET_URL": server}
        if person is not None:
            if person.pk not in secrets:
                secrets[person.pk] = token(person)
            env["PLACET_TOKEN"] = secrets[person.pk]
        result = CliRunner().invoke(app, [str(part) for part in arguments], env=env | options.pop("env", {}), **options)
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        document = None
        if "--json" in arguments and result.stdout:
            document = json.loads(result.stdout)  # whatever else stands on stdout breaks this
        return SimpleNamespace(code=result.exit_code, out=result.stdout, err=result.stderr, json=document)

    return run


@pytest.fixture
def build(workspace, people, now):
    """Builders bound to the workspace of the test and its people."""
    from tests.registry.builders import Builder

    return Builder(workspace, people, now)


@pytest.fixture
def trail(workspace):
    """Return a function: the events of the workspace since the test began, in order."""
    from audit import records

    before = {row.id for row in records.newest(workspace.pk, limit=200)}

    def events():
        rows = records.newest(workspace.pk, limit=200)
        return [row.event for row in reversed(rows) if row.id not in before]

    return events
