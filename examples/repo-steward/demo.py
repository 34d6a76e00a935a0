"""The demonstration: an approved release, a governed run, and a trail that verifies without us.

`make demo` starts Placet, sets the example up, runs its agent and leaves everything running until Ctrl-C.
`make demo ARGS=--yes` decides for the people too, ends by itself, and exits 0 if everything held.
"""

import argparse
import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx2 as httpx
import scratch
from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).resolve().parents[2]
EXAMPLE = ROOT / "examples" / "repo-steward"
WORKSPACE = "repo-steward"
ENVIRONMENT = "development"
AGENT = "repo-steward"
GOAL = "Commit the change to the on-call page, with a message in the style of the history."
PEOPLE = {
    "adam": "admin",
    "alice": "author",
    "bob": "reviewer",
    "carol": "security",
    "dave": "auditor",
    "olga": "operator",
}
console = Console(highlight=False, width=150 if not sys.stdout.isatty() else None)
Document = dict[str, Any]


class Failed(Exception):
    """The demonstration did not go as promised."""


class Placet:
    """A running Placet of the demonstration's own, under `home`."""

    def __init__(self, home: Path, port: int) -> None:
        self.home = home
        self.port = port
        self.url = f"http://127.0.0.1:{port}"
        self.process: subprocess.Popen[bytes] | None = None
        self.environment = os.environ | {"PLACET_HOME": str(home), "PORT": str(port), "PLACET_LOG_LEVEL": "warning"}

    def start(self) -> float:
        """Start it in the background; return the seconds until it was ready."""
        began = time.monotonic()
        log = (self.home / "placet.log").open("ab")
        command = [sys.executable, str(ROOT / "manage.py"), "up"]
        self.process = subprocess.Popen(command, env=self.environment, stdout=log, stderr=log, start_new_session=True)
        while time.monotonic() - began < 120:
            if self.process.poll() is not None:
                tail = (self.home / "placet.log").read_text(errors="replace").splitlines()[-5:]
                raise Failed("Placet did not start:\n  " + "\n  ".join(tail))
            try:
                if httpx.get(f"{self.url}/readyz", timeout=2).status_code == 200:
                    return time.monotonic() - began
            except httpx.HTTPError:
                pass
            time.sleep(0.1)
        raise Failed(f"Placet was not ready within two minutes; see {self.home / 'placet.log'}")

    def manage(self, *arguments: str, **environment: str) -> str:
        """Run a management command; return what it printed. :raises Failed: with its output."""
        command = [sys.executable, str(ROOT / "manage.py"), *arguments]
        done = subprocess.run(command, env=self.environment | environment, capture_output=True, text=True, check=False)
        if done.returncode:
            raise Failed(f"`manage.py {' '.join(arguments)}` failed:\n{done.stdout}{done.stderr}")
        return done.stdout

    def stop(self) -> None:
        """Stop what was started, and wait for it."""
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            self.process.wait(60)


class Person:
    """Somebody who is logged in, as in a browser."""

    def __init__(self, placet: Placet, name: str, password: str) -> None:
        self.name = name
        self.client = httpx.Client(base_url=placet.url, timeout=30, headers={"Accept": "application/json"})
        self.client.get("/login/", headers={"Accept": "text/html"})
        form = {"username": name, "password": password, "csrfmiddlewaretoken": self.client.cookies["csrftoken"]}
        answer = self.client.post("/login/", data=form, headers={"Referer": placet.url})
        if answer.status_code != 302:
            raise Failed(f"{name} cannot log in: {answer.status_code}")

    def get(self, path: str, **parameters: str) -> Any:
        """Return the answer's document. :raises Failed: if it is an error."""
        return self._document(self.client.get(f"/api/v1/{path}", params=parameters))

    def post(self, path: str, body: Document, **headers: str) -> Any:
        """Return the answer's document. :raises Failed: if it is an error."""
        return self._document(self.try_post(path, body, **headers))

    def try_post(self, path: str, body: Document, **headers: str) -> httpx.Response:
        """Return the answer, whatever it is."""
        extra = {"X-CSRFToken": self.client.cookies["csrftoken"], "Idempotency-Key": secrets.token_hex(8)} | headers
        return self.client.post(f"/api/v1/{path}", json=body, headers=extra)

    def _document(self, answer: httpx.Response) -> Any:
        if answer.status_code >= 400:
            raise Failed(f"{self.name}: {answer.request.method} {answer.request.url.path}: {answer.text[:800]}")
        return answer.json()
