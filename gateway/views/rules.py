"""PURE. Where in a policy a reason code is given: the rule's text, for people who ask why.

A heuristic for showing, never for deciding: it looks for the code in the text and returns the rule around it.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

_HEAD = re.compile(r"[a-z_][\w.\[\]]*\s+(contains\b|if\b|:=)|default\s")
# Where a code is given rather than looked at.
_GIVEN = ("contains {", "contains reason", "contains denial")


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule of a module. `line`: its first, from 1; `about`: what its METADATA says, "" if nothing."""

    module: str
    line: int
    text: str
    about: str


def giving(modules: Mapping[str, str], code: str) -> Rule | None:
    """Return the rule that gives `code`, None where no text of these modules does."""
    found = [
        (line, module, lines)
        for module, text in modules.items()
        for lines in [text.split("\n")]
        for line, said in enumerate(lines)
        if f'"{code}"' in said and not said.lstrip().startswith("#")
    ]
    heads = [(line, module, lines) for line, module, lines in found if any(word in lines[line] for word in _GIVEN)]
    # An obligation with the code says less than the reason that gives it.
    heads.sort(key=lambda one: ('"message"' not in one[2][one[0]], one[0]))
    for line, module, lines in [*heads, *found]:
        first = _first(lines, line)
        if first is not None:
            begin, about = _comments(lines, first)
            return Rule(module, begin + 1, "\n".join(lines[begin : _last(lines, first) + 1]), about)
    return None


def _first(lines: list[str], line: int) -> int | None:
    """Return the line on which the rule around `line` begins."""
    return next((at for at in range(line, -1, -1) if _HEAD.match(lines[at])), None)


def _last(lines: list[str], first: int) -> int:
    if not lines[first].rstrip().endswith(("{", "[", "(")):
        return first
    return next((at for at in range(first + 1, len(lines)) if lines[at][:1] in ("}", "]", ")")), len(lines) - 1)


def _comments(lines: list[str], first: int) -> tuple[int, str]:
    """Return where the comments right above a rule begin, and what their METADATA describes."""
    begin = first
    while begin and lines[begin - 1].startswith("#"):
        begin -= 1
    said = [line.lstrip("# ").removeprefix("description:").strip() for line in lines[begin:first]]
    described = [line for line, raw in zip(said, lines[begin:first], strict=True) if "description:" in raw]
    return begin, " ".join(described)
