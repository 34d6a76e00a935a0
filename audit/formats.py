"""The forms that an export's file can have. A further one is a function and an entry."""

import csv
import io
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from uuid import UUID

from audit import export, tree

COLUMNS = ("index", "id", "at", "event", "actor", "correlation_id", "subjects", "data", "leaf_hash")


@dataclass(frozen=True, slots=True)
class Order:
    """What an export holds: fixed by its record, so it is the same whenever it is written."""

    workspace: UUID
    size: int
    first: int = 0
    selection: export.Selection | None = None
    since: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Format:
    """One form. `verifies`: verify.py can check it. `write` yields bytes; `records(chunk)` counts those in a chunk."""

    name: str
    media_type: str
    suffix: str
    line: str
    verifies: bool
    write: Callable[[Order], Iterator[bytes]]
    records: Callable[[bytes], int]


def _ndjson(order: Order) -> Iterator[bytes]:
    how = {"size": order.size, "first": order.first, "selection": order.selection, "since": order.since}
    return export.stream(order.workspace, **how)  # type: ignore[arg-type]


def _csv(order: Order) -> Iterator[bytes]:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\r\n")
    writer.writerow(COLUMNS)
    rows = export.rows(order.workspace, size=order.size, first=order.first, selection=order.selection)
    for number, (index, body) in enumerate(rows, start=1):
        record = json.loads(body)
        plain = [record[name] for name in ("id", "at", "event", "actor", "correlation_id")]
        inner = [_compact(record[name]) for name in ("subjects", "data")]
        writer.writerow([index, *map(_harmless, plain), *inner, tree.leaf(body).hex()])
        if not number % export.SLICE:
            yield text.getvalue().encode()
            text.seek(0)
            text.truncate()
    yield text.getvalue().encode()


def _compact(value: object) -> str:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


def _harmless(text: str) -> str:
    """Return a cell that a spreadsheet does not take for a formula (OWASP, CSV injection)."""
    return f"'{text}" if text[:1] in ("=", "+", "-", "@", "\t", "\r") else text


NDJSON = Format(
    "ndjson",
    "application/x-ndjson",
    "ndjson",
    "NDJSON with the signed checkpoint: what verify.py checks offline",
    True,
    _ndjson,
    lambda chunk: chunk.count(b"\n"),
)
CSV = Format(
    "csv",
    "text/csv; charset=utf-8",
    "csv",
    "CSV for spreadsheets: to read and count; carries no proof",
    False,
    _csv,
    lambda chunk: chunk.count(b"\r\n"),
)
FORMATS: Mapping[str, Format] = {one.name: one for one in (NDJSON, CSV)}
