"""What a programme tells: a live line, and a report as JSON and as text."""

import json
import statistics
import sys
import time
from collections import Counter

from tests.chaos.site import LEASE_SECONDS

GOAL_SECONDS = LEASE_SECONDS + 2.0


class Line:
    """One line that is written over on a terminal, and now and then a line anywhere else."""

    def __init__(self, began):
        self.began, self.last = began, 0.0

    def tell(self, text):
        """Show how it stands."""
        line = f"{time.monotonic() - self.began:6.0f} s  {text}"
        if sys.stdout.isatty():
            print(f"\r{line[:150]:<150}", end="", flush=True)
        elif time.monotonic() - self.last > 10:
            self.last = time.monotonic()
            print(line, flush=True)


def write(result):
    """Write report.json and report.md beside the journal; return the text."""
    report = result.report
    document = {
        "seed": result.seed,
        "began": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(result.began)),
        "seconds": round(result.seconds, 1),
        "faults": dict(sorted(Counter(one.name for one in result.faults).items())),
        "load": dict(sorted(result.load.items())),
        "effects": result.effects,
        "drain_seconds": round(result.drain_seconds, 1),
        "left": result.left,
        "looked": report.looked,
        "violations": report.violations,
        "violated": report.more,
        "recoveries": _recoveries(result),
        "each": [{"at": round(one.at - result.began, 2), "kind": one.name, "what": one.what} for one in result.faults],
    }
    (result.place / "report.json").write_text(json.dumps(document, indent=1))
    text = _text(document)
    (result.place / "report.md").write_text(text)
    return text


def _recoveries(result):
    """Return the seconds to recovery by kind: of all, and of those that no other fault came to disturb."""
    found = {}
    for name in sorted({one.name for one in result.recoveries}):
        seen = [one for one in result.recoveries if one.name == name]
        alone = [one for one in seen if not _disturbed(one, result.faults)]
        found[name] = _figures(seen) | {"alone": _figures(alone)}
    return found


def _disturbed(recovery, faults):
    until = recovery.at + min(recovery.seconds or 60.0, 60.0)
    return any(recovery.at + 0.05 < one.at < until for one in faults)


def _figures(seen):
    seconds = sorted(one.seconds for one in seen if one.seconds is not None)
    if not seconds:
        return {"count": len(seen)}
    return {
        "count": len(seen),
        "never": len(seen) - len(seconds),
        "median": round(statistics.median(seconds), 2),
        "longest": round(seconds[-1], 2),
        "within_goal": sum(one <= GOAL_SECONDS for one in seconds),
    }


def _text(document):
    lines = [
        f"# Fault programme, seed {document['seed']}, {document['began']}",
        "",
        f"{sum(document['faults'].values())} faults in {document['seconds']} s; drained in "
        f"{document['drain_seconds']} s, left: {document['left']}; {document['effects']} effects.",
        "",
        "Faults: " + ", ".join(f"{name} {count}" for name, count in document["faults"].items()),
        "",
        "Answers: " + ", ".join(f"{name} {count}" for name, count in document["load"].items()),
        "",
        f"Recovery in seconds (goal after SIGKILL of a worker: {GOAL_SECONDS:g}):",
        *(f"- {name}: {figures}" for name, figures in document["recoveries"].items()),
        "",
        "Invariants, and at how much each looked: "
        + ", ".join(f"{name} {count}" for name, count in document["looked"].items()),
        "",
        f"{sum(document['violated'].values())} violations",
        *(f"- {one}" for one in document["violations"]),
    ]
    return "\n".join(lines)
