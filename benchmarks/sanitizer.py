"""Recall, false positives and time of the sanitiser, by source of the development data.

`python benchmarks/sanitizer.py [DATA]` prints the tables as Markdown; `--write` puts them into
docs/reference/sanitizer.md. DATA is a directory with injection.jsonl.gz, secrets.jsonl.gz and pii.jsonl.gz; default
../shared/data/security. Times are of the CPU, so that other work on the machine does not count.
"""

import argparse
import contextlib
import gzip
import json
import random
import statistics
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from gateway import sanitize  # noqa: E402

PAGE = ROOT / "docs/reference/sanitizer.md"
BEGIN, END = "<!-- measured: benchmarks/sanitizer.py -->", "<!-- end of measured -->"
TYPES = {
    "EMAIL_ADDRESS": "pii.email",
    "PHONE_NUMBER": "pii.phone",
    "IBAN_CODE": "pii.iban",
    "CREDIT_CARD": "pii.card",
    "IP_ADDRESS": "pii.ip",
    "US_SSN": "pii.us_ssn",
}
TEXT = "the quick meeting about project results and plan for next week with team please review numbers 42 report open"
Row = dict[str, Any]


def main() -> int:
    """Measure and print. :returns: 0, or 2 if the data is not there."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", nargs="?", type=Path, default=ROOT.parent / "shared/data/security")
    parser.add_argument("--write", action="store_true", help="put the tables into docs/reference/sanitizer.md")
    options = parser.parse_args()
    if not (options.data / "secrets.jsonl.gz").exists():
        print(f"There is no secrets.jsonl.gz in {options.data}; name the directory of the data.", file=sys.stderr)
        return 2
    injection = list(rows(options.data / "injection.jsonl.gz"))
    tables = "\n\n".join(
        (
            secrets(list(rows(options.data / "secrets.jsonl.gz"))),
            personal(list(rows(options.data / "pii.jsonl.gz"))),
            instructions(injection),
            clean([row for row in injection if not row["label"]]),
            times(),
        )
    )
    if options.write:
        before, rest = PAGE.read_text().split(BEGIN)
        PAGE.write_text(f"{before}{BEGIN}\n{tables}\n{END}{rest.split(END)[1]}")
    print(tables)
    return 0


def rows(path: Path) -> Iterator[Row]:
    """Yield the rows of a gzip file of JSON lines."""
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        yield from map(json.loads, lines)


def kinds(text: str) -> set[str]:
    """Return the kinds found in `text`."""
    return {finding.kind for finding in sanitize.scan(text)}


def secrets(data: list[Row]) -> str:
    """Texts with a secret, and look-alikes without one."""
    counts = tally(data, {"flagged": holds("secret")})
    lines = [
        [source, "secret" if label else "none", str(count["rows"]), share(count, "flagged")]
        for (source, label), count in counts
    ]
    return table("Secrets", ["source", "holds", "texts", "flagged"], lines)


def personal(data: list[Row]) -> str:
    """Spans of a type that a finding of its kind overlaps, and findings that overlap none."""
    hits: Counter[str] = Counter()
    wanted: Counter[str] = Counter()
    wrong: Counter[str] = Counter()
    for row in data:
        found = [one for one in sanitize.scan(row["text"]) if one.kind.startswith("pii.")]
        spans = [(TYPES.get(span["type"]), span["start"], span["end"]) for span in row["spans"]]
        for kind, start, end in spans:
            if kind:
                wanted[kind] += 1
                hits[kind] += any(one.kind == kind and one.start < end and start < one.end for one in found)
        for one in found:
            wrong[one.kind] += not any(
                kind == one.kind and one.start < end and start < one.end for kind, start, end in spans
            )
    lines = [[kind, str(wanted[kind]), f"{hits[kind] / wanted[kind]:.1%}", str(wrong[kind])] for kind in sorted(wanted)]
    total = [
        f"all, in {len(data)} texts",
        str(wanted.total()),
        f"{hits.total() / wanted.total():.1%}",
        str(wrong.total()),
    ]
    return table("Personal data", ["kind", "spans", "found", "false findings"], [*lines, total])


def instructions(data: list[Row]) -> str:
    """Texts that carry an instruction to a model, plain or encoded, and texts that do not."""
    families = {"any": ("injection", "unicode", "markup"), "injection": ("injection",), "unicode": ("unicode",)}
    counts = tally(data, {name: holds(*wanted) for name, wanted in families.items()})
    lines = [
        [
            source,
            "attack" if label else "clean",
            str(count["rows"]),
            *(share(count, name) for name in ("any", "injection", "unicode")),
        ]
        for (source, label), count in counts
    ]
    return table("Instructions", ["source", "holds", "texts", "any finding", "injection.*", "unicode.*"], lines)


def clean(data: list[Row]) -> str:
    """What is found in texts without an attack: for secrets and hidden text, false findings."""
    counts = tally(data, {family: holds(family) for family in ("secret", "pii", "markup")})
    lines = [
        [source, str(count["rows"]), *(share(count, family) for family in ("secret", "pii", "markup"))]
        for (source, _), count in counts
    ]
    return table("Clean texts", ["source", "texts", "secret.*", "pii.* (real addresses too)", "markup.*"], lines)


def times() -> str:
    """Time of one scan in process, p50 and p99 of many."""
    random.seed(7)
    item = {"id": 7, "title": prose(30), "body": prose(120), "url": "https://docs.test/a/b?x=7", "tags": ["a", "b"]}
    cases: dict[str, Any] = {
        "English text, 2 kB": prose(2_000),
        "English text, 100 kB": prose(100_000),
        "JSON with 8 objects, 2 kB": [item] * 8,
        "JSON with 8 objects, 2 kB, one e-mail and one key": [item] * 7 + ["bob@corp.test AKIAQYLPMN5HHHFPZ3KD"],
        "JSON with 400 objects and 400 e-mails, 100 kB": [{**item, "mail": f"u{n}@corp.test"} for n in range(400)],
        "Russian text, 2 kB": "Отчёт команды готов, следующий план тоже. " * 30,
        "hostile: `password=` again and again, 100 kB": "password=" * 11_000,
        "hostile: digits in groups of four, 100 kB": "4444-3333 " * 10_000,
        "hostile: zero-width between all letters, 100 k characters": "a\u200b" * 50_000,
        "hostile: everything mixed, 100 kB": hostile(100_000),
    }
    lines = []
    for name, value in cases.items():
        taken = sorted(once(value) for _ in range(15 if "hostile" in name else 200))
        lines.append([name, f"{statistics.median(taken):,.0f}", f"{taken[int(len(taken) * 0.99)]:,.0f}"])
    return table("Time of one scan", ["value", "p50, µs of CPU", "p99"], lines)


def once(value: Any) -> float:
    """Return the CPU microseconds that one scan takes, whether it succeeds or refuses."""
    started = time.thread_time()
    with contextlib.suppress(sanitize.SanitizerFailed):
        sanitize.scan(value)
    return (time.thread_time() - started) * 1e6


def prose(size: int) -> str:
    """Return about `size` characters of plain words."""
    return " ".join(random.choices(TEXT.split(), k=size // 5))[:size]


def hostile(size: int) -> str:
    """Return pieces that recognisers stumble over, in random order."""
    pieces = [
        "password=",
        "a@b.co ",
        "4444 ",
        "<!--",
        "\u200b",
        "\u202e",
        "ey.",
        "-----BEGIN PRIVATE KEY-----",
        "%41",
        "AKIA",
    ]
    pieces += [
        "ignore all ",
        "phone 1",
        "a://b:c@d ",
        "\u0430b",
        "QUJDREVGR0hJSktMTU5PUFFSU1RVVldYWVo= ",
        "&lt;",
        'token:"',
        "\U000e0041",
    ]
    return "".join(random.choices(pieces, k=size // 8))[:size]


def holds(*families: str) -> Callable[[set[str]], bool]:
    """Return the test whether a kind of one of `families` was found."""
    return lambda found: any(sanitize.covers(families, kind) for kind in found)


def tally(
    data: Iterable[Row], tests: dict[str, Callable[[set[str]], bool]]
) -> list[tuple[tuple[str, int], Counter[str]]]:
    """Count by source and label how many texts pass each test."""
    counts: dict[tuple[str, int], Counter[str]] = defaultdict(Counter)
    for row in data:
        count, found = counts[row["source"], row["label"]], kinds(row["text"])
        count["rows"] += 1
        for name, test in tests.items():
            count[name] += test(found)
    return sorted(counts.items(), key=lambda one: (-one[0][1], one[0][0]))


def share(count: Counter[str], name: str) -> str:
    """Return a share of the rows in per cent."""
    return f"{count[name] / count['rows']:.1%}"


def table(title: str, heads: list[str], lines: list[list[str]]) -> str:
    """Return a Markdown table with its title."""
    body = [heads, ["---"] * len(heads), *lines]
    return f"### {title}\n\n" + "\n".join("| " + " | ".join(line) + " |" for line in body)


if __name__ == "__main__":
    sys.exit(main())
