"""PURE. The arguments of a compensation, made from what the step that it undoes was given and has answered.

In the contract's `compensation.arguments`, {"take": {"from": "arguments" | "result", "pointer": "/a/b"}} stands for the
value there (RFC 6901; without a pointer the whole); everything else stands for itself.
"""

from collections.abc import Mapping
from typing import Any

from audit.canonical import JSON
from audit.refusal import Refusal

SOURCES = ("arguments", "result")


def filled(template: JSON, sources: Mapping[str, JSON]) -> Any:
    """Return `template` with each {"take": …} replaced. :raises Refusal: compensation_invalid."""
    if isinstance(template, Mapping):
        if template.keys() == {"take"}:
            return _taken(template["take"], sources)
        return {name: filled(member, sources) for name, member in template.items()}
    if isinstance(template, list):
        return [filled(member, sources) for member in template]
    return template


def _taken(take: JSON, sources: Mapping[str, JSON]) -> JSON:
    if not isinstance(take, Mapping) or take.get("from") not in SOURCES or take.keys() - {"from", "pointer"}:
        raise _invalid('a "take" names "from" (arguments or result) and "pointer"')
    value: Any = sources[str(take["from"])]
    for word in str(take.get("pointer", "")).split("/")[1:]:
        word = word.replace("~1", "/").replace("~0", "~")
        if isinstance(value, Mapping) and word in value:
            value = value[word]
        elif isinstance(value, list) and word.isdigit() and int(word) < len(value):
            value = value[int(word)]
        else:
            raise _invalid(f"the {take['from']} of the step have nothing at {take['pointer']}")
    return value


def _invalid(what: str) -> Refusal:
    return Refusal("compensation_invalid", f"The compensation cannot be made from its step: {what}.", status=409)
