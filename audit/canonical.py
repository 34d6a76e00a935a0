"""Canonical JSON (RFC 8785) out, strict JSON in."""

import hashlib
import json
import re
from typing import Any

import orjson
import rfc8785

from audit.refusal import Refusal

JSON = Any  # None, bool, int, float, str, list[JSON] or dict[str, JSON]
LARGEST_INTEGER = 2**53 - 1
LARGEST_BODY = 1_048_576  # bytes
_SURROGATE = re.compile("[\ud800-\udfff]")
# A string (closed or not: one pass, no second start inside it) or a bracket.
_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*+"?|[\[\]{}]', re.DOTALL)


class NotCanonical(ValueError):
    """The value has no canonical JSON form: NaN, an integer past 2**53 - 1, a lone surrogate or another type."""


def dumps(value: JSON) -> bytes:
    """Return the RFC 8785 bytes of `value`. :raises NotCanonical: if it has none."""
    try:
        if _plain(value):
            # Equal to RFC 8785 for integers and ASCII keys, at a fiftieth of the cost.
            return orjson.dumps(value, option=orjson.OPT_SORT_KEYS)
        _refuse_large(value)
        return rfc8785.dumps(value)
    except (TypeError, ValueError, RecursionError, UnicodeEncodeError) as error:
        raise NotCanonical(str(error)) from error


def sha256(value: JSON) -> str:
    """Return `sha256:` and the hex digest of the canonical bytes of `value`."""
    return "sha256:" + hashlib.sha256(dumps(value)).hexdigest()


def loads(raw: bytes, *, max_bytes: int = LARGEST_BODY, max_depth: int = 32, field: str = "body") -> JSON:
    """Parse JSON from outside with bounded work.

    :raises Refusal: body_too_large, json_too_deep, json_not_utf8, json_duplicate_key, json_number, json_surrogate or
        json_malformed.
    """
    if len(raw) > max_bytes:
        detail = f"The {field} has {len(raw)} bytes; at most {max_bytes} are accepted."
        raise Refusal("body_too_large", detail, status=413, field=field)
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise Refusal("json_not_utf8", f"The {field} is not UTF-8 at byte {error.start}.", field=field) from error
    # Depth is bounded on the text, before a recursive parser sees it.
    if _depth(text) > max_depth:
        raise Refusal("json_too_deep", f"The {field} nests deeper than {max_depth} levels.", field=field)
    try:
        value = json.loads(
            text, object_pairs_hook=_object, parse_constant=_constant, parse_int=_integer, parse_float=_float
        )
    except Refusal as refusal:
        refusal.field = field
        raise
    except (ValueError, RecursionError) as error:
        raise Refusal("json_malformed", f"The {field} is not JSON: {error}.", field=field) from error
    if "\\u" in text and _has_surrogate(value):
        raise Refusal("json_surrogate", f"The {field} has a lone surrogate; send whole characters.", field=field)
    return value


def _plain(value: JSON) -> bool:
    """Say whether orjson's sorted form of `value` is its RFC 8785 form."""
    kind = type(value)
    if kind is str or kind is bool or value is None:
        return True
    if kind is int:
        if not -LARGEST_INTEGER <= value <= LARGEST_INTEGER:
            raise NotCanonical(f"The integer {value} is past 2**53 - 1.")
        return True
    if kind is dict:
        return all(type(key) is str and key.isascii() and _plain(member) for key, member in value.items())
    if kind is list or kind is tuple:
        return all(_plain(member) for member in value)
    return False


def _refuse_large(value: JSON) -> None:
    """Refuse floats whose canonical form is an integer past 2**53 - 1: no reader, ours included, takes it back."""
    if isinstance(value, float) and _is_large(value):
        raise NotCanonical(f"The number {value} is past 2**53 - 1.")
    if isinstance(value, dict):
        for member in value.values():
            _refuse_large(member)
    elif isinstance(value, (list, tuple)):
        for member in value:
            _refuse_large(member)


def _is_large(number: float) -> bool:
    # From 1e21 on the form has an exponent, and is read back as the float that it was.
    return LARGEST_INTEGER < abs(number) < 1e21


def _depth(text: str) -> int:
    depth = deepest = 0
    for token in _TOKEN.finditer(text):
        mark = token.group()
        if mark in "[{":
            depth += 1
            deepest = max(deepest, depth)
        elif mark in "]}":
            depth -= 1
    return deepest


def _object(pairs: list[tuple[str, JSON]]) -> dict[str, JSON]:
    members = dict(pairs)
    if len(members) != len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise Refusal("json_duplicate_key", f"The member {twice[:80]!r} stands twice in one object.")
    return members


def _constant(name: str) -> JSON:
    raise Refusal("json_number", f"{name} is not a JSON number.")


def _integer(digits: str) -> int:
    if len(digits) > 17 or not -LARGEST_INTEGER <= int(digits) <= LARGEST_INTEGER:
        raise Refusal("json_number", f"The integer {digits[:20]} is past 2**53 - 1; send it as a string.")
    return int(digits)


def _float(digits: str) -> float:
    number = float(digits)
    if number in (float("inf"), float("-inf")) or _is_large(number):
        raise Refusal("json_number", f"The number {digits[:20]} is too large.")
    return number


def _has_surrogate(value: JSON) -> bool:
    if isinstance(value, str):
        return _SURROGATE.search(value) is not None
    if isinstance(value, dict):
        return any(_has_surrogate(key) or _has_surrogate(member) for key, member in value.items())
    if isinstance(value, list):
        return any(map(_has_surrogate, value))
    return False
