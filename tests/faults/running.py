"""A whole Placet of a test's own: started as an operator starts it, reached as people reach it, and killed."""

import contextlib
import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from uuid import UUID

import httpx2
import psycopg

from config.embedded import postgres
from config.env import Environment
from tests import embedded
from tests.chaos.evidence import effects_of
from tests.faults.scene import PASSWORD

ROOT = embedded.ROOT
LEASE_SECONDS = 2
PATIENCE = 240.0  # seconds after which a test gives up waiting


class Running:
    """`manage.py up` on a copy of the migrated database, with an effects server behind a launcher."""

    scene_module = "tests.faults.scene"
    people_names = ("alice", "olga")

    def __init__(self):
        self.home = Path(tempfile.mkdtemp(prefix="placet-faults-"))
        self.home.chmod(0o711)
        subprocess.run(["cp", "-a", f"{embedded._template()}/.", str(self.home)], check=True)
        with (self.home / "postgres" / "postgresql.conf").open("a") as file:
            file.write("track_commit_timestamp = on\n")
        self.tool = self.home / "effects"
        self.tool.mkdir()
        self.tool.chmod(0o777)
        self.server = [str(ROOT / ".venv-tools/bin/python"), str(ROOT / "tests/tools/effects.py"), str(self.tool)]
        port = _free_port()
        self.url = f"http://127.0.0.1:{port}"
        inherited = {name: text for name, text in os.environ.items() if not name.startswith(("PLACET_", "DJANGO_"))}
        self.environment = inherited | {
            "PLACET_HOME": str(self.home),
            "PORT": str(port),
            "PLACET_LEASE_SECONDS": str(LEASE_SECONDS),
            "PLACET_DECISION_TIMEOUT_MS": "10000",
            "PLACET_WEB_WORKERS": "1",
            "PLACET_EVALUATORS": "1",
            "PLACET_LOG_LEVEL": "warning",
            "DATABASE_URL": "",
            "BROKER_URL": "",
            "PYTHONPATH": str(ROOT),
        }

    def __enter__(self):
        subprocess.run([ROOT / "scripts/install-tools"], check=True)
        self.log = (self.home / "placet.log").open("wb")
        options = self.offer()
        self.up()
        try:
            self.wait("ready", self._ready)
            pins = self.home / "pins.json"
            pins.write_text(self.manage("pin_definitions", "effects", "--json", *options))
            settings = self.environment | {"DJANGO_SETTINGS_MODULE": "config.settings"}
            command = [sys.executable, "-m", self.scene_module, str(pins)]
            done = subprocess.run(command, env=settings, cwd=ROOT, capture_output=True, text=True, check=False)
            assert done.returncode == 0, done.stdout + done.stderr
            self.scene = json.loads(done.stdout.splitlines()[-1])
            self.people = {name: self._person(name) for name in self.people_names}
        except BaseException:
            self.__exit__()
            raise
        return self

    def offer(self):
        """Write what the deployment says of the tool server; return how pin_definitions finds it there."""
        (self.home / "launchers.toml").write_text(f"[launchers.effects]\ncommand = {json.dumps(self.server)}\n")
        return ()

    def up(self):
        """Start `manage.py up`."""
        command = [sys.executable, str(ROOT / "manage.py"), "up"]
        self.process = subprocess.Popen(
            command, env=self.environment, stdout=self.log, stderr=self.log, process_group=0, cwd="/"
        )

    def __exit__(self, *_):
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(60)
        finally:
            self.process.kill()
            self.log.close()
            shutil.rmtree(self.home, ignore_errors=True)

    # The tools' own log is what counts.

    def effects(self, value, tool=None):
        """Return the effects with this value, as the tools wrote them down."""
        path = self.tool / "effects.jsonl"
        lines = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
        return [line for line in lines if line["value"] == value and tool in (None, line["tool"])]

    @contextlib.contextmanager
    def gate(self):
        """Within the block, an effect that has happened is not answered."""
        gate = self.tool / "gate"
        gate.touch()
        try:
            yield
        finally:
            gate.unlink(missing_ok=True)

    # As people do it.

    def start(self, agent, goal):
        """Start a run as alice, with the goal for a key; return its id."""
        body = {"workspace": self.scene["slug"], "environment": "development", "agent": agent, "goal": goal}
        return self.post("alice", "runs/", body, key=goal).json()["id"]

    def run(self, pk):
        """Return a run as REST shows it."""
        return self.people["alice"].get(f"/api/v1/runs/{pk}/").json()

    def post(self, who, path, body, key=None):
        """Post as somebody; a refusal fails the test."""
        person = self.people[who]
        headers = {"X-CSRFToken": person.cookies["csrftoken"], "Idempotency-Key": key or secrets.token_hex(8)}
        answer = person.post(f"/api/v1/{path}", json=body, headers=headers)
        assert answer.status_code < 400, answer.text
        return answer

    def ended(self, pk, *states, aided=False):
        """Wait until a run is in one of `states`; return it. With `aided`, olga requeues what used up its attempts."""
        found = {}

        def look():
            with contextlib.suppress(httpx2.HTTPError, ValueError):
                found.update(self.run(pk))
                for step in found["steps"] if aided and found["wait"] == "person" else ():
                    if step["state"] == "dead":
                        self.post("olga", f"steps/{step['id']}/requeues/", {})
            return found.get("state") in states

        self.wait(f"{states}", look, lambda: f"the run is {found}")
        return found

    # As an operator, and as fate, do it.

    def manage(self, *arguments):
        """Run a management command; return what it said."""
        command = [sys.executable, str(ROOT / "manage.py"), *arguments]
        done = subprocess.run(command, env=self.environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def pids(self):
        """Return the pids of the processes, by name."""
        return json.loads((self.home / "processes.json").read_text())

    def kill(self, name):
        """SIGKILL a process with all that it has started, and wait until another one stands in its place."""
        pid = self.pids()[name]
        assert os.getpgid(pid) == pid
        os.killpg(pid, signal.SIGKILL)
        self.wait(f"{name} is back", lambda: self.pids()[name] != pid)
        self.wait("ready", self._ready)

    def query(self, statement, *values):
        """Return the rows of a query, read as the worker's role."""
        secret = Environment(placet_home=self.home).secret("database_worker")
        info = postgres.conninfo(self.sockets, user="placet_worker", password=secret, dbname="placet")
        with psycopg.connect(info) as connection:
            return connection.execute(statement, values).fetchall()

    def connect(self, *, readonly=True):
        """Connect as the owner; the checks and the measurements only read. :raises psycopg.OperationalError: not now"""
        secret = Environment(placet_home=self.home).secret("database_superuser")
        info = postgres.conninfo(self.sockets, user="postgres", password=secret, dbname="placet")
        options = "-c default_transaction_read_only=on" if readonly else ""
        return psycopg.connect(info, options=options, autocommit=True, connect_timeout=5)

    @property
    def sockets(self):
        """Where the sockets of the embedded servers are."""
        return Environment(placet_home=self.home).sockets

    @property
    def workspace(self):
        """The id of the workspace."""
        return UUID(self.scene["workspace"])

    def done(self):
        """Return the effects so far, as the tools wrote them down."""
        return effects_of(self.tool / "effects.jsonl")

    def key(self, name):
        """Return the public keys in a file of keys."""
        path = self.home / "keys" / f"{name}.pub"
        return path.read_text().split() if path.exists() else []

    def wait(self, what, condition, told=lambda: ""):
        """Wait until a condition holds; the test fails if it does not in PATIENCE."""
        deadline = time.monotonic() + PATIENCE
        while not condition():
            assert self.process.poll() is None, (self.home / "placet.log").read_text()[-3000:]
            if time.monotonic() > deadline:
                said = (self.home / "placet.log").read_text()[-3000:]
                raise AssertionError(f"not {what} after {PATIENCE} s; {told()}\n{said}")
            time.sleep(0.02)

    def _ready(self):
        try:
            return httpx2.get(f"{self.url}/readyz", timeout=5).status_code == 200
        except httpx2.HTTPError:
            return False

    def _person(self, name):
        client = httpx2.Client(base_url=self.url, timeout=30, headers={"Accept": "application/json"})
        client.get("/login/", headers={"Accept": "text/html"})
        form = {"username": name, "password": PASSWORD, "csrfmiddlewaretoken": client.cookies["csrftoken"]}
        answer = client.post("/login/", data=form, headers={"Referer": self.url, "Accept": "text/html"})
        assert answer.status_code == 302, answer.text
        return client


def _free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
