"""A real OPA beside a real web server of the test's own: what a platform team runs, with our addresses in it."""

import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from django.conf import settings

from registry import bundle_keys, bundlefile
from tests import embedded


def binary():
    """Return the path of `opa`; the test is skipped where neither it nor Go is."""
    found = shutil.which("opa")
    script = embedded.ROOT / "scripts" / "opa"
    if script.exists():
        done = subprocess.run([script], capture_output=True, text=True, check=False)
        found = done.stdout.strip() or found
    if not found:
        pytest.skip("opa is neither here nor can it be built: nothing of OPA was tried")
    return found


@contextlib.contextmanager
def served():
    """Yield the address of a web server of the product, on the database of the test run."""
    port = _free_port()
    command = [sys.executable, "-m", "granian", "--interface", "wsgi", "config.wsgi:application"]
    command += ["--host", "127.0.0.1", "--port", str(port), "--blocking-threads", "8", "--log-level", "error"]
    environment = embedded.environment(Path(os.environ["PLACET_HOME"])) | {"DJANGO_SETTINGS_MODULE": "tests.settings"}
    # Not longer than a test wants to wait for the end of a long poll.
    environment |= {"PLACET_PROCESS": "web", "PLACET_OPA_WAIT_SECONDS": "2"}
    process = subprocess.Popen(command, env=environment)
    url = f"http://127.0.0.1:{port}"
    try:
        wait(lambda: status(f"{url}/livez") == 200)
        yield url
    finally:
        process.terminate()
        process.wait(30)


def status(url):
    """Return the status of a GET; 0 without an answer."""
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        return error.code
    except OSError:
        return 0


def wait(condition, seconds=60):
    """Return what `condition` returns once it is true."""
    deadline = time.monotonic() + seconds
    while not (found := condition()) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert found
    return found


def pins(directory=None):
    """Return OPA's `keys`: the public halves that we pin, under the names by which bundles are signed."""
    return {
        bundlefile.key_id(key): {"algorithm": "ES256", "key": key.as_pem(private=False).decode()}
        for key in bundle_keys.pinned(directory or settings.PLACET_KEYS)
    }


class Opa:
    """An `opa run --server` for one environment. `key`: what it shows to us; `keys`: what it pins, the first of them.

    Without the name of one pinned key OPA takes unsigned bundles, too; so it names it, to us as well.
    """

    def __init__(self, place, *, url, environment, key, keys=None):
        keys = pins() if keys is None else keys
        keyid = next(iter(keys))
        self.port = _free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        where = f"{environment.workspace.slug}/{environment.name}"
        self.config = {
            "services": {"placet": {"url": f"{url}/opa", "credentials": {"bearer": {"token": key}}}},
            "keys": keys,
            "bundles": {
                "placet": {
                    "service": "placet",
                    "resource": f"bundles/{where}?keyid={keyid}",
                    "signing": {"keyid": keyid},
                    "polling": {"min_delay_seconds": 1, "max_delay_seconds": 1, "long_polling_timeout_seconds": 10},
                }
            },
            "status": {"service": "placet", "partition_name": where},
            "decision_logs": {
                "service": "placet",
                "partition_name": where,
                "reporting": {"min_delay_seconds": 1, "max_delay_seconds": 1},
            },
        }
        file = Path(place) / f"opa-{self.port}.json"
        file.write_text(json.dumps(self.config))
        command = [binary(), "run", "--server", "--addr", f"127.0.0.1:{self.port}", "--config-file", str(file)]
        self.log = Path(place) / f"opa-{self.port}.log"
        with self.log.open("w") as log:
            self.process = subprocess.Popen([*command, "--log-level", "info"], stdout=log, stderr=log)

    def __enter__(self):
        wait(lambda: status(f"{self.url}/health") == 200)
        return self

    def __exit__(self, *_):
        # It would try for 10 s to get rid of its logs.
        self.process.kill()
        self.process.wait()

    def decide(self, document, path="placet/decision"):
        """Ask for a decision as the gateway does; return the whole answer."""
        request = urllib.request.Request(
            f"{self.url}/v1/data/{path}?strict-builtin-errors=true",
            json.dumps({"input": document}).encode(),
            {"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=10) as answer:
            return json.load(answer)


def _free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
