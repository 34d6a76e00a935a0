"""PURE. What differs between two contents, in few words: which members, and how many lines of a text."""

import difflib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

MOST = 200
# Longer texts are said to differ without counting how: comparing lines takes quadratic time.
MOST_LINES = 2000
_ABSENT = object()


@dataclass(frozen=True)
class Change:
    """One member that differs.

    :param path: JSON pointer. :param how: added, removed or changed.
    :param added: lines that came. :param removed: lines that went; both 0 where it is no text of several lines.
    """

    path: str
    how: str
    added: int = 0
    removed: int = 0


def between(before: Mapping[str, Any] | None, after: Mapping[str, Any]) -> tuple[list[Change], int]:
    """Return the first changes and how many more there are; pins are compared by kind and name."""
    found: list[Change] = []
    more = 0
    for change in _walk(_named(before) if before is not None else {}, _named(after), ""):
        if len(found) < MOST:
            found.append(change)
        else:
            more += 1
    return found, more


def _named(content: Mapping[str, Any]) -> Mapping[str, Any]:
    pins = content.get("pins")
    if not isinstance(pins, list) or not all(isinstance(pin, dict) for pin in pins):
        return content
    return {**content, "pins": {f"{pin.get('kind')}/{pin.get('name')}": pin.get("digest") for pin in pins}}


def _walk(before: Any, after: Any, path: str) -> Iterator[Change]:
    if before is _ABSENT:
        yield Change(path, "added", added=_lines(after))
    elif after is _ABSENT:
        yield Change(path, "removed", removed=_lines(before))
    elif isinstance(before, Mapping) and isinstance(after, Mapping):
        for name in [*before, *(name for name in after if name not in before)]:
            place = f"{path}/{name.replace('~', '~0').replace('/', '~1')}"
            yield from _walk(before.get(name, _ABSENT), after.get(name, _ABSENT), place)
    elif before != after or isinstance(before, bool) != isinstance(after, bool):
        yield Change(path, "changed", *_counted(before, after))


def _counted(before: Any, after: Any) -> tuple[int, int]:
    if not isinstance(before, str) or not isinstance(after, str) or "\n" not in before + after:
        return 0, 0
    old, new = before.splitlines(), after.splitlines()
    if max(len(old), len(new)) > MOST_LINES:
        return 0, 0
    codes = difflib.SequenceMatcher(None, old, new, autojunk=True).get_opcodes()
    changed = [code for code in codes if code[0] != "equal"]
    return sum(code[4] - code[3] for code in changed), sum(code[2] - code[1] for code in changed)


def _lines(value: Any) -> int:
    return len(value.splitlines()) if isinstance(value, str) and "\n" in value else 0
