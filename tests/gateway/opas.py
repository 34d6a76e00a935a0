"""Real OPA servers for tests, a registry of the test's own that feeds them, and a wire between that can be broken."""

import contextlib
import os
import shutil
import socket
import struct
import subprocess
import tempfile
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from gateway.sidecars import Place, Sidecar
from tests import embedded


def binary():
    """Return the pinned opa; without it the test is skipped, but for CI."""
    done = subprocess.run([embedded.ROOT / "scripts/opa"], capture_output=True, text=True, check=False)
    if done.returncode:
        line = done.stderr.strip().splitlines()[-1]
        if os.environ.get("CI") == "true":
            pytest.fail(line)
        pytest.skip(line)
    return Path(done.stdout.strip())


def wait(condition, seconds=60):
    """Return what `condition` returns once it is true."""
    deadline = time.monotonic() + seconds
    while not (found := condition()) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert found
    return found


class Registry:
    """A web server with one bundle, and the reports that came. `bundle`: bytes, None for an error."""

    def __init__(self):
        self.bundle = None
        self.asked, self.reports, self.logs, self.authorized = [], [], [], []
        registry = self

        class Answering(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self):
                registry.asked.append(self.path)
                registry.authorized.append(self.headers.get("Authorization"))
                self._send(200 if registry.bundle else 503, registry.bundle or b"")

            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                (registry.logs if "/logs" in self.path else registry.reports).append((self.path, body))
                self._send(200, b"{}")

            def _send(self, status, body):
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.send_header("Content-Type", "application/gzip")
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_):
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Answering)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def close(self):
        """Stop answering: the port is closed."""
        self._server.shutdown()
        self._server.server_close()


@contextlib.contextmanager
def sidecar(bundle, *, registry=None, pin=None, name="opa"):
    """Yield a running sidecar that was told to take `bundle`. `pin`: the bundle whose key it expects."""
    place = Path(tempfile.mkdtemp(prefix="placet-opa-"))
    own = registry or Registry()
    own.bundle = bundle
    at = Place("w", "development", place / "opa.sock", f"{name}-{place.name}")
    found = Sidecar(binary(), at, registry=own.url)
    found.pin(pin or bundle)
    try:
        found.watch()
        yield found
    finally:
        found.stop()
        if registry is None:
            own.close()
        shutil.rmtree(found._directory, ignore_errors=True)
        shutil.rmtree(place, ignore_errors=True)


class Wire:
    """A proxy in front of a unix socket, with a fault of Toxiproxy's vocabulary.

    `toxic`: None, or ("latency", seconds), ("timeout",) swallow everything, ("reset_peer",), ("slicer", seconds a
    byte), ("limit_data", bytes), ("answer", bytes) instead of the server's.
    """

    def __init__(self, upstream, *, tcp=False):
        self._upstream = upstream
        self._directory = tempfile.mkdtemp(prefix="placet-wire-")
        self.toxic = None
        self.questions = 0
        self._open = []
        if tcp:
            self._listening = socket.create_server(("127.0.0.1", 0))
            self.url = f"http://127.0.0.1:{self._listening.getsockname()[1]}"
        else:
            path = f"{self._directory}/wire.sock"
            self._listening = socket.socket(socket.AF_UNIX)
            self._listening.bind(path)
            self._listening.listen(64)
            self.url = f"unix://{path}"
        threading.Thread(target=self._accept, daemon=True).start()

    def down(self):
        """Close it: nobody listens any more."""
        with contextlib.suppress(OSError):
            self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        for one in self._open:
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
        shutil.rmtree(self._directory, ignore_errors=True)

    def _accept(self):
        with contextlib.suppress(OSError):
            while True:
                near, _ = self._listening.accept()
                self._open.append(near)
                threading.Thread(target=self._serve, args=(near,), daemon=True).start()

    def _serve(self, near):
        far = socket.socket(socket.AF_UNIX)
        with contextlib.suppress(OSError), near, far:
            far.connect(str(self._upstream))
            asking, saying = near.makefile("rb"), far.makefile("rb")
            while asked := _message(asking):
                self.questions += 1
                self._answer(near, far, saying, asked)

    def _answer(self, near, far, saying, asked):
        kind, *more = self.toxic or ("none",)
        if kind == "timeout":
            return
        if kind == "reset_peer":
            near.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self._end(near)
        if kind == "answer":
            near.sendall(more[0])
            self._end(near)
        if kind == "latency":
            time.sleep(more[0])
        far.sendall(asked)
        said = _message(saying)
        if kind == "slicer":
            for at in range(len(said)):
                near.sendall(said[at : at + 1])
                time.sleep(more[0])
        elif kind == "limit_data":
            near.sendall(said[: more[0]])
            self._end(near)
        else:
            near.sendall(said)

    def _end(self, near):
        """Close our end, though others hold the socket, too."""
        self._open.remove(near)
        with contextlib.suppress(OSError):
            if near.family == socket.AF_UNIX:
                near.shutdown(socket.SHUT_RDWR)
        raise ConnectionAbortedError


def _message(reader):
    """Return one whole HTTP message with a Content-Length; empty at the end."""
    head = b""
    while (line := reader.readline()) not in (b"\r\n", b""):
        head += line
    if not line:
        return b""
    fields = dict(one.lower().split(b": ", 1) for one in head.splitlines()[1:])
    return head + line + reader.read(int(fields[b"content-length"]))
