"""`make bench WHAT=overload`: five times as many calls as can be carried out, by one agent beside three others.

In rounds: the peak (a closed loop), everybody at a fair rate, the others alone, and the flood. Ratios within a round.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path[0] = str(ROOT)

from benchmarks import calls as bench  # noqa: E402

OTHERS = 3
FAIR, QUIET = 0.8, 0.2  # of the peak: all together, and the three others of it
TIMES = 5
WARM_SECONDS = 1.0
TIMEOUT_MS = 2000


def main() -> None:
    """Measure, print, write the JSON file."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=8.0, help="of each load in a round")
    parser.add_argument("--verbose", dest="quiet", action="store_false", help="show what the processes say")
    parser.add_argument("--out", type=Path, default=ROOT / ".cache" / "overload.json", help="the JSON file")
    options = parser.parse_args()
    bench._prepare()
    # They read the settings that have just been chosen.
    from benchmarks import machine, phases, workspace  # noqa: PLC0415
    from benchmarks.installation import Installation  # noqa: PLC0415
    from config import env  # noqa: PLC0415
    from config.supervisor import write  # noqa: PLC0415

    quiet = (lambda name, line: None) if options.quiet else write
    with Installation(env.read(), write=quiet) as installation:
        facts = machine.facts(installation.data)
        site = workspace.make(agents=bench.AGENTS, others=OTHERS)
        closed = phases.Phase("governed call", 16, "/api/v1/tool-calls/", workspace.ALLOWED)
        rounds = []
        for _ in range(options.rounds):
            measured = phases.Measured()
            phases.measure(closed, installation, site, measured, seconds=options.seconds)
            rounds.append(_round(installation, site, measured.rates[-1], options.seconds))
            print(json.dumps(rounds[-1]), flush=True)
    document = {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "revision": bench._revision(),
        "machine": facts | {"load_after": os.getloadavg()[0]},
        "rounds": rounds,
        "middle": {name: statistics.median(one[name] for one in rounds) for name in rounds[0] if name != "flood"},
    }
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(document, indent=1) + "\n")
    for name, value in document["middle"].items():
        print(f"{name:40} {value:10.3f}")
    print(f"load {facts['load_before']:.1f} before, {os.getloadavg()[0]:.1f} after; JSON: {options.out}")


def _round(installation: Any, site: Any, peak: float, seconds: float) -> dict[str, Any]:
    others = [(f"other-{number}", [key], QUIET * peak / OTHERS, 4) for number, key in enumerate(site.others)]
    quiet = _load(installation, others, seconds)
    fair = _load(installation, [("steward", site.keys, (FAIR - QUIET) * peak, 32), *others], seconds)
    before = _memory(installation)
    flood = _load(installation, [("steward", site.keys, (TIMES - QUIET) * peak, 96), *others], seconds)
    after = _memory(installation)
    told: Counter[str] = sum((Counter(stream["told"]) for stream in flood), Counter())
    asked = sum(count for name, count in told.items() if name != "429 with Retry-After")
    return {
        "peak_per_second": round(peak, 1),
        "asked_per_second": round(asked / seconds, 1),
        "goodput_per_second": round(told["200"] / seconds, 1),
        "goodput_of_peak": round(told["200"] / seconds / peak, 3),
        # It asks from the processors that are measured.
        "client_of_processors": round(sum(one["cpu"] for one in flood) / seconds / (os.cpu_count() or 1), 3),
        "refused": told["429"],
        "refused_without_retry_after": told["429"] - told["429 with Retry-After"],
        "others_refused": sum(stream["told"].get("429", 0) for stream in flood[1:]),
        "others_answered": sum(stream["told"].get("200", 0) for stream in flood[1:]),
        "others_p99_quiet_ms": _p99(quiet),
        "others_p99_fair_ms": _p99(fair[1:]),
        "others_p99_flood_ms": _p99(flood[1:]),
        "others_p50_fair_ms": _p50(fair[1:]),
        "others_p50_flood_ms": _p50(flood[1:]),
        "others_p99_flood_over_fair": round(_p99(flood[1:]) / _p99(fair[1:]), 2),
        "others_p99_flood_over_quiet": round(_p99(flood[1:]) / _p99(quiet), 2),
        "refusal_p50_ms": statistics.median(flood[0]["refusals"]) / 1000 if flood[0]["refusals"] else 0.0,
        "slowest_answer_ms": max(latency for stream in flood for latency in stream["latencies"]) / 1000,
        "rss_before_mib": before,
        "rss_after_mib": after,
        "flood": dict(told),
    }


def _load(installation: Any, streams: list[tuple[str, list[str], float, int]], seconds: float) -> list[dict[str, Any]]:
    """Ask at these rates, each stream in a process of its own if it is large; return their results in order."""
    from benchmarks import tools, workspace  # noqa: PLC0415

    groups = [streams[:1], streams[1:]] if len(streams) > OTHERS else [streams]
    clients = [_client() for _ in groups]
    begin = time.monotonic() + 0.2
    for group, client in zip(groups, clients, strict=True):
        orders = [
            {
                "name": f"{name}-{time.time_ns()}",
                "host": installation.environment.placet_bind,
                "port": installation.environment.port,
                "path": "/api/v1/tool-calls/",
                "keys": keys,
                "body": {"name": workspace.ALLOWED, "arguments": tools.ARGUMENTS, "timeout_ms": TIMEOUT_MS},
                "rate": rate,
                "connections": connections,
                "begin": begin,
                "start": begin + WARM_SECONDS,
                "end": begin + WARM_SECONDS + seconds,
            }
            for name, keys, rate, connections in group
        ]
        assert client.stdin is not None
        client.stdin.write(json.dumps(orders))
        client.stdin.close()
    results: list[dict[str, Any]] = []
    for client in clients:
        assert client.stdout is not None
        results += json.loads(client.stdout.read())
        client.wait()
    return results


def _client() -> subprocess.Popen[str]:
    client = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.flood"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert client.stdout is not None
    client.stdout.readline()  # it has started
    return client


def _memory(installation: Any) -> float:
    """Return the resident memory of the web processes in MiB."""
    root, pages = installation.roots()["web"], 0
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            fields = (entry / "stat").read_text().rpartition(") ")[2].split()
            children.setdefault(int(fields[1]), []).append(int(entry.name))
    left = [root]
    while left:
        pid = left.pop()
        pages += int(Path(f"/proc/{pid}/statm").read_text().split()[1])
        left += children.get(pid, [])
    return round(pages * os.sysconf("SC_PAGE_SIZE") / 2**20, 1)


def _p50(streams: list[dict[str, Any]]) -> float:
    return statistics.median(_latencies(streams))


def _p99(streams: list[dict[str, Any]]) -> float:
    return statistics.quantiles(_latencies(streams), n=100)[98]


def _latencies(streams: list[dict[str, Any]]) -> list[float]:
    return [latency / 1000 for stream in streams for latency in stream["latencies"]]


if __name__ == "__main__":
    main()
