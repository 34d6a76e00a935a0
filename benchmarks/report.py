"""The figures for people; the JSON file beside them is for machines."""

from typing import Any

from rich.console import Console
from rich.table import Table

_LOG, _OTHER = ("sequencer", "publisher"), ("bundler", "sweeper", "valkey")


def show(document: dict[str, Any]) -> None:
    """Print the tables of a run."""
    console = Console(width=None if Console().is_terminal else 140)
    for table in (_phases(document["phases"]), _ratios(document["ratios"]), _steps(document["steps"])):
        console.print(table)
    console.print(_profile(document["profile"]))
    trail, machine = document["trail"], document["machine"]
    console.print(
        f"Trail: {trail['answered']} calls answered, {trail['recorded']} recorded as completed; "
        f"{trail['pending']} records waited for the sequencer, {trail['drained_s']} s until none did."
    )
    console.print(
        f"Machine: {machine['cores']} x {machine['cpu']}, Linux {machine['kernel']}, Python {machine['python']}, "
        f"fdatasync {machine['fdatasync_us']} us, load before {machine['load_before']:.2f}; "
        f"{document['took_s']} s in all."
    )


def ratios(phases: dict[str, Any]) -> list[dict[str, Any]]:
    """Return what the figures mean beside the anchors of the same run; `goal` where shared notes set one."""
    rows: list[tuple[str, float, str]] = []
    for count in (1, 16):
        call, bare = phases[f"governed call c={count}"], phases[f"bare view c={count}"]
        commits, denied = phases[f"commits (pgbench) c={count}"], phases[f"denied call c={count}"]
        rows.append((f"governed / bare view, calls/s, c={count}", call["per_second"] / bare["per_second"], ""))
        rows.append((f"governed / bare view, p50, c={count}", call["p50_ms"] / bare["p50_ms"], ""))
        rows.append((f"governed / bare view, CPU, c={count}", server(call) / server(bare), ""))
        goal = ">= 0.12" if count == 16 else ""
        rows.append((f"denied (one commit) / pgbench, calls/s, c={count}", _rate(denied, commits), goal))
        rows.append((f"governed (two commits) / pgbench, calls/s, c={count}", _rate(call, commits), ""))
        goal = "<= 6" if count == 1 else ""
        rows.append((f"governed p50 / one commit's p50, c={count}", call["p50_ms"] / commits["p50_ms"], goal))
        hop, alone = phases[f"governed call, MCP hop c={count}"], phases[f"MCP server, no gateway c={count}"]
        rows.append((f"governed over MCP / MCP server alone, calls/s, c={count}", _rate(hop, alone), ""))
        goal = "<= 4" if count == 1 else ""
        rows.append((f"governed call, p50 in ms, c={count}", call["p50_ms"], goal))
        goal = ">= 300" if count == 16 else ""
        rows.append((f"governed calls/s, c={count}", call["per_second"], goal))
        rows.append((f"our CPU ms a call with an MCP hop, c={count}", server(hop), "<= 2.5"))
    shared = phases["governed call, one session c=16"]
    rows.append(("one session / sixteen, calls/s, c=16", _rate(shared, phases["governed call c=16"]), ""))
    return [{"ratio": name, "value": round(value, 3), "goal": goal} for name, value, goal in rows]


def server(phase: dict[str, Any]) -> float:
    """Return our CPU milliseconds a call: of everything but the client and the tool server."""
    return float(sum(value for name, value in phase["cpu_ms"].items() if name not in ("client", "tool server")))


def _rate(one: dict[str, Any], other: dict[str, Any]) -> float:
    return float(one["per_second"]) / float(other["per_second"])


def _phases(phases: dict[str, Any]) -> Table:
    table = Table(title="Load over HTTP (CPU: ms a call)")
    for name in (
        "",
        "/s",
        "rounds",
        "p50 ms",
        "p99 ms",
        "errors",
        "web",
        "evaluators",
        "postgres",
        "log",
        "other",
        "ours",
    ):
        table.add_column(name, justify="left" if not name else "right")
    table.add_column("tool", justify="right")
    table.add_column("client", justify="right")
    table.add_column("foreign", justify="right")
    for name, phase in phases.items():
        cpu = phase["cpu_ms"]
        spent = [cpu.get("web", 0.0), cpu.get("evaluators", 0.0), cpu.get("postgres", 0.0)]
        spent += [sum(cpu.get(each, 0.0) for each in group) for group in (_LOG, _OTHER)]
        table.add_row(
            name,
            f"{phase['per_second']:.0f}",
            " ".join(f"{rate:.0f}" for rate in phase["rounds"]),
            f"{phase['p50_ms']:.2f}",
            f"{phase['p99_ms']:.2f}",
            str(sum(phase["errors"].values())),
            *(f"{each:.2f}" for each in [*spent, sum(spent), cpu.get("tool server", 0.0), cpu.get("client", 0.0)]),
            f"{phase['foreign']:.0%}",
        )
    return table


def _ratios(rows: list[dict[str, Any]]) -> Table:
    table = Table("ratio", "value", "goal", title="Ratios")
    for row in rows:
        table.add_row(row["ratio"], f"{row['value']:.3g}", row["goal"])
    return table


def _steps(rows: list[dict[str, Any]]) -> Table:
    table = Table(title="Steps of one call, in process, one at a time (microseconds)")
    for number, name in enumerate(("step", "p50", "p99", "CPU", "statements", "in SQL", "in COMMIT")):
        table.add_column(name, justify="right" if number else "left")
    for row in rows:
        cells = [f"{row[name]:.0f}" for name in ("p50_us", "p99_us", "cpu_us")]
        cells += [f"{row['statements']:g}", f"{row['sql_us']:.0f}", f"{row['commit_us']:.0f}"]
        table.add_row(row["step"], *cells)
    return table


def _profile(rows: list[dict[str, Any]]) -> Table:
    table = Table(title="CPU time by function (microseconds a call, under cProfile, which inflates small functions)")
    for number, name in enumerate(("function", "place", "times", "own", "with what it calls")):
        table.add_column(name, justify="right" if number > 1 else "left", overflow="fold")
    for row in rows:
        cells = [f"{row['times']:g}", f"{row['own_us']:.1f}", f"{row['all_us']:.1f}"]
        table.add_row(row["function"], row["place"], *cells)
    return table
