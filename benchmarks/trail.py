"""`make bench WHAT=trail`: what the trail costs and how soon it can be proven, on a real installation of its own.

The rate of calls with sequencer and publisher running against paused, in turns; how long a committed record waits for
a signed checkpoint; how fast a backlog is integrated, exported and verified.
"""

import argparse
import json
import os
import resource
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path[0] = str(ROOT)

from django.db import connection, transaction  # noqa: E402

from benchmarks import calls as bench  # noqa: E402

LOG = ("sequencer", "publisher")
PROBES_PER_SECOND = 5


def main() -> None:
    """Measure, print, write the JSON file."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5, help="of calls with the trail on and off")
    parser.add_argument("--seconds", type=float, default=6.0, help="of each load in a round")
    parser.add_argument("--records", type=int, default=200_000, help="in the export that is verified")
    parser.add_argument("--verbose", dest="quiet", action="store_false", help="show what the processes say")
    parser.add_argument("--out", type=Path, default=ROOT / ".cache" / "trail.json", help="the JSON file")
    options = parser.parse_args()
    bench._prepare()
    # They read the settings that have just been chosen.
    from benchmarks import machine, workspace  # noqa: PLC0415
    from benchmarks.installation import Installation  # noqa: PLC0415
    from config import env  # noqa: PLC0415
    from config.supervisor import write  # noqa: PLC0415

    quiet = (lambda name, line: None) if options.quiet else write
    with Installation(env.read(), write=quiet) as installation:
        facts = machine.facts(installation.data)
        site = workspace.make(agents=bench.AGENTS)
        document: dict[str, Any] = {
            "at": datetime.now(UTC).isoformat(timespec="seconds"),
            "revision": bench._revision(),
        }
        parts = {
            "calls": lambda: _rates(installation, site, options.rounds, options.seconds),
            "merge_idle": lambda: _merge(site, seconds=20.0),
            "merge_loaded": lambda: _merge_loaded(installation, site, seconds=20.0),
            "backlog": lambda: _backlog(installation, site, options.records),
            "verify": lambda: _verify(site),
        }
        for name, measure in parts.items():
            document[name] = measure()
            print(name, json.dumps(document[name]), flush=True)
        document["machine"] = facts | {"load_after": os.getloadavg()[0]}
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(document, indent=1) + "\n")
    print(f"load {facts['load_before']:.1f} before, {os.getloadavg()[0]:.1f} after; JSON: {options.out}")


def _rates(installation: Any, site: Any, rounds: int, seconds: float) -> dict[str, Any]:
    """Return the rate of calls with the trail on and off, in turns, and the CPU of one call."""
    from benchmarks import phases, report, workspace  # noqa: PLC0415

    phase = phases.Phase("governed call", 16, "/api/v1/tool-calls/", workspace.ALLOWED)
    rates: dict[str, list[float]] = {"on": [], "off": []}
    cpu: dict[str, list[float]] = {"on": [], "off": []}
    log: list[float] = []
    for number in range(rounds + 1):
        for which in ("on", "off") if number % 2 else ("off", "on"):
            measured = phases.Measured()
            before = _log_cpu(installation)
            with _paused(installation) if which == "off" else _running():
                phases.measure(phase, installation, site, measured, seconds=seconds)
            spent = _log_cpu(installation) - before
            _drain()
            if number:  # the first round warms up
                figures = measured.document()
                rates[which].append(figures["per_second"])
                cpu[which].append(report.server(figures))
                if which == "on":
                    log.append(spent / measured.answered)
    ratios = [on / off for on, off in zip(rates["on"], rates["off"], strict=True)]
    return {
        "on_per_second": rates["on"],
        "off_per_second": rates["off"],
        "on_over_off": round(statistics.median(rates["on"]) / statistics.median(rates["off"]), 3),
        "on_over_off_by_round": [round(one, 3) for one in ratios],
        "cpu_ms_a_call_on": round(statistics.median(cpu["on"]), 2),
        "cpu_ms_a_call_off": round(statistics.median(cpu["off"]), 2),
        "cpu_off_over_on": round(statistics.median(cpu["off"]) / statistics.median(cpu["on"]), 3),
        "log_cpu_ms_a_call": round(statistics.median(log), 2),
    }


def _log_cpu(installation: Any) -> float:
    """Return the CPU milliseconds that sequencer, publisher and their backends have used."""
    from benchmarks import machine  # noqa: PLC0415

    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT pid FROM pg_stat_activity WHERE application_name IN ('placet sequencer', 'placet publisher')"
        )
        backends = {str(pid): pid for (pid,) in cursor.fetchall()}
    roots = installation.roots()
    return sum(machine.used({**backends, **{name: roots[name] for name in LOG}}).groups.values())


@contextmanager
def _paused(installation: Any) -> Iterator[None]:
    """Stop sequencer and publisher where they are, while the block runs."""
    pids = [installation.roots()[name] for name in LOG]
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)


@contextmanager
def _running() -> Iterator[None]:
    yield


def _drain() -> float:
    """Wait until nothing is pending; return for how many seconds."""
    begun = time.monotonic()
    with connection.cursor() as cursor:
        while True:
            cursor.execute("SELECT EXISTS (SELECT 1 FROM audit_pending)")
            if not cursor.fetchone()[0]:
                return time.monotonic() - begun
            time.sleep(0.02)


def _merge_loaded(installation: Any, site: Any, *, seconds: float) -> dict[str, Any]:
    from benchmarks import phases, workspace  # noqa: PLC0415

    phase = phases.Phase("governed call", 16, "/api/v1/tool-calls/", workspace.ALLOWED)
    measured = phases.Measured()
    loading = threading.Thread(
        target=phases.measure, args=[phase, installation, site, measured], kwargs={"seconds": seconds + 2}
    )
    loading.start()
    time.sleep(2)
    merged = _merge(site, seconds=seconds)
    loading.join()
    return merged | {"calls_per_second": measured.rates[-1]}


def _merge(site: Any, *, seconds: float) -> dict[str, Any]:
    """Commit a record now and then; return how long each waited until a signed checkpoint held it."""
    from audit import log  # noqa: PLC0415

    waiting: dict[Any, float] = {}
    waits: list[float] = []
    begun = due = time.monotonic()
    while time.monotonic() < begun + seconds or waiting:
        if due <= time.monotonic() < begun + seconds:
            due += 1 / PROBES_PER_SECOND
            with transaction.atomic():
                entry = log.append(
                    "gateway.load.shed",
                    workspace=site.workspace.pk,
                    actor="system:benchmark",
                    correlation_id="benchmark",
                    now=datetime.now(UTC),
                )
            waiting[entry.id] = time.monotonic()
        for record in _signed(site, list(waiting)):
            waits.append(time.monotonic() - waiting.pop(record))
        time.sleep(0.01)
    cuts = statistics.quantiles(waits, n=100)
    rounded = {
        name: round(value, 3) for name, value in (("p50_s", cuts[49]), ("p99_s", cuts[98]), ("max_s", max(waits)))
    }
    return {"probes": len(waits)} | rounded


def _signed(site: Any, records: list[Any]) -> list[Any]:
    with connection.cursor() as cursor:
        cursor.execute(
            """SELECT record FROM audit_leaf WHERE record = ANY(%s) AND index < (
                   SELECT size FROM audit_checkpoint WHERE workspace = %s ORDER BY size DESC LIMIT 1)""",
            [records, site.workspace.pk],
        )
        return [record for (record,) in cursor.fetchall()]


def _backlog(installation: Any, site: Any, count: int) -> dict[str, Any]:
    """Append copies of the records of calls until the log has `count`, the sequencer paused; then let it catch up."""
    from audit import tree  # noqa: PLC0415
    from audit.uuid7 import uuid7  # noqa: PLC0415
    from benchmarks import machine  # noqa: PLC0415

    workspace = site.workspace.pk
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM audit_record WHERE workspace = %s", [workspace])
        missing = max(0, count - cursor.fetchone()[0])
        cursor.execute(
            """SELECT id, event, actor, correlation_id, body FROM audit_record WHERE workspace = %s
               AND event IN ('gateway.call.decided', 'gateway.call.completed') ORDER BY id DESC LIMIT 1000""",
            [workspace],
        )
        models = cursor.fetchall()
    with _paused(installation), connection.cursor() as cursor:
        columns = "id, workspace, event, actor, correlation_id, body, leaf_hash"
        with cursor.copy(f"COPY audit_record ({columns}) FROM STDIN") as copy:
            for number in range(missing):
                old, event, actor, correlation_id, body = models[number % len(models)]
                record = uuid7()
                fresh = bytes(body).replace(str(old).encode(), str(record).encode())
                copy.write_row((record, workspace, event, actor, correlation_id, fresh, tree.leaf(fresh)))
    before = machine.used(installation.roots())
    took = _drain()
    spent = machine.used(installation.roots()).since(before)
    return {
        "records": missing,
        "seconds": round(took, 2),
        "per_second": round(missing / took),
        "sequencer_cpu_s": round(spent.groups["sequencer"] / 1000, 2),
        "per_cpu_second": round(missing / (spent.groups["sequencer"] / 1000)),
    }


def _verify(site: Any) -> dict[str, Any]:
    """Export the log and verify it by a copy of verify.py, in an isolated interpreter on one core."""
    from audit import export, keys, proofs, publisher  # noqa: PLC0415

    workspace = site.workspace.pk
    with connection.cursor() as cursor:
        cursor.execute("SELECT size FROM audit_head WHERE workspace = %s", [workspace])
        size = cursor.fetchone()[0]
    while proofs.checkpoint(workspace).size < size:
        time.sleep(0.1)
    with tempfile.TemporaryDirectory(prefix="placet-bench-") as directory:
        place = Path(directory)
        begun = time.monotonic()
        with (place / "export.ndjson").open("wb") as file:
            file.writelines(export.stream(workspace))
        exported = time.monotonic() - begun
        shutil.copy(ROOT / "audit" / "verify.py", place / "verify.py")
        shutil.copy(publisher.copy_path(workspace), place / "held.note")
        command = [sys.executable, "-I", "-S", "verify.py", "export.ndjson", "--checkpoint", "held.note"]
        command += ["--key", keys.checkpoint(workspace).public]
        tries = []
        for _ in range(3):
            before, begun = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
            done = subprocess.run(command, cwd=place, capture_output=True, text=True, check=False)
            after = resource.getrusage(resource.RUSAGE_CHILDREN)
            if done.returncode:
                raise RuntimeError(done.stdout + done.stderr)
            cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
            tries.append((cpu, time.monotonic() - begun))
        length = (place / "export.ndjson").stat().st_size
    cpu, wall = min(tries)
    return {
        "records": size,
        "bytes_a_record": round(length / size),
        "export_per_second": round(size / exported),
        "cpu_s": [round(one, 2) for one, _ in tries],
        "per_cpu_second": round(size / cpu),
        "per_second": round(size / wall),
    }


if __name__ == "__main__":
    main()
