"""PURE. What an OPA server sends us, in our words: its headers, its bodies, its status.

Source: the management APIs of OPA, tried against opa 1.20.2 (v1/download/download.go, v1/plugins/status/plugin.go).
"""

import re
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import orjson

from audit.refusal import Refusal

BUNDLE_TYPE = "application/vnd.openpolicyagent.bundles"  # tells OPA that it may long poll; else it polls
PLAIN_TYPE = "application/gzip"
LARGEST_STATUS = 1 << 20  # bytes, unpacked
LONGEST_PROBLEM = 2000
_WAIT = re.compile(r"(?:^|[;,\s])wait=([0-9]{1,6})(?:$|[;,\s])")
_TAG = re.compile(r'(?:W/)?"([^"]*)"')


class Readable(Protocol):
    """A body that can be read."""

    def read(self, size: int, /) -> bytes: ...


@dataclass(frozen=True, slots=True)
class Status:
    """What one OPA says of itself. `problem`: why it did not take the newest bundle; empty if it did."""

    name: str
    version: str
    revision: str
    problem: str


def wait_of(prefer: str) -> float:
    """Return the seconds that a `Prefer` header allows us to wait; 0 without `wait`."""
    found = _WAIT.search(prefer)
    return float(found[1]) if found else 0.0


def knows_long_polls(prefer: str) -> bool:
    """Say whether a client tells OPA's modes of bundles: then the type of our answer means something to it."""
    return "modes=" in prefer


def tags(if_none_match: str) -> list[str]:
    """Return the entity tags of an `If-None-Match` header, without quotes."""
    return _TAG.findall(if_none_match)


def read(stream: Readable, *, encoding: str, largest: int) -> Any:
    """Return the JSON of a body that may be packed, in bounded work.

    :param largest: bytes, packed and unpacked alike. :raises Refusal: body_too_large (413), body_malformed,
        encoding_unsupported (415).
    """
    raw = stream.read(largest + 1)
    if encoding == "gzip":
        raw = _unpack(raw, largest)
    elif encoding not in ("", "identity"):
        raise Refusal("encoding_unsupported", "Send the body plain or with Content-Encoding: gzip.", status=415)
    if len(raw) > largest:
        raise Refusal("body_too_large", f"The body has more than {largest} bytes.", status=413)
    try:
        return orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        raise Refusal("body_malformed", "The body is not JSON.", field="body") from error


def status_of(body: Any) -> Status:
    """Return the status in a report of OPA's status plugin. :raises Refusal: status_malformed."""
    labels = _member(body, "labels", Mapping)
    # OPA makes itself a new id at each start; one that was given a name is the same one after it.
    given = "name" if "name" in labels else "id"
    name = _member(labels, given, str)
    if not 0 < len(name) <= 200 or not name.isprintable():
        raise _malformed(f"labels.{given}", "has 1 to 200 printable characters")
    bundle = _bundle(body.get("bundles"))
    revision = bundle.get("active_revision", "")
    if not isinstance(revision, str) or len(revision) > 100:
        raise _malformed("active_revision", "is a text of at most 100 characters")
    return Status(name, str(labels.get("version", ""))[:50], revision, _problem(bundle))


def _bundle(bundles: Any) -> Mapping[str, Any]:
    """Return the status of our bundle: a decision point has one of ours, since their roots are the same."""
    if not bundles:
        return {}
    if not isinstance(bundles, Mapping) or not all(isinstance(one, Mapping) for one in bundles.values()):
        raise _malformed("bundles", "maps names to objects")
    found: Mapping[str, Any] = bundles.get("placet") or next(iter(bundles.values()))
    return found


def _problem(bundle: Mapping[str, Any]) -> str:
    code = bundle.get("code")
    if not code:
        return ""
    errors = bundle.get("errors")
    parts = [bundle.get("message") or code, *(errors if isinstance(errors, list) else [])]
    texts = [one if isinstance(one, str) else orjson.dumps(one).decode() for one in parts[:20]]
    # PostgreSQL's text has no NUL.
    return "; ".join(texts).replace("\0", "")[:LONGEST_PROBLEM]


def _member(value: Any, name: str, wanted: type) -> Any:
    found = value.get(name) if isinstance(value, Mapping) else None
    if not isinstance(found, wanted):
        raise _malformed(name, f"is missing, or no {'object' if wanted is Mapping else 'text'}")
    return found


def _malformed(field: str, what: str) -> Refusal:
    return Refusal("status_malformed", f"This is not a report of OPA's status plugin: {field} {what}.", field=field)


def _unpack(raw: bytes, largest: int) -> bytes:
    reader = zlib.decompressobj(wbits=31)
    try:
        plain = reader.decompress(raw, largest + 1)
    except zlib.error as error:
        raise Refusal("body_malformed", "The body is not gzip.", field="body") from error
    if len(plain) <= largest and not reader.eof:
        raise Refusal("body_malformed", "The body ends in the middle.", field="body")
    return plain
