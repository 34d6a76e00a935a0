"""Visits every string, key and number of a JSON value, within bounds."""

import math
from collections.abc import Iterable, Iterator, Mapping
from operator import itemgetter
from typing import Any, Literal

from gateway.sanitize.findings import JSON, SanitizerFailed

LARGEST = 1_048_576  # code points in all strings and keys together
DEEPEST = 64  # levels
MOST = 100_000  # keys and values
SHORTEST_NUMBER = 10**12

Place = tuple[Any, ...]  # (the place of what it is in, key or index); () is the root
Role = Literal["key", "value", "number"]
# Text, place, what names it (its key, the `name` beside a `value`, or the flag before an argument), role. A bare tuple,
# and a pointer only where something is found: a value has many texts, and most are clean.
Leaf = tuple[str, Place, str, Role]
TEXT = itemgetter(0)  # of a leaf


def leaves(value: JSON) -> list[Leaf]:
    """Return the texts of `value` in document order: of an object first its keys. Only large numbers are texts to us.

    :raises SanitizerFailed: sanitizer_too_large, _too_deep, _too_many, _not_json.
    """
    visitor = _Visitor()
    visitor.visit(value, (), "", 0)
    if sum(map(len, map(TEXT, visitor.found))) > LARGEST:
        raise SanitizerFailed("sanitizer_too_large", f"The value has more than {LARGEST} characters of text.")
    return visitor.found


def pointer(place: Place) -> str:
    """Return the JSON pointer (RFC 6901) of a place."""
    steps: list[str | int] = []
    while place:
        place, key = place
        steps.append(key)
    path = ""
    for key in reversed(steps):
        path = step(path, key)
    return path


def step(pointer: str, key: str | int) -> str:
    """Return the pointer of member `key` below `pointer` (RFC 6901)."""
    if isinstance(key, str) and ("~" in key or "/" in key):
        key = key.replace("~", "~0").replace("/", "~1")
    return f"{pointer}/{key}"


class _Visitor:
    """The leaves found so far, and how much has been looked at."""

    __slots__ = ("found", "nodes")

    def __init__(self) -> None:
        self.found: list[Leaf] = []
        self.nodes = 1

    def visit(self, node: JSON, place: Place, context: str, depth: int) -> None:
        if depth > DEEPEST:
            raise SanitizerFailed("sanitizer_too_deep", f"The value nests deeper than {DEEPEST} levels.")
        if isinstance(node, str):
            self.found.append((node, place, context, "value"))
        elif isinstance(node, bool) or node is None:
            return
        elif isinstance(node, int | float):
            self._number(node, place, context)
        elif isinstance(node, Mapping):
            self._members(node, place, depth + 1)
        elif isinstance(node, list | tuple):
            self._count(len(node))
            for key, member, named in _elements(node, context):
                self.visit(member, (place, key), named, depth + 1)
        else:
            raise SanitizerFailed("sanitizer_not_json", f"A {type(node).__name__} is not a JSON value.")

    def _number(self, node: int | float, place: Place, context: str) -> None:
        if isinstance(node, float) and not math.isfinite(node):
            raise SanitizerFailed("sanitizer_not_json", "A number is not a JSON number.")
        # Only a number that could be a card is text to us.
        if abs(node) >= SHORTEST_NUMBER and (isinstance(node, int) or node.is_integer()):
            self.found.append((_digits(node), place, context, "number"))

    def _members(self, node: Mapping[str, JSON], place: Place, depth: int) -> None:
        self._count(2 * len(node))
        add = self.found.append
        for key in node:
            if not isinstance(key, str):
                raise SanitizerFailed("sanitizer_not_json", "A key is not a string.")
            add((key, (place, key), "", "key"))
        named = _name(node) if "value" in node or "Value" in node else ""
        for key, member in node.items():
            context = named if named and key in ("value", "Value") else key
            if type(member) is str and depth <= DEEPEST:
                add((member, (place, key), context, "value"))  # what most members are, without a call
            else:
                self.visit(member, (place, key), context, depth)

    def _count(self, more: int) -> None:
        self.nodes += more
        if self.nodes > MOST:
            raise SanitizerFailed("sanitizer_too_many", f"The value has more than {MOST} keys and values.")


def _name(node: Mapping[str, JSON]) -> str:
    """Return what {"name": "DB_PASSWORD", "value": "..."} names its value."""
    return next((node[key] for key in ("name", "Name", "key", "Key") if isinstance(node.get(key), str)), "")


def _elements(node: Iterable[JSON], context: str) -> Iterator[tuple[int, JSON, str]]:
    """Yield index, element and what names it: in ["--password", "..."] a flag names the argument after it."""
    flag = ""
    for index, member in enumerate(node):
        yield index, member, flag or context
        flag = member.lstrip("-") if isinstance(member, str) and member.startswith("-") else ""


def _digits(number: int | float) -> str:
    try:
        return str(int(number))
    except (ValueError, OverflowError) as error:
        raise SanitizerFailed("sanitizer_not_json", "A number is not a JSON number.") from error
