"""The effects server (tests/tools/effects.py) as transports reach it, and its own log, which tests trust."""

import json
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar
from uuid import UUID, uuid4

from gateway import transport
from gateway.transport import definitions

ROOT = Path(__file__).resolve().parents[2]
PYTHON = ROOT / ".venv-tools/bin/python"


def install():
    """Make the tool servers' own virtual environment, if it is not there yet."""
    subprocess.run([ROOT / "scripts/install-tools"], check=True)


def until(condition, seconds=30):
    """Wait until `condition` holds."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not come about"
        time.sleep(0.01)


@dataclass
class Contract:
    """The least that a transport needs of a contract."""

    name: str
    content: dict
    kind: str = "tool"
    digest: str = "sha256:" + "0" * 64


@dataclass
class Effects:
    """One effects server behind the launcher, or the endpoint, `effects`. :ivar place: where it keeps its log."""

    place: Path
    reached: str = "launcher"
    workspace: UUID = field(default_factory=uuid4)
    release: str = "sha256:release"
    known: ClassVar[dict] = {}

    def contract(self, tool, **content):
        """Return the contract of one of its tools."""
        content.setdefault("effect", "read")
        given = {"kind": "mcp", self.reached: "effects", "tool": tool, "definition": self.pins[tool]["digest"]}
        return Contract(tool, {"transport": given | content.pop("transport", {}), **content})

    def call(self, tool, arguments=None, *, key="key-1", seconds=20.0, session=None, release=None, **content):
        """Call a tool as the line would."""
        return transport.invoke(
            self.contract(tool, **content),
            {} if arguments is None else arguments,
            key=key,
            deadline=time.monotonic() + seconds,
            scope=transport.Scope(self.workspace, "development", release or self.release, session),
            correlation_id="0193b3a4-0000-7000-8000-00000000abcd",
        )

    def effects(self):
        """Return what the server says that it did, in order."""
        log = self.place / "effects.jsonl"
        return [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []

    @property
    def pins(self):
        """Return its definitions, asked for once in a test run for each way to it."""
        if self.reached not in self.known:
            self.known[self.reached] = definitions.fetch("effects", endpoint=self.reached == "endpoint")
        return self.known[self.reached]
