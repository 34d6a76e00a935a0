"""Visits every string, key and number of a JSON value, within bounds."""

import math
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from gateway.sanitize.findings import JSON, SanitizerFailed

LARGEST = 1_048_576  # code points in all strings and keys together
DEEPEST = 64  # levels
MOST = 100_000  # keys and values
SHORTEST_NUMBER = 10**12


class Leaf(NamedTuple):
    """A text of the value.

    :param context: what names it: its key, the `name` beside a `value`, or the flag before an argument.
    """

    text: str
    pointer: str
    context: str = ""
    in_key: bool = False
    is_number: bool = False


def leaves(value: JSON) -> list[Leaf]:
    """Return the leaves of `value` in document order.

    :raises SanitizerFailed: sanitizer_too_large, _too_deep, _too_many, _not_json.
    """
    found: list[Leaf] = []
    size = nodes = 0
    stack: list[tuple[JSON, str, str, int]] = [(value, "", "", 0)]
    while stack:
        node, pointer, context, depth = stack.pop()
        nodes += 1
        if nodes > MOST:
            raise SanitizerFailed("sanitizer_too_many", f"The value has more than {MOST} keys and values.")
        if depth > DEEPEST:
            raise SanitizerFailed("sanitizer_too_deep", f"The value nests deeper than {DEEPEST} levels.")
        if isinstance(node, str):
            size += len(node)
            found.append(Leaf(node, pointer, context))
        elif isinstance(node, bool) or node is None:
            continue
        elif isinstance(node, int | float):
            if isinstance(node, float) and not math.isfinite(node):
                raise SanitizerFailed("sanitizer_not_json", "A number is not a JSON number.")
            # Only a number that could be a card is text to us.
            if abs(node) >= SHORTEST_NUMBER and (isinstance(node, int) or node.is_integer()):
                found.append(Leaf(_digits(node), pointer, context, is_number=True))
        elif isinstance(node, Mapping):
            nodes += len(node)
            size += _members(node, pointer, depth, found, stack)
        elif isinstance(node, list | tuple):
            stack.extend(reversed(list(_elements(node, pointer, context, depth))))
        else:
            raise SanitizerFailed("sanitizer_not_json", f"A {type(node).__name__} is not a JSON value.")
        if size > LARGEST:
            raise SanitizerFailed("sanitizer_too_large", f"The value has more than {LARGEST} characters of text.")
    return found


def step(pointer: str, key: str | int) -> str:
    """Return the pointer of member `key` below `pointer` (RFC 6901)."""
    if isinstance(key, str) and ("~" in key or "/" in key):
        key = key.replace("~", "~0").replace("/", "~1")
    return f"{pointer}/{key}"


def _members(
    node: Mapping[str, JSON], pointer: str, depth: int, found: list[Leaf], stack: list[tuple[JSON, str, str, int]]
) -> int:
    size = 0
    below: list[tuple[JSON, str, str, int]] = []
    # {"name": "DB_PASSWORD", "value": "..."}: the name is the context of the value.
    named = next((node[key] for key in ("name", "Name", "key", "Key") if isinstance(node.get(key), str)), "")
    for key, member in node.items():
        if not isinstance(key, str):
            raise SanitizerFailed("sanitizer_not_json", "A key is not a string.")
        size += len(key)
        place = step(pointer, key)
        found.append(Leaf(key, place, in_key=True))
        context = named if named and key in ("value", "Value") else key
        below.append((member, place, context, depth + 1))
    stack.extend(reversed(below))
    return size


def _elements(
    node: list[JSON] | tuple[JSON, ...], pointer: str, context: str, depth: int
) -> Iterator[tuple[JSON, str, str, int]]:
    flag = ""
    for index, member in enumerate(node):
        yield member, f"{pointer}/{index}", flag or context, depth + 1
        # ["--password", "..."]: a flag names the argument after it.
        flag = member.lstrip("-") if isinstance(member, str) and member.startswith("-") else ""


def _digits(number: int | float) -> str:
    try:
        return str(int(number))
    except (ValueError, OverflowError) as error:
        raise SanitizerFailed("sanitizer_not_json", "A number is not a JSON number.") from error
