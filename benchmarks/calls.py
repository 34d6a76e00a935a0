"""`make bench`: governed calls beside a bare view and bare commits, on a real installation of its own.

Loopback only. Everything runs on the same processors, the load client too: trust ratios more than figures.
"""

import argparse
import json
import os
import secrets
import socket
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path[0] = str(ROOT)

import django  # noqa: E402
from django.db import connection  # noqa: E402

from benchmarks import report  # noqa: E402
from benchmarks.tool_server import ToolServer  # noqa: E402

ROUNDS = 2
AGENTS = 16


def main() -> None:
    """Measure, print, write the JSON file."""
    options = _options()
    begun = time.monotonic()
    with ToolServer() as tool_server:
        _prepare(tool_server.port)
        document = _measured(options, tool_server)
    document["took_s"] = round(time.monotonic() - begun)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(document, indent=1) + "\n")
    report.show(document)
    print(f"JSON: {options.out}")


def _measured(options: argparse.Namespace, tool_server: ToolServer) -> dict[str, Any]:
    """Return what one run found out."""
    # They read the settings that have just been chosen.
    from benchmarks import machine, phases, steps, workspace  # noqa: PLC0415
    from benchmarks.installation import Installation  # noqa: PLC0415
    from config import env  # noqa: PLC0415
    from config.supervisor import write  # noqa: PLC0415
    from gateway.transport import close, definitions  # noqa: PLC0415

    definition = str(definitions.fetch("bench", endpoint=True)[workspace.ALLOWED]["digest"])
    close()
    quiet = (lambda name, line: None) if options.quiet else write
    with Installation(env.read(), write=quiet) as installation:
        installation.tool_server = tool_server
        facts = machine.facts(installation.data)
        site = workspace.make(agents=AGENTS, definition=definition)
        measured = {phase.key: phases.Measured() for phase in phases.PHASES}
        # In rounds, so that a change of the machine's mood meets every phase.
        for _ in range(ROUNDS):
            for phase in phases.PHASES:
                into = measured[phase.key]
                phases.measure(phase, installation, site, into, seconds=options.seconds / ROUNDS)
        done = (workspace.ALLOWED, workspace.REMOTE)
        answered = sum(measured[one.key].answered for one in phases.PHASES if one.tool in done and not one.sdk)
        trail = _trail(answered)
        door = steps.Door(site)
        by_step = steps.measure(door, count=options.calls)
        by_function = steps.profile(door, count=options.calls)
        facts["database"] = {name: _show(name) for name in ("server_version", "fsync", "synchronous_commit")}
    figures = {name: one.document() for name, one in measured.items()}
    return {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "revision": _revision(),
        "seconds": options.seconds,
        "calls": options.calls,
        "machine": facts | {"load_after": os.getloadavg()[0]},
        "phases": figures,
        "ratios": report.ratios(figures),
        "steps": by_step,
        "profile": by_function,
        "trail": trail,
    }


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--seconds", type=float, default=6.0, help="of each kind of load, in two rounds")
    parser.add_argument("--calls", type=int, default=300, help="calls timed step by step, and as many profiled")
    parser.add_argument("--quick", action="store_true", help="two seconds each and 100 calls: does it still work?")
    parser.add_argument("--verbose", dest="quiet", action="store_false", help="show what the processes say")
    parser.add_argument("--out", type=Path, default=ROOT / ".cache" / "bench.json", help="the JSON file")
    options = parser.parse_args()
    if options.quick:
        options.seconds, options.calls = 2.0, 100
    return options


def _prepare(tool_port: int = 9) -> None:
    """Choose a home, a port and the settings, for this process and all that it starts.

    :param tool_port: of the tool server; the default is one where nobody answers.
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    for name in ("DATABASE_URL", "BROKER_URL", "CACHE_URL", "PLACET_PROCESS", "PLACET_BIND"):
        os.environ.pop(name, None)
    home = ROOT / f".placet-bench-{secrets.token_hex(3)}"
    home.mkdir(mode=0o700)
    launchers = home / "launchers.toml"
    launchers.write_text(f'[endpoints.bench]\nurl = "http://127.0.0.1:{tool_port}/mcp"\n')
    os.environ |= {
        "PLACET_HOME": str(home),
        "PLACET_LOG_LEVEL": "warning",
        "PLACET_LAUNCHERS": str(launchers),
        "PLACET_EGRESS_ALLOW": f"127.0.0.1:{tool_port}",
        "PORT": str(port),
        "DJANGO_SETTINGS_MODULE": "benchmarks.settings",
        "PYTHONPATH": str(ROOT),
    }
    django.setup()


def _trail(answered: int) -> dict[str, Any]:
    """Compare what was answered with what is on record, and wait until the log has it all."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM audit_record WHERE event = 'gateway.call.completed'")
        recorded = cursor.fetchone()[0]
        begun, first, pending = time.monotonic(), None, 1
        while pending and time.monotonic() - begun < 60:
            cursor.execute("SELECT count(*) FROM audit_pending")
            pending = cursor.fetchone()[0]
            first = pending if first is None else first
            time.sleep(0.02)
    drained = round(time.monotonic() - begun, 2)
    return {"answered": answered, "recorded": recorded, "pending": first, "drained_s": drained}


def _show(setting: str) -> str:
    with connection.cursor() as cursor:
        cursor.execute(f"SHOW {setting}")
        return str(cursor.fetchone()[0])


def _revision() -> str:
    command = ["git", "-C", str(ROOT), "describe", "--always", "--dirty"]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()


if __name__ == "__main__":
    main()
