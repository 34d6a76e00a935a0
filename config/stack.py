"""Which servers and processes an installation consists of, and how they are started."""

import json
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request

from django.core.management import call_command
from django.db import DatabaseError, connection
from django.db.migrations.recorder import MigrationRecorder

from config import entrance, schema, server
from config.embedded import postgres, processes, valkey
from config.env import Environment
from config.supervisor import Child, Print, Supervisor, python
from gateway.management.commands import opas

FRONT = 2  # children that decide calls: web and evaluators
FRONT_SECONDS = 10.0  # head start that they have at most


class Stack:
    """The embedded servers (unless the environment names others) and the processes of Placet."""

    def __init__(self, environment: Environment, *, write: Print) -> None:
        self.environment = environment
        self.write = write
        self.database: postgres.Server | None = None
        self.broker: subprocess.Popen[bytes] | None = None
        self.pids: dict[str, int] = {}
        self.supervisor = Supervisor(self._children(), write=write)

    def start(self) -> None:
        """Start everything in order. :raises processes.StartFailed: with what to do."""
        _check_port(self.environment.placet_bind, self.environment.port)
        if self.environment.sidecars:
            self._check_opa()
        if not self.environment.database_url:
            self._start_database()
        self._migrate()
        if not self.environment.broker_url:
            self._start_broker()
        # Who decides calls comes first and has the processors to itself; the others follow once it answers.
        self.supervisor.start(self.supervisor.children[:FRONT])
        self.wait_until_ready(timeout=FRONT_SECONDS)
        self.supervisor.start(self.supervisor.children[FRONT:])
        self._note_pids()

    def keep(self) -> None:
        """Restart an embedded server that died, and keep the list of pids true."""
        if self.database is not None and self.database.process.poll() is not None:
            self.write("postgres", "ended; starting it again")
            self.database.lock.close()
            try:
                self._start_database()
            except processes.StartFailed as error:
                # An orphaned backend may hold the old shared memory for a moment; the next round tries again.
                self.write("postgres", str(error))
                time.sleep(0.5)
        if self.broker is not None and self.broker.poll() is not None:
            self.write("valkey", "ended; starting it again")
            self._start_broker()
        self._note_pids()

    def stop(self) -> None:
        """Stop everything: the processes, then the broker, then the database."""
        self.supervisor.stop()
        if self.broker is not None and self.broker.poll() is None:
            self.broker.terminate()
            self.broker.wait(10)
        if self.database is not None:
            self.database.stop()

    def wait_until_ready(self, *, timeout: float = 60.0) -> bool:
        """Wait until /readyz answers 200; say whether it did."""
        url = f"http://{self.environment.loopback}/readyz"
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline and not self.supervisor.ended.is_set():
            try:
                with urllib.request.urlopen(url, timeout=2) as answer:
                    if answer.status == 200:
                        return True
            except (urllib.error.URLError, OSError):
                # What dies meanwhile must not be waited for until the end.
                self.supervisor.look(also=self.keep)
                time.sleep(0.1)
        return False

    def _note_pids(self) -> None:
        """Write PLACET_HOME/processes.json when a pid changed: an operator looks there which process is which."""
        pids = {"supervisor": os.getpid()} | self.supervisor.pids()
        if self.database is not None:
            pids["postgres"] = self.database.process.pid
        if self.broker is not None:
            pids["valkey"] = self.broker.pid
        if pids != self.pids:
            self.pids = pids
            aside = self.environment.placet_home / "processes.json.new"
            aside.write_text(json.dumps(pids, indent=1))
            aside.rename(self.environment.placet_home / "processes.json")

    def _start_database(self) -> None:
        self.database = server.start(self.environment)

    def _check_opa(self) -> None:
        """Have the pinned opa at hand before anything starts; getting it for the first time takes a while."""
        try:
            self.write("opa", str(opas.binary()))
        except FileNotFoundError as error:
            raise processes.StartFailed(
                f"PLACET_PDP={self.environment.placet_pdp} without OPA_URL runs OPA itself: {error}"
            ) from error

    def _start_broker(self) -> None:
        environment = self.environment
        password = environment.secret("valkey")
        self.broker = valkey.start(environment.placet_home, environment.sockets, password=password)

    def _migrate(self) -> None:
        """Bring the schema to this version, as the owner: the supervisor alone uses that role."""
        try:
            if unknown := schema.unknown(set(MigrationRecorder(connection).applied_migrations())):
                raise processes.StartFailed(
                    f"The database has migrations that this Placet does not know ({schema.listed(unknown)}): a newer "
                    "one made it. Start that version, or restore the backup from before the upgrade."
                )
            if entrance.shut():
                raise processes.StartFailed(
                    "The database was restored from a backup, and nobody has accepted it yet. Look at `manage.py "
                    "recovery check`, then run `manage.py recovery accept` (docs/operations/restore.md)."
                )
            if schema.missing():
                self.write("migrate", "bringing the database to this version")
                call_command("migrate", verbosity=0, skip_checks=True)
        except DatabaseError as error:
            raise processes.StartFailed(f"The migration failed; nothing was started: {error}") from error
        finally:
            connection.close()

    def _children(self) -> list[Child]:
        environment = self.environment

        def child(name: str, *arguments: str, process: str, grace: float = 10.0) -> Child:
            return Child(name, python(*arguments), {"PLACET_PROCESS": process}, grace)

        web = Child(
            "web",
            [
                sys.executable, "-m", "granian", "--interface", "wsgi", "config.wsgi:application",
                "--host", environment.placet_bind, "--port", str(environment.port),
                "--workers", str(environment.placet_web_workers),
                "--blocking-threads", str(environment.placet_web_threads),
                "--blocking-threads-idle-timeout", "600s", "--respawn-failed-workers", "--respawn-interval", "0.5",
                "--workers-kill-timeout", "10s", "--log-level", "error",
                # What granian calls backpressure counts connections; the buffer is that of one.
                "--backlog", "1024", "--backpressure", str(environment.placet_web_connections),
                "--http1-buffer-size", "65536",
            ],
            {"PLACET_PROCESS": "web", "PYTHONPATH": os.pathsep.join([str(_root()), os.environ.get("PYTHONPATH", "")])},
            grace=15.0,
        )  # fmt: skip
        worker = Child(
            "worker",
            [
                sys.executable, "-m", "celery", "-A", "config.celery", "-q", "worker", "--loglevel", "warning",
                "--concurrency", "2", "--without-gossip", "--without-mingle", "--without-heartbeat", "-n", "placet@%h",
            ],
            {"PLACET_PROCESS": "worker", "PYTHONPATH": str(_root()), "C_FORCE_ROOT": "1"},
            grace=20.0,
        )  # fmt: skip
        sidecars = [child("opas", "opas", process="web")] if environment.sidecars else []
        return [
            web,
            child("evaluators", "evaluators", process="web"),
            *sidecars,
            child("bundler", "bundler", process="bundler"),
            child("sequencer", "sequencer", process="sequencer"),
            child("publisher", "publisher", process="publisher"),
            child("sweeper", "sweeper", process="worker"),
            worker,
        ]


def _root() -> object:
    return python()[1].rsplit("/", 1)[0]


def _check_port(bind: str, port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((bind, port))
        except OSError as error:
            raise processes.StartFailed(
                f"Port {port} on {bind} is not free ({error.strerror}). Stop what uses it, or set PORT to another one."
            ) from error
