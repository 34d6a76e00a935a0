"""What the demonstration needs of a Placet: start it, log in as its people, talk REST, stop it."""

import contextlib
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import httpx2 as httpx

ROOT = Path(__file__).resolve().parents[2]
Document = dict[str, Any]


class Failed(Exception):
    """The demonstration did not go as promised."""


class Placet:
    """A Placet of the demonstration's own, with everything that it keeps under `home`."""

    def __init__(self, home: Path, port: int) -> None:
        self.home = home
        self.url = f"http://127.0.0.1:{port}"
        self.process: subprocess.Popen[bytes] | None = None
        own = {"PLACET_HOME": str(home), "PORT": str(port), "PLACET_LOG_LEVEL": "warning"}
        if os.environ.get("OPA") == "server":
            own["PLACET_PDP"] = "opa"
        # The demonstration has servers of its own, whatever the shell points to.
        elsewhere = {"DATABASE_URL", "BROKER_URL", "OPA_URL"}
        self.environment = {name: value for name, value in os.environ.items() if name not in elsewhere} | own

    def start(self) -> float:
        """Start it in the background; return the seconds until it was ready. :raises Failed: with its last words."""
        began = time.monotonic()
        with (self.home / "placet.log").open("ab") as log:
            command = [sys.executable, str(ROOT / "manage.py"), "up"]
            self.process = subprocess.Popen(command, env=self.environment, stdout=log, stderr=log, process_group=0)
        while time.monotonic() - began < 180:
            if self.process.poll() is not None:
                tail = (self.home / "placet.log").read_text(errors="replace").splitlines()[-5:]
                raise Failed("Placet did not start:\n  " + "\n  ".join(tail))
            with contextlib.suppress(httpx.HTTPError):
                if httpx.get(f"{self.url}/readyz", timeout=5).status_code == 200:
                    return time.monotonic() - began
            time.sleep(0.1)
        raise Failed(f"Placet was not ready within three minutes; see {self.home / 'placet.log'}")

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
    """Somebody who is logged in, with a cookie and a CSRF token as in a browser."""

    def __init__(self, placet: Placet, name: str, password: str) -> None:
        self.name = name
        self.client = httpx.Client(base_url=placet.url, timeout=60, headers={"Accept": "application/json"})
        self.client.get("/login/", headers={"Accept": "text/html"})
        form = {"username": name, "password": password, "csrfmiddlewaretoken": self.client.cookies["csrftoken"]}
        answer = self.client.post("/login/", data=form, headers={"Referer": placet.url, "Accept": "text/html"})
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
        extra = {"X-CSRFToken": self.client.cookies["csrftoken"], "Idempotency-Key": secrets.token_hex(8)}
        return self.client.post(f"/api/v1/{path}", json=body, headers=extra | headers)

    def _document(self, answer: httpx.Response) -> Any:
        if answer.status_code >= 400:
            raise Failed(f"{self.name}: {answer.request.method} {answer.request.url.path}: {answer.text[:800]}")
        return answer.json()


def free_port(wanted: int) -> int:
    """Return `wanted`, or the next port on loopback that nothing uses."""
    for port in range(wanted, wanted + 100):
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(("127.0.0.1", port))
            return port
    raise Failed(f"No port from {wanted} to {wanted + 99} is free.")
