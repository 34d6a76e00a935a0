"""The stack under fire: `manage.py up` with all its processes, and a tool server that no fault of ours takes along."""

import contextlib
import os
import signal
import subprocess
import time
from pathlib import Path

import httpx2
import redis

from config.env import Environment
from tests.faults.running import LEASE_SECONDS, Running

LONGEST_ANSWER = 0.4  # seconds for which a tool that has acted may keep its answer back: where most kills fall


class Site(Running):
    """A running Placet, seen from outside: by HTTP, by the database's superuser, by the broker's password."""

    scene_module = "tests.chaos.ground"
    people_names = ("alice", "bob", "dave", "olga")

    def __init__(self):
        super().__init__()
        # Breakers that stay open for long would only make the load thinner.
        self.environment |= {"PLACET_BREAKER_SECONDS": "2", "PLACET_EVALUATORS": "2"}
        (self.tool / "delay").write_text(str(LONGEST_ANSWER))

    def offer(self):
        """Start the tool server; the deployment lists it as an endpoint."""
        self.tools = subprocess.Popen([*self.server, "--http", "0"], stdout=self.log, stderr=self.log)
        while not (self.tool / "port").exists() or not (self.tool / "port").read_text():
            assert self.tools.poll() is None, "the tool server did not start"
            time.sleep(0.02)
        port = (self.tool / "port").read_text()
        self.environment["PLACET_EGRESS_ALLOW"] = f"127.0.0.1:{port}"
        entry = f'[endpoints.effects]\nurl = "http://127.0.0.1:{port}/mcp"\n'
        (self.home / "launchers.toml").write_text(entry)
        return ("--endpoint",)

    def __exit__(self, *_):
        try:
            super().__exit__()
        finally:
            self.tools.kill()
            self.tools.wait()

    def broker(self):
        """Connect to Valkey as whoever has stolen its password."""
        secret = Environment(placet_home=self.home).secret("valkey")
        return redis.Redis(unix_socket_path=str(self.sockets / "valkey.sock"), password=secret, socket_timeout=5)

    def ready(self):
        """Say whether /readyz answers 200."""
        return self._ready()

    def note(self):
        """Return the newest checkpoint as dave, the auditor, gets it over HTTP; None if he does not."""
        with contextlib.suppress(httpx2.HTTPError):
            answer = self.people["dave"].get(f"/log/{self.workspace}/checkpoint")
            return answer.text if answer.status_code == 200 else None


def children(pid):
    """Return the pids of the living children of a process."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            name, _, rest = path.read_text().rpartition(")")
            state, parent = rest.split()[:2]
            if int(parent) == pid and state != "Z":
                found.append(int(name.split()[0]))
    return sorted(found)


def alive(pid):
    """Say whether a process is there and no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def send(pid, sign=signal.SIGKILL, *, group=False):
    """Send a signal to a process or its group; one that is gone needs none."""
    with contextlib.suppress(ProcessLookupError):
        (os.killpg if group else os.kill)(pid, sign)


__all__ = ["LEASE_SECONDS", "LONGEST_ANSWER", "Site", "alive", "children", "send"]
