"""The processes of `manage.py up` on a database of the benchmark's own, and its end without a trace."""

import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

import psycopg

from benchmarks.bare import TABLE
from benchmarks.tool_server import ToolServer
from config.embedded import postgres
from config.stack import Stack
from config.supervisor import Child, python

# Celery runs steps of runs and is never on the path of one call.
_LEFT_OUT = {"worker"}
PATIENCE = 180.0  # seconds until everything runs: a busy machine is slow to start, and that is not measured


class Installation(Stack):
    """A started stack with the anchors' table, and the tool server beside it."""

    tool_server: ToolServer | None = None

    def __enter__(self) -> "Installation":
        try:
            self.start()
            if not self.wait_until_ready(timeout=PATIENCE):
                raise TimeoutError("The web process does not answer; see the lines above.")
            with psycopg.connect(self.conninfo("owner"), autocommit=True) as connection:
                connection.execute(TABLE)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        base = self.database.data.parent if self.database else None
        self.stop()
        home = self.environment.placet_home
        for place in {home, self.environment.sockets, base or home}:
            shutil.rmtree(place, ignore_errors=True)

    @property
    def data(self) -> Path:
        """Return the directory of the database's files."""
        if self.database is None:
            raise RuntimeError("The database is not running.")
        return self.database.data

    def conninfo(self, role: str) -> str:
        """Return how to connect as a role of ours."""
        environment = self.environment
        password = environment.secret(f"database_{role}")
        return postgres.conninfo(environment.sockets, user=f"placet_{role}", password=password, dbname="placet")

    def roots(self) -> Mapping[str, int]:
        """Return the pid at the root of each process's tree, by name."""
        ours = {name: pid for name, pid in self.pids.items() if name != "supervisor"}
        return ours if self.tool_server is None else ours | {"tool server": self.tool_server.process.pid}

    def _migrate(self) -> None:
        # In a process of its own: this one is connected as placet_web.
        subprocess.run(python("migrate", "-v", "0", "--skip-checks"), check=True)

    def _children(self) -> list[Child]:
        return [child for child in super()._children() if child.name not in _LEFT_OUT]
