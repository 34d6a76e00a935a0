"""An installation of a test's own: a migrated PostgreSQL that is started, copied, set back and thrown away at will."""

import atexit
import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path

import psycopg

from config.embedded import postgres
from config.env import Environment
from tests import embedded
from tests.gateway.effects import until
from tests.recovery import commands

ROOT = embedded.ROOT


@cache
def runner():
    """Return the process that runs the commands of all installations of this test run."""
    folder = tempfile.TemporaryDirectory(prefix="placet-commands-")
    begun = commands.Runner(environment(Path(folder.name)))
    atexit.register(lambda: (begun.stop(), folder.cleanup()))
    return begun


def environment(home, **more):
    """Return what every process of an installation is started with."""
    inherited = {name: text for name, text in os.environ.items() if not name.startswith(("PLACET_", "DJANGO_"))}
    own = {"PLACET_HOME": str(home), "DATABASE_URL": "", "BROKER_URL": "", "PYTHONPATH": str(ROOT)}
    named = {"DJANGO_SETTINGS_MODULE": "config.settings", "PLACET_LOG_LEVEL": "warning"}
    return inherited | own | named | more


class Place:
    """A PLACET_HOME. `server`: its PostgreSQL, None while it is down."""

    def __init__(self, *, migrated=True):
        self.home = Path(tempfile.mkdtemp(prefix="placet-recovery-"))
        self.home.chmod(0o711)
        self.port, self.database = _free_port(), "placet"
        self.server = None
        if migrated:
            subprocess.run(["cp", "-a", f"{embedded._template()}/.", str(self.home)], check=True)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.down()
        for left in (self.home, self.home.with_name(f"{self.home.name}.data")):
            shutil.rmtree(left, ignore_errors=True)

    # The database, as an operator and as fate treat it.

    def up(self, **settings):
        """Start the database, with further settings of the server."""
        password = Environment(placet_home=self.home).secret("database_superuser")
        self.server = postgres.start(
            self.home, self.home / "sockets", superuser_password=password, settings=embedded.FAST | settings
        )
        return self

    def up_new(self):
        """Start a new, empty database with its roles, as `restore` would by itself."""
        self.up()
        secret = Environment(placet_home=self.home).secret
        info = postgres.conninfo(
            self.home / "sockets", user="postgres", password=secret("database_superuser"), dbname="postgres"
        )
        with psycopg.connect(info) as connection:
            passwords = {role: secret(f"database_{role}") for role in postgres.ROLES}
            postgres.create_roles(connection, passwords, database="placet")
        return self

    def down(self):
        """Stop the database, if it runs."""
        if self.server is not None:
            self.server.stop()
        self.server = None

    def keep_data(self):
        """Copy the data directory as it is now: a physical backup, or a replica that stays behind."""
        self.down()
        kept = self.home.with_name(f"{self.home.name}.data")
        shutil.rmtree(kept, ignore_errors=True)
        subprocess.run(["cp", "-a", str(self.home / "postgres"), str(kept)], check=True)
        return self.up()

    def set_back(self):
        """Put the copy in the place of the data: what was written since is gone."""
        self.down()
        shutil.rmtree(self.home / "postgres", ignore_errors=True)
        self.home.with_name(f"{self.home.name}.data").rename(self.home / "postgres")
        return self.up()

    def keys_from(self, other):
        """Bring the keys over, as an operator who backed them up apart."""
        shutil.copytree(other.home / "keys", self.home / "keys")

    # Commands, as they are typed.

    def environment(self, **more):
        """Return what every process of this installation is started with."""
        return environment(self.home, PORT=self.port, **more)

    def manage(self, *arguments, process="web", fails=False):
        """Run a management command; return what it said. :param fails: whether it has to fail, and with which code."""
        return self._run([str(word) for word in arguments], process, int(fails))

    def seal(self):
        """Put everything into the tree and sign it; return the newest checkpoint of each log."""
        self.manage("sequencer", "--once", process="sequencer")
        self.manage("publisher", "--once", process="publisher")
        return {path.stem: path.read_text() for path in (self.home / "checkpoints").glob("*.note")}

    def act(self, *arguments, process="web"):
        """Do something that is recorded, in a process of this installation; return what tests.recovery.acts tells."""
        said = self._run(["acts", *map(str, arguments)], process, 0)
        return json.loads(said.splitlines()[-1])

    def _run(self, argv, process, expected):
        output = self.home / "said"
        code = runner().run(argv, self.environment(PLACET_PROCESS=process), output)
        said = output.read_text(errors="replace")
        assert code == expected, f"{argv}: {code}\n{said}"
        return said

    def start(self, *arguments):
        """Start a management command in a process of its own, which may be killed."""
        command = [sys.executable, str(ROOT / "manage.py"), *map(str, arguments)]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
        return subprocess.Popen(command, env=self.environment(), cwd=ROOT, **pipes)

    def query(self, statement, *values, role="postgres"):
        """Return the rows of a query."""
        with self.connect(role=role, autocommit=True) as connection:
            cursor = connection.execute(statement, values)
            return cursor.fetchall() if cursor.description else []

    def until(self, statement, count):
        """Wait until a query counts so many."""
        until(lambda: self.query(statement) == [(count,)])

    def connect(self, *, role="postgres", **more):
        """Return a connection to the database."""
        secret = Environment(placet_home=self.home).secret(
            "database_superuser" if role == "postgres" else f"database_{role}"
        )
        user = role if role == "postgres" else f"placet_{role}"
        info = postgres.conninfo(self.home / "sockets", user=user, password=secret, dbname=self.database)
        return psycopg.connect(info, **more)


@contextlib.contextmanager
def running(place, *arguments):
    """Have acts going on in the background during the block; yield the process."""
    command = [sys.executable, "-m", "tests.recovery.acts", *map(str, arguments)]
    environment = place.environment()
    process = subprocess.Popen(command, env=environment, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    try:
        yield process
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def _free_port():
    """Return a port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return str(probe.getsockname()[1])
