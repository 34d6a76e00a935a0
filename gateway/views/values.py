"""Arguments as a table: one row for each leaf, with what was found in it and what a policy changed. PURE."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from audit.canonical import JSON


@dataclass(frozen=True, slots=True)
class Leaf:
    """One argument.

    :param was: (value,) as received, if an obligation changed it.
    :param findings: what the sanitiser found there: {kind, severity}.
    :param meaning: what the tool's contract says about it.
    """

    pointer: str
    value: JSON
    was: tuple[JSON, ...] = ()
    findings: tuple[Mapping[str, Any], ...] = ()
    destination: bool = False
    meaning: str = ""


def leaves(
    executed: Mapping[str, JSON],
    *,
    received: Mapping[str, JSON] | None = None,
    findings: Iterable[Mapping[str, Any]] = (),
    contract: Mapping[str, Any] | None = None,
) -> list[Leaf]:
    """Return every leaf of `executed`, and those of `received` that were taken out."""
    now = dict(flat(executed))
    before = dict(flat(received)) if received is not None else now
    found: dict[str, list[Mapping[str, Any]]] = {}
    for finding in findings:
        found.setdefault(finding["path"], []).append(finding)
    leads_out = tuple((contract or {}).get("destinations", ()))
    rows = []
    for pointer in [*now, *(one for one in before if one not in now)]:
        value = now.get(pointer, TAKEN_OUT)
        was = (before[pointer],) if pointer in before and before[pointer] != value else ()
        out = any(pointer == place or pointer.startswith(f"{place}/") for place in leads_out)
        rows.append(Leaf(pointer, value, was, tuple(found.pop(pointer, ())), out, _meaning(pointer, contract)))
    # A finding that names no leaf is shown all the same.
    rows += [Leaf(pointer, "", (), tuple(rest), False, "") for pointer, rest in found.items()]
    return rows


TAKEN_OUT = "(taken out)"


def flat(value: JSON, pointer: str = "") -> Iterator[tuple[str, JSON]]:
    """Yield (JSON pointer, value) of each leaf; an empty object or list is a leaf too."""
    if isinstance(value, Mapping) and value:
        for name, inner in value.items():
            yield from flat(inner, f"{pointer}/{str(name).replace('~', '~0').replace('/', '~1')}")
    elif isinstance(value, list) and value:
        for index, inner in enumerate(value):
            yield from flat(inner, f"{pointer}/{index}")
    else:
        yield pointer or "/", value


def _meaning(pointer: str, contract: Mapping[str, Any] | None) -> str:
    schema: Any = (contract or {}).get("input_schema", {})
    for step in pointer.split("/")[1:]:
        if not isinstance(schema, Mapping):
            return ""
        name = step.replace("~1", "/").replace("~0", "~")
        inner = (
            schema.get("items") if name.isdecimal() and "items" in schema else schema.get("properties", {}).get(name)
        )
        schema = inner if inner is not None else {}
    return str(schema.get("description", "")) if isinstance(schema, Mapping) else ""
