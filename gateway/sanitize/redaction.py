"""Takes findings out of a value; structure and the types of everything else stay."""

from collections.abc import Iterable, Mapping

from gateway.sanitize.findings import JSON, RANK, Finding, SanitizerFailed
from gateway.sanitize.markers import cut, marker
from gateway.sanitize.scanner import scan
from gateway.sanitize.walk import step

_ROUNDS = 3


def redact(value: JSON, findings: Iterable[Finding]) -> JSON:
    """Return a copy of `value` with each finding replaced by `⟨redacted: kind⟩`.

    The result is scanned again: what a cut uncovers of the same kinds in the same texts goes too. A number becomes the
    marker, a string; the caller checks its contract again.

    :raises SanitizerFailed: sanitizer_stale_finding, when a finding does not fit `value`; what `scan` raises.
    """
    left = list(findings)
    if not left:
        return value
    kinds = {finding.kind for finding in left}
    changed: set[tuple[str, bool]] = set()
    for _ in range(_ROUNDS):
        value, touched = _Cuts(left).apply(value)
        changed |= touched
        left = [one for one in scan(value) if one.kind in kinds and (one.target, one.in_key) in changed]
        if not left:
            return value
    # Whatever still shows after three rounds goes as a whole.
    whole = [Finding(one.kind, one.path, one.severity, 0, -1, one.in_key, one.pointer) for one in left]
    return _Cuts(whole).apply(value)[0]


class _Cuts:
    """The findings by the text that they are in, and the walk that takes them out."""

    def __init__(self, findings: Iterable[Finding]) -> None:
        self._places: dict[tuple[str, bool], list[Finding]] = {}
        for finding in findings:
            self._places.setdefault((finding.target, finding.in_key), []).append(finding)
        self._touched: set[tuple[str, bool]] = set()

    def apply(self, value: JSON) -> tuple[JSON, set[tuple[str, bool]]]:
        """Return the value without the findings, and the places in it that are new."""
        missing = set(self._places)
        result = self._node(value, "", "", missing)
        if missing:
            raise SanitizerFailed("sanitizer_stale_finding", "A finding does not fit the value.")
        return result, self._touched

    def _node(self, node: JSON, old: str, new: str, missing: set[tuple[str, bool]]) -> JSON:
        here = (old, False)
        if here in self._places and isinstance(node, str | int | float) and not isinstance(node, bool):
            missing.discard(here)
            self._touched.add((new, False))
            text = node if isinstance(node, str) else str(int(node))
            return self._text(text, here, is_number=not isinstance(node, str))
        if isinstance(node, Mapping):
            return self._members(node, old, new, missing)
        if isinstance(node, list | tuple):
            return [self._node(one, f"{old}/{index}", f"{new}/{index}", missing) for index, one in enumerate(node)]
        return node

    def _members(self, node: Mapping[str, JSON], old: str, new: str, missing: set[tuple[str, bool]]) -> dict[str, JSON]:
        members: dict[str, JSON] = {}
        for key, member in node.items():
            below, name = step(old, key), key
            here = (below, True)
            if here in self._places:
                missing.discard(here)
                name = self._text(key, here, is_number=False)
            name = _free(name, node, members) if name != key else name
            after = step(new, name)
            if name != key:
                self._touched.add((after, True))
            members[name] = self._node(member, below, after, missing)
        return members

    def _text(self, text: str, here: tuple[str, bool], *, is_number: bool) -> str:
        findings = self._places[here]
        if any(not 0 <= one.start <= one.end <= len(text) for one in findings if one.end >= 0):
            raise SanitizerFailed("sanitizer_stale_finding", "A finding does not fit the value.")
        if is_number or any(one.end < 0 for one in findings):
            return marker(max(findings, key=lambda one: RANK[one.severity]).kind)
        return cut(text, [(one.start, one.end, one.kind) for one in findings])


def _free(name: str, *taken: Mapping[str, JSON]) -> str:
    """Return `name`, numbered if a member is called so already."""
    free, number = name, 1
    while any(free in members for members in taken):
        number += 1
        free = f"{name} {number}"
    return free
