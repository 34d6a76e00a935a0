"""PURE. What has to happen with an allowed call before it is executed.

docs/reference/obligations.md has the shape of each kind. What this version does not know, or cannot carry out to the
letter, raises `UnknownObligation`: the caller denies. The caller also checks changed arguments against the contract.
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from gateway.sanitize import Finding, covers, marker, redact, replace, scan

JSON = Any
Obligation = Mapping[str, JSON]
Mint = Callable[[str, JSON], str]

_CODE = re.compile(r"[a-z][a-z0-9_]{0,79}")
_KIND = re.compile(r"[a-z][a-z0-9_]*(?:\.[a-z0-9_]+)*")
_POINTER = re.compile(r"(?:/(?:[^~/]|~[01])*)*")
_ROUNDS = 3
_LONGEST_EXPIRY = 2_592_000  # seconds: 30 days
_LARGEST_QUORUM = 10


class UnknownObligation(Exception):
    """A policy asks for something that cannot be carried out; the call is denied.

    :param detail: which obligation, and what is wrong with it; never a value of the call.
    """

    def __init__(self, detail: str) -> None:
        super().__init__(detail)
        self.detail = detail


def apply(
    obligations: Iterable[Obligation], arguments: JSON, findings: Sequence[Finding], *, mint: Mint
) -> tuple[JSON, list[str]]:
    """Return the arguments to execute and the pointers at which they differ from `arguments`.

    All obligations are checked first; then everything is redacted, then tokenised, then capped, whatever their order.

    :param findings: what `sanitize.scan(arguments)` returned.
    :param mint: (kind of a finding, value) -> the token that stands for the value.
    :raises UnknownObligation: an unknown kind, malformed parameters, or a cap on what has no size.
    :raises gateway.sanitize.SanitizerFailed: the findings do not fit the arguments.
    """
    asked = list(obligations)
    for obligation in asked:
        check(obligation)
    changed: set[str] = set()
    executed = _redacted(_of("redact", asked), arguments, findings, changed)
    executed = _tokenised(_of("tokenise", asked), executed, mint, changed)
    for cap in _of("cap", asked):
        executed = _capped(cap, executed, changed)
    return executed, sorted(changed)


def check(obligation: Obligation) -> None:
    """Check the shape of one obligation. :raises UnknownObligation: this version cannot carry it out."""
    kind = obligation.get("kind") if isinstance(obligation, Mapping) else None
    shape = _SHAPES.get(kind) if isinstance(kind, str) else None
    if shape is None:
        raise UnknownObligation(f"There is no obligation of the kind {str(kind)[:80]!r}.")
    required, optional = shape
    members = {**required, **optional}
    for name, value in obligation.items():
        if name != "kind" and (name not in members or not members[name](value)):
            raise UnknownObligation(f"The member {str(name)[:80]!r} of an obligation {kind!r} is not understood.")
    missing = [name for name in required if name not in obligation]
    if missing:
        raise UnknownObligation(f"An obligation {kind!r} lacks its member {missing[0]!r}.")
    if kind in ("redact", "tokenise") and not obligation.get("path") and not _kinds(obligation):
        raise UnknownObligation(f"An obligation {kind!r} names neither a path nor kinds of findings.")
    if kind == "cap" and ("max" in obligation) == ("max_length" in obligation):
        raise UnknownObligation("An obligation 'cap' needs one of 'max' and 'max_length'.")


def _redacted(asked: list[Obligation], arguments: JSON, findings: Sequence[Finding], changed: set[str]) -> JSON:
    """Take out the findings that are asked for; at a path without any, the whole value."""
    cut: dict[int, Finding] = {}
    whole: list[str] = []
    for obligation in asked:
        path, kinds = obligation.get("path"), _kinds(obligation)
        at = [
            (number, finding)
            for number, finding in enumerate(findings)
            if (not kinds or covers(kinds, finding.kind)) and (path is None or _below(path, finding))
        ]
        cut.update(at if kinds else [])
        if path and (not at or not kinds):
            whole.append(path)
    # Whole values last: findings below them are placed in the value as it was scanned.
    executed = redact(arguments, list(cut.values()))
    changed.update(finding.path for finding in cut.values())
    for path in whole:
        executed = _replaced(executed, path, lambda _: marker("policy"), changed)
    return executed


def _tokenised(asked: list[Obligation], arguments: JSON, mint: Mint, changed: set[str]) -> JSON:
    """Put a token in the place of each finding that is asked for; at a path without kinds, of the whole value."""
    made: set[str] = set()

    def token(kind: str, value: JSON) -> str:
        if not isinstance(value, str | int) or isinstance(value, bool):
            raise UnknownObligation("What an obligation 'tokenise' names is neither a text nor a whole number.")
        made.add(stands := value if value in made else mint(kind, value))
        return stands

    executed = arguments
    for obligation in asked:
        path, kinds = obligation.get("path"), _kinds(obligation)
        if not kinds:
            executed = _replaced(executed, path or "", lambda value: token("value", value), changed)
            continue
        for _ in range(_ROUNDS):
            found = [
                one
                for one in scan(executed)
                if covers(kinds, one.kind) and not one.in_key and (path is None or _below(path, one))
            ]
            found = [one for one in found if not _names(executed, one, made)]
            executed = replace(executed, found, token)
            changed.update(one.path for one in found)
            if not found:
                break
        else:
            raise UnknownObligation("An obligation 'tokenise' would leave something behind that it should replace.")
    return executed


def _names(value: JSON, finding: Finding, tokens: Iterable[str]) -> bool:
    """Say whether a recogniser took one of our own tokens for a secret: it stands for one, but is none."""
    for step in finding.target.split("/")[1:]:
        key = step.replace("~1", "/").replace("~0", "~")
        value = value[int(key)] if isinstance(value, list | tuple) else value[key]
    text = str(value)
    places = [(text.find(token), len(token)) for token in tokens if token in text]
    return any(start < finding.end and finding.start < start + length for start, length in places)


def _below(path: str, finding: Finding) -> bool:
    return any(place == path or place.startswith(path + "/") for place in (finding.path, finding.target))


def _kinds(obligation: Obligation) -> list[str]:
    kinds = list(obligation.get("kinds") or ())
    return [*kinds, obligation["finding"]] if "finding" in obligation else kinds


def _capped(cap: Obligation, arguments: JSON, changed: set[str]) -> JSON:
    path = cap["path"]
    if "max_length" in cap:
        most = cap["max_length"]
        return _replaced(arguments, path, lambda value: _shortened(value, most, path), changed)
    limit = cap["max"]
    # Absent means the tool's own default, which may be larger: the cap becomes the value.
    return _replaced(arguments, path, lambda value: _smaller(value, limit, path), changed, absent=limit)


def _smaller(value: JSON, limit: float, path: str) -> JSON:
    if isinstance(value, str | list):
        return _shortened(value, int(limit), path)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise UnknownObligation(f"What stands at {path!r} has no size to cap.")
    return min(value, limit)


def _shortened(value: JSON, most: int, path: str) -> JSON:
    if not isinstance(value, str | list):
        raise UnknownObligation(f"What stands at {path!r} has no length to cap.")
    return value[: max(0, most)]


_NOTHING = object()


def _replaced(
    value: JSON, path: str, change: Callable[[JSON], JSON], changed: set[str], *, absent: JSON = _NOTHING
) -> JSON:
    """Return `value` with what stands at `path` changed; nothing there: with `absent` put there, if it is given."""

    def walk(node: JSON, tokens: list[str]) -> JSON:
        if not tokens:
            new = change(node)
            if new != node:
                changed.add(path)
            return new
        token, rest = tokens[0], tokens[1:]
        if isinstance(node, Mapping):
            if token in node:
                return {**node, token: walk(node[token], rest)}
            if not rest and absent is not _NOTHING:
                changed.add(path)
                return {**node, token: absent}
        elif isinstance(node, list) and token.isdecimal() and int(token) < len(node):
            index = int(token)
            return [*node[:index], walk(node[index], rest), *node[index + 1 :]]
        if absent is not _NOTHING:
            raise UnknownObligation(f"There is nothing at {path!r} to cap.")
        return node

    return walk(value, [token.replace("~1", "/").replace("~0", "~") for token in path.split("/")[1:]])


def _of(kind: str, obligations: Iterable[Obligation]) -> list[Obligation]:
    return [one for one in obligations if one["kind"] == kind]


def _text(value: JSON) -> bool:
    return isinstance(value, str) and 0 < len(value) <= 2000


def _code(value: JSON) -> bool:
    return isinstance(value, str) and _CODE.fullmatch(value) is not None


def _label(value: JSON) -> bool:
    return isinstance(value, str) and 0 < len(value) <= 200


def _pointer(value: JSON) -> bool:
    return isinstance(value, str) and len(value) <= 4096 and _POINTER.fullmatch(value) is not None


def _kind_name(value: JSON) -> bool:
    return isinstance(value, str) and len(value) <= 80 and _KIND.fullmatch(value) is not None


def _whole(least: int, most: int) -> Callable[[JSON], bool]:
    return lambda value: isinstance(value, int) and not isinstance(value, bool) and least <= value <= most


def _number(value: JSON) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


Members = Mapping[str, Callable[[JSON], bool]]
_SHAPES: Mapping[str, tuple[Members, Members]] = {  # kind -> members that it needs, members that it may have
    "hold": (
        {},
        {
            "code": _code,
            "role": _code,
            "quorum": _whole(1, _LARGEST_QUORUM),
            "expires_s": _whole(1, _LONGEST_EXPIRY),
            "message": _text,
        },
    ),
    "redact": (
        {},
        {
            "path": lambda value: value is None or _pointer(value),
            "kinds": lambda value: isinstance(value, list | tuple) and all(map(_kind_name, value)),
            "finding": _kind_name,
        },
    ),
    "tokenise": (
        {},
        {
            "path": lambda value: value is None or _pointer(value),
            "kinds": lambda value: isinstance(value, list | tuple) and all(map(_kind_name, value)),
            "finding": _kind_name,
        },
    ),
    "cap": ({"path": _pointer}, {"max": _number, "max_length": _whole(0, 2**53 - 1)}),
    "label": ({"label": _label}, {}),
    "notify": ({}, {"to": _text, "role": _code, "message": _text}),
    "require_idempotency_key": ({}, {}),
}
KNOWN = frozenset(_SHAPES)
