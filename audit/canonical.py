"""Canonical JSON (RFC 8785) out, strict JSON in."""

import contextlib
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
_ORJSON = (
    orjson.OPT_SORT_KEYS
    | orjson.OPT_STRICT_INTEGER  # past 2**53 - 1 is an error
    | orjson.OPT_PASSTHROUGH_SUBCLASS
    | orjson.OPT_PASSTHROUGH_DATACLASS
    | orjson.OPT_PASSTHROUGH_DATETIME
)
_SCALARS = frozenset({str, int, bool, type(None)})
# UTF-8 of a character past the basic plane: in a key, it may stand elsewhere in RFC 8785's order than in orjson's.
_BEYOND = re.compile(rb"[\xf0-\xf4]")
_NO_BRACKET = bytes(byte for byte in range(256) if byte not in b"[]{}")


class NotCanonical(ValueError):
    """The value has no canonical JSON form: NaN, an integer past 2**53 - 1, a lone surrogate or another type."""


def dumps(value: JSON) -> bytes:
    """Return the RFC 8785 bytes of `value`. :raises NotCanonical: if it has none."""
    try:
        # First, because it ends where a value contains itself.
        form = orjson.dumps(value, option=_ORJSON)
    except (TypeError, RecursionError):
        return _slowly(value)
    parents = _parents(value)
    if parents is None or (not form.isascii() and _BEYOND.search(form) and not _in_basic_plane(parents)):
        return _slowly(value)
    return form  # equal to RFC 8785 for such values, at a tenth of the cost


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
    outside = _outside_strings(raw)
    # Depth is bounded on the text, before a parser sees it.
    too_deep = outside.count(b"[") + outside.count(b"{") > max_depth and _depth(outside) > max_depth
    if not too_deep:
        with contextlib.suppress(orjson.JSONDecodeError):
            value = orjson.loads(raw)
            if _is_literal(value, outside.count(b":")):
                return value
    return _read_slowly(raw, field, f"The {field} nests deeper than {max_depth} levels." if too_deep else "")


def _read_slowly(raw: bytes, field: str, too_deep: str = "") -> JSON:
    """Parse what is not plainly good, so that each thing that is wrong with it is named."""
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise Refusal("json_not_utf8", f"The {field} is not UTF-8 at byte {error.start}.", field=field) from error
    if too_deep:
        raise Refusal("json_too_deep", too_deep, field=field)
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


def _parents(value: JSON) -> list[JSON] | None:
    """Return all objects and arrays in `value`, or None if orjson may write anything in it otherwise than RFC 8785.

    NaN, for one, it writes as null, and a UUID as a string.
    """
    parents: list[JSON] = [(value,)]
    for parent in parents:  # which grows on the way
        for member in parent.values() if type(parent) is dict else parent:
            kind = type(member)
            if kind in _SCALARS:
                continue
            if kind is dict or kind is list or kind is tuple:
                parents.append(member)
            elif kind is not float or not _is_plain(member):
                return None
    return parents


def _in_basic_plane(parents: list[JSON]) -> bool:
    """Say whether all keys lie in the basic plane, where the order of code points is that of UTF-16."""
    return all(max(key, default="") <= "\uffff" for parent in parents if type(parent) is dict for key in parent)


def _is_plain(number: float) -> bool:
    """Say whether `number` is written with a point and without an exponent, by whatever rules."""
    return 1e-4 <= abs(number) < 1e15 and not number.is_integer()


def _slowly(value: JSON) -> bytes:
    try:
        _refuse_large(value)
        return rfc8785.dumps(value)
    except (TypeError, ValueError, RecursionError, UnicodeEncodeError) as error:
        raise NotCanonical(str(error)) from error


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


def _outside_strings(raw: bytes) -> bytes:
    """Return what stands outside the strings of a JSON text, up to where it is no JSON any more."""
    if b"\\" in raw:  # which no JSON has outside a string: what is escaped goes first, so that each `"` is one
        raw = raw.replace(b"\\\\", b"").replace(b'\\"', b"")
    return b"".join(raw.split(b'"')[::2])


def _depth(outside: bytes) -> int:
    depth = deepest = 0
    for mark in outside.translate(None, _NO_BRACKET):
        if mark in b"[{":
            depth += 1
            deepest = max(deepest, depth)
        else:
            depth -= 1
    return deepest


def _is_literal(value: JSON, colons: int) -> bool:
    """Say whether orjson's reading of a text is ours: no member stood there twice, and no number is past our bounds.

    It makes floats of integers past 64 bits, and of two members of one name it keeps the last: one colon too many.
    """
    members = 0
    parents: list[JSON] = [(value,)]
    for parent in parents:  # which grows on the way
        if type(parent) is dict:
            members += len(parent)
            parent = parent.values()
        for member in parent:
            kind = type(member)
            if kind is dict or kind is list:
                parents.append(member)
            elif (kind is int or kind is float) and not -LARGEST_INTEGER <= member <= LARGEST_INTEGER:
                return False
    return members == colons


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
