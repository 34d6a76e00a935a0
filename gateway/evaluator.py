"""An evaluator: a process that does nothing but verify bundles and evaluate them, one decision at a time.

Started by gateway.evaluators as `python -m gateway.evaluator`. It has no Django, no database and no secret. The
engine cannot be cancelled and may crash, so the kernel ends this process when one evaluation has used up its CPU
time (SIGPROF, whose default action no Python code and no lock can hold up); its callers see the socket close.
"""

import argparse
import contextlib
import ctypes
import mmap
import os
import resource
import selectors
import signal
import socket
import struct
import sys
import time
from collections import OrderedDict
from pathlib import Path
from typing import Any

from gateway import wire
from registry import bundle_keys, bundlefile, placement, rego, router
from registry.admission import bounds

KEPT = 64  # revisions with their engines
MARK_BYTES = 4096
_LOAD_SECONDS = 5.0
_PANICKED = 3
_QUARANTINED = {
    "state": "failed",
    "code": "policy_quarantined",
    "detail": "This policy ended three evaluators and is not evaluated any more.",
}
_PEER = struct.Struct("3i")
_PR_SET_PDEATHSIG = 1
Key = tuple[str, str, str]  # workspace, environment, revision


class Mark:
    """Shared memory that says what is being evaluated, for whoever finds us dead."""

    def __init__(self, descriptor: int) -> None:
        self._memory = mmap.mmap(descriptor, MARK_BYTES)

    def set(self, text: str) -> None:
        """Write `text`."""
        raw = text.encode()[: MARK_BYTES - 2]
        self._memory[2 : 2 + len(raw)] = raw
        self._memory[:2] = len(raw).to_bytes(2, "big")

    def clear(self) -> None:
        """Say that nothing is being evaluated."""
        self._memory[:2] = b"\0\0"

    def read(self) -> str:
        """Return what is being evaluated; empty if nothing."""
        length = int.from_bytes(self._memory[:2], "big")
        return self._memory[2 : 2 + length].decode(errors="replace")


class Evaluator:
    """The loop. `keys`: directory of bundle.pub; `quarantined`: what is not evaluated, by its mark."""

    def __init__(self, listening: socket.socket, mark: Mark, keys: Path, quarantined: set[str]) -> None:
        self._listening = listening
        self._mark = mark
        self._keys = keys
        self._engines: OrderedDict[Key, rego.Engine] = OrderedDict()
        self._quarantined = quarantined
        self._selector = selectors.DefaultSelector()
        self._selector.register(listening, selectors.EVENT_READ)

    def run(self) -> None:
        """Serve for ever."""
        while True:
            for ready, _ in self._selector.select():
                if ready.data is None:
                    self._accept()
                else:
                    self._read(ready.data)

    def _accept(self) -> None:
        with contextlib.suppress(BlockingIOError):
            connected, _ = self._listening.accept()
            peer = _PEER.unpack(connected.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _PEER.size))
            # The mode of the socket says so already; a second look costs nothing.
            if peer[1] not in (os.getuid(), 0):
                connected.close()
                return
            self._selector.register(connected, selectors.EVENT_READ, wire.Connection(connected))

    def _read(self, connection: wire.Connection) -> None:
        """Read what is there and answer every whole request in it."""
        try:
            connection.feed(connection.socket.recv(262_144))
            while (frame := connection.take()) is not None:
                self._answer(connection, *frame)
        except (OSError, KeyError, TypeError, ValueError):
            # Closed, late, or no frame of ours: either way this connection is over.
            self._selector.unregister(connection)
            connection.close()

    def _answer(self, connection: wire.Connection, header: dict[str, Any], payload: bytes) -> None:
        operation = header.get("op")
        if operation == "decide":
            self._decide(connection, header, payload)
        elif operation == "load":
            _reply(connection, self._load(_key(header), payload))
        elif operation == "quarantine":
            self._quarantined.add(str(header["key"]))
            _reply(connection, {"state": "done"})
        else:
            raise wire.Closed

    def _decide(self, connection: wire.Connection, header: dict[str, Any], payload: bytes) -> None:
        if header["until"] <= time.monotonic() or _gone(connection.socket):
            # Nobody waits for the answer any more.
            raise wire.Closed
        key = _key(header)
        engine = self._engines.get(key)
        if engine is None:
            _reply(connection, {"state": "unknown"})
            return
        self._engines.move_to_end(key)
        culprit = f"{header['revision']} {header['policy']}"
        if culprit in self._quarantined:
            _reply(connection, _QUARANTINED)
            return
        _reply(connection, {"state": "started"})
        self._mark.set(culprit)
        signal.setitimer(signal.ITIMER_PROF, header["limit_ms"] / 1000)
        try:
            result = engine.evaluate(router.DECISION, payload.decode())
        except rego.RegoFailed as failed:
            signal.setitimer(signal.ITIMER_PROF, 0)
            answer = {"state": "failed", "code": failed.code, "detail": _place(failed.detail)}
            if failed.code == "policy_panic":
                with contextlib.suppress(OSError):
                    _reply(connection, answer)
                # What state the engine is in, nobody knows. The mark stays: this counts as a strike.
                sys.exit(_PANICKED)
            self._mark.clear()
            _reply(connection, answer)
        else:
            signal.setitimer(signal.ITIMER_PROF, 0)
            self._mark.clear()
            _reply(connection, {"state": "done", "engine": rego.ENGINE}, result.encode())

    def _load(self, key: Key, raw: bytes) -> dict[str, Any]:
        """Verify a bundle against the pinned keys and keep its engine."""
        if key in self._engines:
            return {"state": "done"}  # many callers may bring the same bundle at once
        try:
            bundle = bundlefile.unpack(raw, keys=bundle_keys.pinned(self._keys))
        except bundlefile.BundleInvalid as error:
            return {"state": "failed", "code": error.code, "detail": error.detail}
        place = (bundle.metadata.get("workspace"), bundle.metadata.get("environment"), bundle.revision)
        if place != key:
            # Well signed, but for somewhere else: as good as not there.
            return {
                "state": "failed",
                "code": "bundle_unknown",
                "detail": "The bundle is of another place or revision.",
            }
        culprit = f"{bundle.revision} load"
        if culprit in self._quarantined:
            return _QUARANTINED
        self._mark.set(culprit)
        signal.setitimer(signal.ITIMER_PROF, _LOAD_SECONDS)
        try:
            modules, left_out = placement.kept(bundle.modules)
            engine = rego.Engine(modules, bundle.data)
            with contextlib.suppress(rego.RegoFailed):
                engine.evaluate(router.DECISION, "{}")  # the first evaluation compiles
        except rego.RegoFailed as failed:
            return {"state": "failed", "code": "bundle_malformed", "detail": _place(failed.detail)}
        finally:
            signal.setitimer(signal.ITIMER_PROF, 0)
            self._mark.clear()
        self._engines[key] = engine
        while len(self._engines) > KEPT:
            self._engines.popitem(last=False)
        return {"state": "done", "left_out": sorted(left_out)}


def main(arguments: list[str]) -> None:
    """Start from the command line that gateway.evaluators gives."""
    parser = argparse.ArgumentParser()
    for name in ("--listen", "--mark", "--parent"):
        parser.add_argument(name, type=int, required=True)
    parser.add_argument("--keys", type=Path, required=True)
    parser.add_argument("--quarantined", nargs="*", default=[])
    given = parser.parse_args(arguments)
    _die_with(given.parent)
    resource.setrlimit(resource.RLIMIT_AS, (bounds.MEMORY_BYTES, bounds.MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    signal.signal(signal.SIGPROF, signal.SIG_DFL)
    listening = socket.socket(fileno=given.listen)
    listening.setblocking(False)
    Evaluator(listening, Mark(given.mark), given.keys, set(given.quarantined)).run()


def _die_with(parent: int) -> None:
    """Let the kernel end us when the parent ends, however it ends."""
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        sys.exit(0)


def _key(header: dict[str, Any]) -> Key:
    return str(header["workspace"]), str(header["environment"]), str(header["revision"])


def _reply(connection: wire.Connection, header: dict[str, Any], payload: bytes = b"") -> None:
    connection.send(wire.pack(header, payload), until=time.monotonic() + 1.0)


def _gone(connected: socket.socket) -> bool:
    """Say whether the caller has closed its end."""
    connected.settimeout(0)
    try:
        return connected.recv(1, socket.MSG_PEEK) == b""
    except BlockingIOError:
        return False
    except OSError:
        return True


def _place(detail: str) -> str:
    """Return where in the policies it failed: what the engine says besides may quote arguments."""
    words = detail.split()
    return f"The policies failed at {words[1]}." if len(words) > 1 and words[0] == "-->" else "The policies failed."


if __name__ == "__main__":
    main(sys.argv[1:])
