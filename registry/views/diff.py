"""What changed between two texts, two JSON values, two Rego modules. PURE: the same inputs give the same difference.

Reviewers sign what they see here, so it is computed on the server, and its work is bounded: past the bounds a stretch
is shown as replaced whole, never left out.
"""

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import Literal, Protocol, TypeVar

from audit.canonical import JSON, dumps

Op = Literal["equal", "added", "removed"]
LARGEST_PAIRS = 200_000  # matching pairs that difflib may look at
NO_LINE_END = "⟨no line end⟩"
T = TypeVar("T")
R = TypeVar("R", bound="HasOp")
WORD = re.compile(r"\w+|\s+|[^\w\s]")


class HasOp(Protocol):
    """A row that says what happened to it; "equal" is nothing."""

    @property
    def op(self) -> str:
        """Return what happened."""


@dataclass(frozen=True, slots=True)
class Piece:
    """A stretch of text and what happened to it."""

    op: Op
    text: str


@dataclass(frozen=True, slots=True)
class Line:
    """A line of a module: its number before and after (None where it is not there)."""

    op: Op
    before: int | None
    after: int | None
    text: str


@dataclass(frozen=True, slots=True)
class Worded:
    """A line of prose and what happened to its words; its number before and after, None where it goes on or is not."""

    before: int | None
    after: int | None
    pieces: tuple[Piece, ...]

    @property
    def op(self) -> Literal["equal", "changed"]:
        """Say whether anything happened to it."""
        return "equal" if all(piece.op == "equal" for piece in self.pieces) else "changed"


@dataclass(frozen=True, slots=True)
class Change:
    """One member of a JSON value that differs. `pieces` where both sides are texts."""

    pointer: str
    op: Literal["added", "removed", "changed"]
    before: JSON = None
    after: JSON = None
    pieces: tuple[Piece, ...] = ()


def words(before: str, after: str) -> list[Piece]:
    """Return `after` with what was added, interspersed with what was removed, word by word."""
    pieces: list[Piece] = []
    old, new = before.splitlines(keepends=True), after.splitlines(keepends=True)
    for op, i1, i2, j1, j2 in _opcodes(old, new):
        if op == "equal":
            pieces.append(Piece("equal", "".join(old[i1:i2])))
        else:
            pieces.extend(_words_of("".join(old[i1:i2]), "".join(new[j1:j2])))
    return list(_joined(pieces))


def worded(before: str, after: str) -> list[Worded]:
    """Return `words` line by line, so that a line can be pointed at.

    A line that lost its end goes on in the next row: each number stands once.
    """
    rows: list[Worded] = []
    row: list[Piece] = []
    numbers, shown = {"before": 1, "after": 1}, {"before": 0, "after": 0}

    def close() -> None:
        told: dict[str, int | None] = {}
        for side, other in (("before", "added"), ("after", "removed")):
            there = any(piece.op != other for piece in row) and numbers[side] > shown[side]
            told[side] = numbers[side] if there else None
            shown[side] = max(shown[side], told[side] or 0)
        pieces = tuple(Piece(piece.op, piece.text) for piece in row if piece.text)
        rows.append(Worded(told["before"], told["after"], pieces))
        row.clear()

    for piece in words(_marked(before), _marked(after)):
        *ended, rest = piece.text.split("\n")
        for text in ended:
            row.append(Piece(piece.op, text))
            if piece.op != "equal" and not text:
                row[-1] = Piece(piece.op, "⏎")
            close()
            for side, other in (("before", "added"), ("after", "removed")):
                numbers[side] += piece.op != other
        if rest:
            row.append(Piece(piece.op, rest))
    if row:
        close()
    return rows


def escaped(name: str) -> str:
    """Return a member's name as it stands in a JSON pointer (RFC 6901)."""
    return name.replace("~", "~0").replace("/", "~1")


def lines(before: str, after: str) -> list[Line]:
    """Return the lines of both texts in reading order; lines end at U+000A alone, as editors show them."""
    old, new = _lines(before), _lines(after)
    rows: list[Line] = []
    for op, i1, i2, j1, j2 in _opcodes(old, new):
        if op == "equal":
            rows.extend(Line("equal", i + 1, j + 1, old[i]) for i, j in zip(range(i1, i2), range(j1, j2), strict=True))
        else:
            rows.extend(Line("removed", i + 1, None, old[i]) for i in range(i1, i2))
            rows.extend(Line("added", None, j + 1, new[j]) for j in range(j1, j2))
    return rows


def members(before: JSON, after: JSON, pointer: str = "") -> list[Change]:
    """Return the members that differ, each with its JSON pointer; list elements are matched, not counted off."""
    if isinstance(before, dict) and isinstance(after, dict):
        changes: list[Change] = []
        for name in sorted({*before, *after}):
            place = f"{pointer}/{escaped(name)}"
            if name not in after:
                changes.append(Change(place, "removed", before=before[name]))
            elif name not in before:
                changes.append(Change(place, "added", after=after[name]))
            else:
                changes.extend(members(before[name], after[name], place))
        return changes
    if isinstance(before, list) and isinstance(after, list):
        return _elements(before, after, pointer)
    if dumps(before) == dumps(after):
        return []
    pieces = tuple(words(before, after)) if isinstance(before, str) and isinstance(after, str) else ()
    return [Change(pointer or "/", "changed", before, after, pieces)]


def _elements(before: list[JSON], after: list[JSON], pointer: str) -> list[Change]:
    changes: list[Change] = []
    for op, i1, i2, j1, j2 in _opcodes([dumps(value) for value in before], [dumps(value) for value in after]):
        if op == "equal":
            continue
        both = min(i2 - i1, j2 - j1)
        for step in range(both):
            changes.extend(members(before[i1 + step], after[j1 + step], f"{pointer}/{j1 + step}"))
        changes.extend(Change(f"{pointer}/{i}", "removed", before=before[i]) for i in range(i1 + both, i2))
        changes.extend(Change(f"{pointer}/{j}", "added", after=after[j]) for j in range(j1 + both, j2))
    return changes


def folded(rows: Sequence[R], context: int = 3, keep: Set[int] = frozenset()) -> Iterator[tuple[bool, Sequence[R]]]:
    """Yield (shown, rows): changed lines with their context are shown, long unchanged stretches can be opened.

    :param keep: indexes of further rows that are shown.
    """
    near = [False] * len(rows)
    for index, row in enumerate(rows):
        if row.op != "equal" or index in keep:
            for neighbour in range(max(0, index - context), min(len(rows), index + context + 1)):
                near[neighbour] = True
    start = 0
    for index in range(1, len(rows) + 1):
        if index == len(rows) or near[index] != near[start]:
            # A fold of one or two lines costs more room than it saves.
            yield near[start] or index - start <= 2, rows[start:index]
            start = index


def modules(before: Mapping[str, str], after: Mapping[str, str]) -> list[tuple[str, str, str]]:
    """Return (name, text before, text after) of each module of two policies that differs; "" where there is none."""
    names = sorted({*before, *after})
    return [(name, before.get(name, ""), after.get(name, "")) for name in names if before.get(name) != after.get(name)]


def _words_of(before: str, after: str) -> Iterator[Piece]:
    old, new = WORD.findall(before), WORD.findall(after)
    for op, i1, i2, j1, j2 in _opcodes(old, new):
        if op == "equal":
            yield Piece("equal", "".join(old[i1:i2]))
            continue
        if i1 < i2:
            yield Piece("removed", "".join(old[i1:i2]))
        if j1 < j2:
            yield Piece("added", "".join(new[j1:j2]))


def _opcodes(before: Sequence[T], after: Sequence[T]) -> Iterator[tuple[str, int, int, int, int]]:
    """Yield difflib's opcodes, with the common ends taken off first and pathological middles replaced whole."""
    start = 0
    while start < min(len(before), len(after)) and before[start] == after[start]:
        start += 1
    end = 0
    while end < min(len(before), len(after)) - start and before[-1 - end] == after[-1 - end]:
        end += 1
    if start:
        yield "equal", 0, start, 0, start
    old, new = before[start : len(before) - end], after[start : len(after) - end]
    if _pairs(old, new) <= LARGEST_PAIRS:
        for op, i1, i2, j1, j2 in SequenceMatcher(None, old, new, autojunk=False).get_opcodes():
            yield op, start + i1, start + i2, start + j1, start + j2
    elif old or new:
        yield "replace", start, start + len(old), start, start + len(new)
    if end:
        yield "equal", len(before) - end, len(before), len(after) - end, len(after)


def _pairs(before: Sequence[object], after: Sequence[object]) -> int:
    counts = Counter(after)
    return sum(counts[value] for value in before)


def _lines(text: str) -> list[str]:
    rows = text.split("\n")
    if rows[-1] == "":
        return rows[:-1]
    rows[-1] += NO_LINE_END
    return rows


def _marked(text: str) -> str:
    return text if text.endswith("\n") or not text else text + NO_LINE_END


def _joined(pieces: Sequence[Piece]) -> Iterator[Piece]:
    last: Piece | None = None
    for piece in pieces:
        if last is not None and last.op == piece.op:
            last = Piece(last.op, last.text + piece.text)
            continue
        if last is not None:
            yield last
        last = piece
    if last is not None:
        yield last
