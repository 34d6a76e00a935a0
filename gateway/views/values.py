"""Arguments as a table: one row for each leaf, with what was found in it and what a policy changed. PURE."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from audit.canonical import JSON

TAKEN_OUT = "(taken out)"
PRIVATE = ("secret.", "pii.")  # kinds of findings


@dataclass(frozen=True, slots=True)
class Leaf:
    """One argument.

    :param changed: an obligation changed it.
    :param was: (value,) as received, if it was changed and may be shown: what was redacted stays redacted here.
    :param masked: the value may be personal or secret, and the page does not need to show it.
    :param sealed: something of it is not shown: the value, or what it was.
    :param findings: what the sanitiser found there: {kind, severity}.
    :param meaning: what the tool's contract says about it.
    """

    pointer: str
    value: JSON
    changed: bool = False
    was: tuple[JSON, ...] = ()
    masked: bool = False
    sealed: bool = False
    findings: tuple[Mapping[str, Any], ...] = ()
    destination: bool = False
    meaning: str = ""


def leaves(
    executed: JSON,
    *,
    received: JSON = None,
    findings: Iterable[Mapping[str, Any]] = (),
    contract: Mapping[str, Any] | None = None,
    mask: bool,
    open: bool = False,
) -> list[Leaf]:
    """Return every leaf of `executed`, and those of `received` that were taken out.

    :param mask: hide what may be personal or secret and no policy redacted. Who approves has to see what runs; who
        looks back need not.
    :param open: show all of it, what was redacted too: for somebody whose reason is on record.
    """
    now = dict(flat(executed))
    before = dict(flat(received)) if received is not None else now
    found: dict[str, list[Mapping[str, Any]]] = {}
    for finding in findings:
        found.setdefault(finding["path"], []).append(finding)
    leads_out = tuple((contract or {}).get("destinations", ()))
    rows = []
    for pointer in [*now, *(one for one in before if one not in now)]:
        value, own = now.get(pointer, TAKEN_OUT), tuple(found.pop(pointer, ()))
        changed = pointer in before and before[pointer] != value
        private = any(finding["kind"].startswith(PRIVATE) for finding in own) and not open
        rows.append(
            Leaf(
                pointer,
                value,
                changed,
                (before[pointer],) if changed and not private else (),
                mask and private and not changed,
                private and (mask or changed),
                own,
                any(pointer == place or pointer.startswith(f"{place}/") for place in leads_out),
                _meaning(pointer, contract),
            )
        )
    # A finding that names no leaf (a key, say) is shown all the same.
    return rows + [Leaf(pointer, None, findings=tuple(rest)) for pointer, rest in found.items()]


def flat(value: JSON, pointer: str = "") -> Iterator[tuple[str, JSON]]:
    """Yield (JSON pointer, value) of each leaf; an empty object or list inside is a leaf too."""
    if isinstance(value, Mapping) and (value or not pointer):
        for name, inner in value.items():
            yield from flat(inner, f"{pointer}/{str(name).replace('~', '~0').replace('/', '~1')}")
    elif isinstance(value, list) and value:
        for index, inner in enumerate(value):
            yield from flat(inner, f"{pointer}/{index}")
    else:
        yield pointer, value


def _meaning(pointer: str, contract: Mapping[str, Any] | None) -> str:
    schema: Any = (contract or {}).get("input_schema", {})
    for step in pointer.split("/")[1:]:
        if not isinstance(schema, Mapping):
            return ""
        name = step.replace("~1", "/").replace("~0", "~")
        listed = name.isdecimal() and "items" in schema
        inner = schema["items"] if listed else schema.get("properties", {}).get(name)
        schema = inner if inner is not None else {}
    return str(schema.get("description", "")) if isinstance(schema, Mapping) else ""
