"""Reading the engine's syntax tree: references, calls, bound names. Pure.

A reference is a chain such as `data.a.b[x]`: its root and its parts, None for a part that is computed.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

Node = Any
_LITERALS = {"String", "RawString", "Number", "Bool", "Null"}


@dataclass(frozen=True)
class Reference:
    """A chain that starts at the variable `root`."""

    root: str
    parts: tuple[str | None, ...]
    line: int


@dataclass(frozen=True)
class Call:
    """A call of `name` (dotted) with its argument nodes."""

    name: str
    arguments: tuple[Node, ...]
    line: int


@dataclass
class Rule:
    """One rule of a module: all that its definitions say, or one definition of it.

    :param target: the reference of the head, e.g. `reasons` or `limits[name]`.
    :param partial: it adds to a set (`contains`).
    :param nodes: everything in head and bodies that is evaluated.
    :param head: what it adds to a set or object.
    """

    name: str
    line: int
    function: bool
    target: Reference | None
    partial: bool
    nodes: list[Node] = field(default_factory=list)
    head: list[Node] = field(default_factory=list)

    @property
    def gathers(self) -> bool:
        """Say whether it adds one element at a time."""
        return self.partial or bool(self.target and self.target.parts)


def rules(module: Node) -> Iterator[Rule]:
    """Yield the rules of a module's tree, one per definition."""
    for item in module["rules"]:
        kind, body = _single(item)
        if kind == "Default":
            target = reference(body["refr"])
            yield Rule(_name(target), _line(body), bool(body["args"]), target, False, [body["args"], body["value"]])
            continue
        head_kind, head = _single(body["head"])
        target = reference(head["refr"])
        nodes = [head.get("args"), head.get("assign"), head.get("key"), body["bodies"]]
        nodes += _indices(head["refr"])
        added = [head.get("assign"), head.get("key"), _indices(head["refr"])]
        yield Rule(_name(target), _line(body), head_kind == "Func", target, head_kind == "Set", nodes, added)


def reference(node: Node) -> Reference | None:
    """Return the chain that `node` is, or None if it is none (or starts at a call)."""
    parts: list[str | None] = []
    while True:
        kind, body = _single(node)
        if kind == "Var":
            return Reference(body["value"], tuple(reversed(parts)), _line(body))
        if kind == "RefDot":
            parts.append(body["field"][1])
        elif kind == "RefBrack":
            index_kind, index = _single(body["index"])
            parts.append(index["value"] if index_kind == "String" else None)
        else:
            return None
        node = body["refr"]


def uses(node: Node) -> Iterator[Reference | Call]:
    """Yield each whole reference and each call below `node`."""
    if isinstance(node, list):
        for one in node:
            yield from uses(one)
        return
    if not isinstance(node, dict):
        return
    kind, body = _single(node)
    if kind in _LITERALS:
        return
    if kind in ("Var", "RefDot", "RefBrack"):
        whole = reference(node)
        if whole is not None:
            yield whole
        else:
            yield from uses(_base(node))
        for index in _indices(node):
            yield from uses(index)
        return
    if kind == "Call":
        name = reference(body["fcn"])
        dotted = ".".join([name.root, *(part or "[…]" for part in name.parts)]) if name else "[…]"
        yield Call(dotted, tuple(body["params"]), _line(body))
        yield from uses(body["params"])
        return
    for member in node.values():
        yield from uses(member)


def nodes(node: Node, *kinds: str) -> Iterator[tuple[str, Any]]:
    """Yield (kind, body) of every node below `node` whose kind is one of `kinds`."""
    if isinstance(node, list):
        for one in node:
            yield from nodes(one, *kinds)
    elif isinstance(node, dict):
        kind, body = _single(node)
        if kind in kinds:
            yield kind, body
        for member in node.values():
            yield from nodes(member, *kinds)


def statements(node: Node) -> Iterator[Node]:
    """Yield every statement below `node` that carries `with`."""
    if isinstance(node, list):
        for one in node:
            yield from statements(one)
    elif isinstance(node, dict):
        if node.get("with_mods"):
            yield node
        for member in node.values():
            yield from statements(member)


def bound(node: Node, source: str) -> Iterator[tuple[str, int]]:
    """Yield (name, line) of each variable that `some`, `every` or `:=` declares below `node`."""
    raw = source.encode()
    for kind, body in nodes(node, "SomeVars", "SomeIn", "Every", "AssignExpr"):
        if kind == "SomeVars":
            yield from ((_text(raw, span), span["line"]) for span in body["vars"])
        elif kind == "Every":
            yield from ((_text(raw, span), span["line"]) for span in (body["key"], body["value"]) if span)
        elif kind == "SomeIn":
            yield from variables([body["key"], body["value"]])
        elif body["op"] == "ColEq":
            yield from variables(body["lhs"])


def variables(node: Node) -> Iterator[tuple[str, int]]:
    """Yield (name, line) of each plain variable in a pattern."""
    for _, body in nodes(node, "Var"):
        yield body["value"], _line(body)


def package(module: Node) -> Reference | None:
    """Return the package of a module."""
    return reference(module["package"]["refr"])


def line(node: Node) -> int:
    """Return the line on which `node` stands, 0 if it does not say."""
    return _line(node)


def _name(target: Reference | None) -> str:
    return target.root if target else ""


def _single(node: Node) -> tuple[str, Any]:
    if isinstance(node, dict) and len(node) == 1:
        return next(iter(node.items()))
    return "", node


def _base(node: Node) -> Node:
    while True:
        kind, body = _single(node)
        if kind not in ("RefDot", "RefBrack"):
            return node
        node = body["refr"]


def _indices(node: Node) -> list[Node]:
    found: list[Node] = []
    while True:
        kind, body = _single(node)
        if kind not in ("RefDot", "RefBrack"):
            return found
        if kind == "RefBrack" and _single(body["index"])[0] not in _LITERALS:
            found.append(body["index"])
        node = body["refr"]


def _line(body: Node) -> int:
    span = body.get("span") if isinstance(body, dict) else None
    return int(span["line"]) if span else 0


def _text(raw: bytes, span: Any) -> str:
    return raw[span["start"] : span["end"]].decode()
