"""The deletion test: what is denied stays denied when an attribute that the rules rely on is missing.

Take an input that the policy denies or holds; delete each member that the frozen schema requires, in turn, never
below `arguments` and never elements of a list; the verdict may not widen.
"""

import copy
import itertools
import json
import time
from collections.abc import Iterator, Mapping
from typing import Any

import jsonschema_rs

from registry import rego

JSON = Any
_PER_KIND = 3  # inputs of one set of reasons that are tried
_RANKS = {"deny": 0, "hold": 1, "allow": 2}


class Layer:
    """One policy by itself, as a layer of the router sees it."""

    def __init__(self, modules: Mapping[str, str], data: Mapping[str, JSON], rule: str) -> None:
        self._engine = rego.Engine(modules, data)
        self._rule = rule
        self.slowest = 0.0

    def verdict(self, document: JSON) -> tuple[str, tuple[str, ...]]:
        """Return (deny | hold | allow, reason codes); every failure is a deny. `slowest` keeps the most CPU."""
        began = time.process_time()
        try:
            layer = json.loads(self._engine.evaluate(self._rule, json.dumps(document)))
        except rego.RegoFailed as failed:
            return "deny", (failed.code,)
        finally:
            self.slowest = max(self.slowest, time.process_time() - began)
        codes = tuple(sorted(str(one.get("code")) for one in layer["reasons"] if isinstance(one, dict)))
        if layer["allow"] is not True:
            return "deny", codes
        held = any(isinstance(one, dict) and one.get("kind") == "hold" for one in layer["obligations"])
        return ("hold" if held else "allow"), codes


def check(layer: Layer, recorded: list[JSON], *, schema: JSON, example: JSON) -> tuple[list[str], str]:
    """Return (what widened, one line of coverage).

    :param recorded: inputs of the policy's own tests; those that the schema refuses are left out.
    :param example: a valid input, varied to find further denied ones.
    """
    validator = jsonschema_rs.validator_for(schema)
    valid = [document for document in recorded if validator.is_valid(document)]
    problems: list[str] = []
    seen: dict[tuple[str, ...], int] = {}
    inputs = deletions = 0
    for document in itertools.chain(valid, variants(example)):
        verdict, codes = layer.verdict(document)
        if verdict == "allow" or seen.get((verdict, *codes), 0) >= _PER_KIND:
            continue
        seen[verdict, *codes] = seen.get((verdict, *codes), 0) + 1
        inputs += 1
        for pointer, smaller in without_each(document, schema):
            deletions += 1
            after, _ = layer.verdict(smaller)
            if _RANKS[after] > _RANKS[verdict]:
                problem = f"without {pointer} a {verdict} ({', '.join(codes) or 'no reason'}) becomes {after}."
                if problem not in problems:
                    problems.append(problem)
    if not inputs:
        problems.append("no complete input of the policy's tests is denied or held: show one in a test.")
    return (
        problems,
        f"{inputs} denied or held inputs, {deletions} deletions, {len(recorded) - len(valid)} test inputs incomplete",
    )


def without_each(document: JSON, schema: JSON) -> Iterator[tuple[str, JSON]]:
    """Yield (pointer, copy of `document` without that member) for each member that `schema` requires."""
    for path in _required(document, schema, schema, ()):
        smaller = copy.deepcopy(document)
        parent = smaller
        for step in path[:-1]:
            parent = parent[step]
        del parent[path[-1]]
        yield "/" + "/".join(map(str, path)), smaller


def variants(example: JSON) -> Iterator[JSON]:
    """Yield inputs that differ from `example` in what policies usually look at."""
    effects = ("read", "keyed", "unsafe")
    session_labels: tuple[list[str], ...] = ([], ["untrusted"], ["secret", "untrusted"])
    finding = {"kind": "secret.private_key", "path": "/text", "severity": "high"}
    over = {"name": "rate", "used": 2, "limit": 1}
    for effect, risk, labels, place, outside, found, limits in itertools.product(
        effects,
        ("low", "high"),
        session_labels,
        ("development", "production"),
        ([], ["external"]),
        ([], [finding]),
        ([], [over]),
    ):
        document = copy.deepcopy(example)
        document["call"]["tool"] |= {"effect": effect, "risk": risk, "labels": outside}
        document["session"]["labels"] = labels
        document["agent"]["environment"] = place
        document["findings"] = found
        document["limits"] = limits
        yield document


def _required(value: JSON, schema: JSON, whole: JSON, path: tuple[str | int, ...]) -> Iterator[tuple[str | int, ...]]:
    schema = _followed(schema, whole)
    if path == ("call", "arguments"):
        return
    if isinstance(value, dict):
        properties = schema.get("properties", {})
        for name in schema.get("required", []):
            if name in value:
                yield (*path, name)
                yield from _required(value[name], properties.get(name, {}), whole, (*path, name))
    elif isinstance(value, list):
        for index, element in enumerate(value):
            yield from _required(element, schema.get("items", {}), whole, (*path, index))


def _followed(schema: JSON, whole: JSON) -> JSON:
    if "$ref" in schema:
        return whole["$defs"][schema["$ref"].rpartition("/")[2]]
    # The only choices in the schema are "null or this object".
    return next((one for one in schema.get("anyOf", []) if one.get("type") == "object"), schema)
