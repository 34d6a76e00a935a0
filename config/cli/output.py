"""What is printed: tables for people, one JSON document for programs; nothing else ever goes to stdout."""

import json
import os
import sys
import textwrap
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn
from rich.table import Table
from rich.text import Text

from config.cli.failures import Failure

PIPED_COLUMNS = 160
_FRAME: Mapping[str, Any] = {"box": None, "pad_edge": False, "padding": (0, 2, 0, 0)}
_WORDS = {
    "open": "yellow", "parked": "yellow", "held": "yellow", "pending": "yellow", "waiting": "yellow",
    "approved": "green", "live": "green", "succeeded": "green", "finished": "green", "completed": "green",
    "released": "green",
    "available": "green", "running": "cyan", "queued": "cyan", "rejected": "red", "denied": "red", "failed": "red",
    "revoked": "red", "unknown": "red", "high": "red", "medium": "yellow",
}  # fmt: skip


def out() -> Console:
    """Return the console of results. NO_COLOR and COLUMNS are honoured; a pipe is wide enough not to fold tables."""
    return _console(sys.stdout.isatty())


def err() -> Console:
    """Return the console of everything that is no result: progress, questions, errors."""
    return _console(sys.stderr.isatty(), stderr=True)


def say(text: str) -> None:
    """Tell a person something that is no result. `text` may have markup; put `plain` around what is not ours."""
    err().print(text)


def show(document: Any, *, as_json: bool, table: Table | Text | str | None = None) -> None:
    """Print a result: as JSON (ASCII, sorted as given), or as the table or the marked-up text for people."""
    if as_json:
        print(json.dumps(document, indent=2))  # noqa: T201 - the result
    elif table is not None:
        out().print(table, soft_wrap=not isinstance(table, Table))  # a link must not be cut in two


def table(title: str, columns: Sequence[str], rows: Iterable[Sequence[Any]], *, empty: str = "Nothing.") -> Table | str:
    """Return a table that keeps its shape in 80 columns: long cells fold, and no column is dropped."""
    made = Table(title=title or None, title_justify="left", title_style="bold", **_FRAME)
    for column in columns:
        made.add_column(column, overflow="fold", header_style="dim", justify="right" if column == "#" else "left")
    count = 0
    for row in rows:
        made.add_row(*[cell if isinstance(cell, Text) else Text(plain(cell)) for cell in row])
        count += 1
    return made if count else f"[dim]{empty}[/dim]"


def pairs(rows: Iterable[tuple[str, Any]]) -> Text:
    """Return what is known about one thing, a name and a value a line. Print it with `soft_wrap`: links and digests
    are longer than a line may be, and must still be copied in one piece.
    """
    told = [(name, value if isinstance(value, Text) else Text(plain(value))) for name, value in rows if value]
    indent = max((len(name) for name, _ in told), default=0) + 2
    made = Text()
    for name, value in told:
        made.append(name.ljust(indent), "dim")
        for number, line in enumerate(value.plain.splitlines()):
            room = max(out().width - indent, 20)
            parts = textwrap.wrap(line, room, break_long_words=False, break_on_hyphens=False) or [""]
            for part in parts:
                made.append("" if number == 0 and part is parts[0] else " " * indent)
                made.append(part + "\n", value.style)
    made.rstrip()
    return made


def word(state: Any) -> Text:
    """Return a state in its colour; the word says it, too."""
    return Text(plain(state), style=_WORDS.get(str(state), ""))


def plain(value: Any) -> str:
    """Return text of others so that it cannot move the cursor, hide or reorder anything: `<U+202E>` stands for it."""
    if isinstance(value, (dict, list)):
        value = json.dumps(value, ensure_ascii=False)
    text = "" if value is None else str(value)
    return "".join(map(_shown, text))


def safe(value: Any) -> str:
    """Return text of others for a place where markup counts."""
    return escape(plain(value))


def short(pk: Any) -> str:
    """Return the end of an id, which commands take instead of all of it."""
    return str(pk or "")[-8:]


def digest(text: Any) -> str:
    """Return the beginning of a digest."""
    return str(text or "")[:19]


def ago(moment: str | None) -> str:
    """Return a time as people say it: `3 min ago`, `in 6 d`."""
    if not moment:
        return ""
    seconds = (datetime.now(UTC) - datetime.fromisoformat(moment)).total_seconds()
    # A token made for 12 hours ends in 12 h, not in 11: half a minute is no hour less.
    size = seconds if seconds > 0 else -seconds + (30 if seconds < -60 else 0)
    for unit, length in (("d", 86_400), ("h", 3600), ("min", 60), ("s", 1)):
        if size >= length:
            amount = f"{int(size // length)} {unit}"
            return f"{amount} ago" if seconds > 0 else f"in {amount}"
    return "now"


def when(moment: str | None) -> str:
    """Return a time with its zone, here, and how long ago it was."""
    if not moment:
        return ""
    return f"{datetime.fromisoformat(moment).astimezone():%Y-%m-%d %H:%M:%S %Z} ({ago(moment)})"


def progress(what: str) -> Progress:
    """Return a progress bar on stderr; silent where nobody watches."""
    columns = (SpinnerColumn(), TextColumn(what), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[now]}"))
    return Progress(*columns, console=err(), transient=True, disable=not sys.stderr.isatty())


def fail(failure: Failure, *, as_json: bool) -> None:
    """Print a failure on stderr: what happened, which input, what to do, the code, and under which id to look it up."""
    if as_json:
        print(json.dumps(failure.document(), indent=2), file=sys.stderr)  # noqa: T201 - the result
        return
    console = err()
    console.print(f"[bold red]Error[/bold red]  {safe(failure.detail)}", soft_wrap=True)
    for one in failure.problem.get("errors", [])[1:20] if isinstance(failure.problem.get("errors"), list) else []:
        console.print(f"       {safe(one.get('field'))}: {safe(one.get('detail'))}", soft_wrap=True)
    for one in failure.problem.get("missing", []) if isinstance(failure.problem.get("missing"), list) else []:
        console.print(f"       {safe(one.get('detail') if isinstance(one, Mapping) else one)}", soft_wrap=True)
    if failure.remedy:
        console.print(f"[dim]Do[/dim]     {safe(failure.remedy)}", soft_wrap=True)
    facts = [f"code {failure.code}"]
    if failure.field:
        facts.append(f"field {failure.field}")
    if failure.problem.get("correlation_id"):
        facts.append(f"correlation id {failure.problem['correlation_id']}")
    console.print(f"[dim]       {safe(' · '.join(facts))}[/dim]", soft_wrap=True)


def _console(terminal: bool, *, stderr: bool = False) -> Console:
    width = None if terminal or os.environ.get("COLUMNS") else PIPED_COLUMNS
    return Console(stderr=stderr, highlight=False, width=width, emoji=False)


def _shown(letter: str) -> str:
    if letter in "\n\t" or unicodedata.category(letter) not in ("Cc", "Cf", "Cs", "Co", "Zl", "Zp"):
        return letter
    return f"<U+{ord(letter):04X}>"
