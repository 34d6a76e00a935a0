"""Facts about the machine, and who used its processors: read from /proc."""

import os
import platform
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

TICK_MS = 1000 / os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Used:
    """CPU milliseconds since boot: of each group of processes, of `ours` together, of the whole machine; and wall."""

    groups: Mapping[str, float]
    ours: float
    machine: float
    wall: float

    def since(self, earlier: "Used") -> "Used":
        """Return what was used after `earlier`."""
        groups = {name: value - earlier.groups.get(name, 0.0) for name, value in self.groups.items()}
        return Used(groups, self.ours - earlier.ours, self.machine - earlier.machine, self.wall - earlier.wall)

    @property
    def foreign(self) -> float:
        """Return the share of all processors that others used: 0 to 1."""
        return max(0.0, self.machine - self.ours) / (self.wall * (os.cpu_count() or 1))


def used(roots: Mapping[str, int]) -> Used:
    """Return what the process trees below `roots` (name -> pid) and below this process have used."""
    children: dict[int, list[int]] = {}
    spent: dict[int, float] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            parent_and_time = _stat(entry)
            if parent_and_time:
                children.setdefault(parent_and_time[0], []).append(int(entry.name))
                spent[int(entry.name)] = parent_and_time[1]
    groups = {name: _tree(pid, children, spent) for name, pid in roots.items()}
    return Used(groups, _tree(os.getpid(), children, spent), _machine(), time.monotonic() * 1000)


def facts(data: Path) -> dict[str, Any]:
    """Return what figures depend on. `data`: directory whose disk is the database's."""
    cpu = Path("/proc/cpuinfo").read_text().partition("model name\t: ")[2].partition("\n")[0]
    memory = int(Path("/proc/meminfo").read_text().split()[1]) // 1024
    return {
        "cpu": cpu,
        "cores": os.cpu_count(),
        "memory_mib": memory,
        "kernel": platform.release(),
        "python": platform.python_version(),
        "fdatasync_us": round(_fdatasync(data)),
        "load_before": os.getloadavg()[0],
    }


def _stat(process: Path) -> tuple[int, float] | None:
    try:
        fields = (process / "stat").read_text().rpartition(") ")[2].split()
    except OSError:
        return None  # it has ended meanwhile
    # With the time of ended children: what a process has used is not lost when it ends.
    return int(fields[1]), sum(map(int, fields[11:15])) * TICK_MS


def _tree(root: int, children: Mapping[int, list[int]], spent: Mapping[int, float]) -> float:
    return spent.get(root, 0.0) + sum(_tree(child, children, spent) for child in children.get(root, ()))


def _machine() -> float:
    fields = Path("/proc/stat").read_text().splitlines()[0].split()
    user, nice, system, _idle, _wait, irq, softirq, steal = map(int, fields[1:9])
    return (user + nice + system + irq + softirq + steal) * TICK_MS


def _fdatasync(directory: Path) -> float:
    """Return the median time of making 8 kB durable, in microseconds."""
    path = directory / "fdatasync"
    times = []
    with path.open("wb", buffering=0) as file:
        for _ in range(200):
            file.write(bytes(8192))
            begun = time.perf_counter()
            os.fdatasync(file.fileno())
            times.append(time.perf_counter() - begun)
    path.unlink()
    return sorted(times)[100] * 1e6
