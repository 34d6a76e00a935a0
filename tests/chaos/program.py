"""The fault programme: load on the whole stack, faults from a seed, a drain, and then the invariants.

make chaos        PLACET_CHAOS_SEED=7 PLACET_CHAOS_FAULTS=200 PLACET_CHAOS_MINUTES=10 PLACET_CHAOS_KINDS=kill_web,…
"""

import os
import random
import secrets
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

import psycopg

from tests.chaos import fault_broker, fault_database, fault_processes, invariants, load, people, reporting
from tests.chaos.evidence import Case, Report
from tests.chaos.faults import KINDS, Done, Injector, Ops
from tests.chaos.recoveries import Recovery
from tests.chaos.site import Site

PLACE = Path(__file__).resolve().parents[2] / ".placet-chaos"
CLIENTS = [
    ("agent 1", load.calls),
    ("agent 2", load.calls),
    ("agent with a changing release", load.changing_calls),
    ("agent without the right", load.denied_calls),
    ("agent that is held", load.held_calls),
    ("agent with a small budget", load.frugal_calls),
    ("alice", load.runs),
    ("alice and bob", people.releasing),
]
PEOPLE = [
    ("bob", people.reviewing),
    ("olga", people.operating),
    ("olga's dead letters", people.requeueing),
    ("dave", people.keeping),
]
DRAIN_SECONDS = 180.0
# What is still under way, or not yet under a checkpoint.
_LEFT = """
SELECT (SELECT count(*) FROM agents_run WHERE workspace_id = %(w)s AND finished_at IS NULL) AS runs,
       (SELECT count(*) FROM gateway_call WHERE workspace_id = %(w)s AND state = 'decided') AS calls,
       (SELECT count(*) FROM gateway_lease) AS leases,
       (SELECT count(*) FROM audit_pending WHERE workspace = %(w)s) AS pending,
       (SELECT size FROM audit_head WHERE workspace = %(w)s)
           - (SELECT coalesce(max(size), 0) FROM audit_checkpoint WHERE workspace = %(w)s) AS unsigned
"""


@dataclass
class Result:
    """What one programme saw."""

    seed: int
    place: Path
    began: float = field(default_factory=time.time)
    seconds: float = 0.0
    faults: list[Done] = field(default_factory=list)
    recoveries: list[Recovery] = field(default_factory=list)
    load: dict[str, int] = field(default_factory=dict)
    effects: int = 0
    drain_seconds: float = 0.0
    left: dict[str, int] = field(default_factory=dict)
    report: Report = field(default_factory=Report)


class Program:
    """One programme on one site. :param tell: is told how it stands, now and then."""

    def __init__(self, site, seed, place, *, kinds=None, tell=lambda line: None):
        place.mkdir(parents=True, exist_ok=True)
        self.site, self.tell, self.result = site, tell, Result(seed, place)
        self.load = load.Load(site, seed, place / "journal.jsonl")
        self.ops = Ops(site)
        self.injector = Injector(self.ops, random.Random(seed), kinds)

    def run(self, *, faults, seconds, gap=(0.2, 2.0), cover=False):
        """Inject so many faults, for at most so many seconds; then drain and check. Return what was seen."""
        result, began = self.result, time.monotonic()
        self.load.start(CLIENTS, PEOPLE)
        self.site.wait("there is load", lambda: len(self.load.asked) > 20)
        covering = self.injector.cover() if cover else iter(())
        while len(self.injector.done) < faults and time.monotonic() - began < seconds:
            if next(covering, None) is None:
                self.injector.inject()
            self._pause(self.injector.chance.uniform(*gap))
        self.ops.tick(everything=True)
        fault_broker.heal(self.ops)
        fault_processes.heal(self.ops)
        self.load.stop()
        self._drain()
        self.ops.recoveries.settle()
        self.load.close()
        result.faults, result.recoveries = self.injector.done, self.ops.recoveries.seen
        result.load, result.seconds = dict(self.load.counts), time.monotonic() - began
        self._check()
        return result

    def _pause(self, seconds):
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            self.ops.tick()
            time.sleep(0.05)
        done, counts = self.injector.done, self.load.counts
        answered = sum(count for name, count in counts.items() if name.startswith("call "))
        last = f"{done[-1].name} {done[-1].what}" if done else ""
        self.tell(
            f"{len(done)} faults, {answered} answers to {len(self.load.asked)} requests, "
            f"{sum(map(len, self.load.notes.values()))} checkpoints kept; {last}"
        )

    def _drain(self):
        began, left = time.monotonic(), {}
        while time.monotonic() - began < DRAIN_SECONDS:
            try:
                with self.site.connect() as connection:
                    cursor = connection.execute(_LEFT, {"w": self.site.workspace})
                    left = dict(zip([one.name for one in cursor.description], cursor.fetchone(), strict=True))
            except psycopg.Error:
                left = {"database": 1}
            if not any(left.values()):
                break
            self.tell(f"draining: {left}")
            time.sleep(0.3)
        self.result.drain_seconds, self.result.left = time.monotonic() - began, left

    def _check(self):
        site, result = self.site, self.result
        export = result.place / "trail.ndjson"
        site.manage("export_trail", str(site.workspace), "-o", str(export))
        with site.connect() as connection:
            case = Case(
                connection,
                site.workspace,
                effects=site.done(),
                asked=self.load.asked,
                notes=self.load.notes,
                log_keys=site.key(f"checkpoint-{site.workspace}"),
                receipt_keys=site.key("receipt"),
                export=export,
                denied=frozenset({"forbidden"}),
                held=frozenset({"careful"}),
            )
            result.effects = len(case.effects)
            result.report = invariants.check(case)
        for wrong in [*self.load.wrong, *[f"the programme itself: {one}" for one in self.load.failures]]:
            result.report.broke(wrong.split(" ")[0], wrong)
        if fault_broker.trap(site).exists():
            result.report.broke("I9", "somebody has unpickled a message")


def main():
    """Run the programme as the environment asks; exit with 1 if an invariant was violated."""
    seed = int(os.environ.get("PLACET_CHAOS_SEED") or secrets.randbelow(2**32))
    faults = int(os.environ.get("PLACET_CHAOS_FAULTS") or 200)
    minutes = float(os.environ.get("PLACET_CHAOS_MINUTES") or 10)
    kinds = [name for name in os.environ.get("PLACET_CHAOS_KINDS", "").split(",") if name] or None
    place = PLACE / f"{time.strftime('%Y-%m-%d-%H%M%S')}-{seed}"
    print(f"PLACET_CHAOS_SEED={seed}  {faults} faults of {len(kinds or KINDS)} kinds, at most {minutes:g} minutes")
    with Site() as site:
        began = time.monotonic()
        print(f"Placet is ready; what is seen is kept in {place.relative_to(Path.cwd())}")
        tell = reporting.Line(began).tell
        try:
            result = Program(site, seed, place, kinds=kinds, tell=tell).run(faults=faults, seconds=60 * minutes)
            if result.report.violations:
                subprocess.run(["cp", "-a", str(site.home), str(place / "home")], check=False)
        finally:
            shutil.copy(site.home / "placet.log", place / "placet.log")
            shutil.copy(site.tool / "effects.jsonl", place / "effects.jsonl")
    text = reporting.write(result)
    print(f"\n{text}")
    sys.exit(bool(result.report.violations))


assert fault_database  # its kinds are entered by importing it

if __name__ == "__main__":
    main()
