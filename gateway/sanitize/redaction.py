"""Takes findings out of a value; structure and the types of everything else stay."""

from collections.abc import Container, Iterable, Mapping

from gateway.sanitize.findings import JSON, RANK, Finding, SanitizerFailed
from gateway.sanitize.markers import Mark, cut, redacted
from gateway.sanitize.scanner import scan
from gateway.sanitize.walk import step

Place = tuple[str, bool]  # pointer, and whether its last key is meant
_ROUNDS = 3


def redact(value: JSON, findings: Iterable[Finding]) -> JSON:
    """Return a copy of `value` with each finding replaced by `⟨redacted: kind⟩`.

    The result is scanned again, and what the cuts uncovered in the same texts goes too. Other findings, which the
    caller left out, stay. A number becomes the marker, a string; the caller checks its contract again.

    :raises SanitizerFailed: sanitizer_stale_finding, when a finding does not fit `value`; what `scan` raises.
    """
    left = list(findings)
    if not left:
        return value
    taken = {(_place(one), one.kind) for one in left}
    spared: set[tuple[Place, str]] | None = None
    origin: dict[Place, Place] = {}  # where a changed text is now -> where it was in `value`
    result = value
    for _ in range(_ROUNDS):
        result, moved = _Cuts(left, origin).apply(result)
        origin = {now: origin.get(before, before) for now, before in moved.items()}
        left = [one for one in scan(result) if _place(one) in origin]
        if left and spared is None:
            spared = {(_place(one), one.kind) for one in scan(value)} - taken
        left = [one for one in left if (origin[_place(one)], one.kind) not in (spared or ())]
        if not left:
            return result
    # Whatever still shows after three rounds goes as a whole.
    whole = [Finding(one.kind, one.path, one.severity, 0, -1, one.in_key, one.pointer) for one in left]
    return _Cuts(whole, {}).apply(result)[0]


def replace(value: JSON, findings: Iterable[Finding], mark: Mark) -> JSON:
    """Return a copy of `value` with each finding replaced by what `mark` says, once and without a second look.

    :raises SanitizerFailed: sanitizer_stale_finding, when a finding does not fit `value`.
    """
    return _Cuts(findings, (), mark).apply(value)[0]


def _place(finding: Finding) -> Place:
    return finding.target, finding.in_key


class _Cuts:
    """The findings by the text that they are in, and the walk that takes them out."""

    def __init__(self, findings: Iterable[Finding], followed: Container[Place], mark: Mark = redacted) -> None:
        self._places: dict[Place, list[Finding]] = {}
        for finding in findings:
            self._places.setdefault(_place(finding), []).append(finding)
        self._mark = mark
        self._followed = followed  # changed before: their way is told as well
        self._moved: dict[Place, Place] = {}

    def apply(self, value: JSON) -> tuple[JSON, dict[Place, Place]]:
        """Return the value without the findings, and for each changed text its place now and before."""
        missing = set(self._places)
        result = self._node(value, "", "", missing)
        if missing:
            raise SanitizerFailed("sanitizer_stale_finding", "A finding does not fit the value.")
        return result, self._moved

    def _node(self, node: JSON, old: str, new: str, missing: set[Place]) -> JSON:
        here = (old, False)
        if isinstance(node, str | int | float) and not isinstance(node, bool):
            if here in self._places or here in self._followed:
                self._moved[(new, False)] = here
            if here not in self._places:
                return node
            missing.discard(here)
            return self._text(node, here)
        if isinstance(node, Mapping):
            return self._members(node, old, new, missing)
        if isinstance(node, list | tuple):
            return [self._node(one, f"{old}/{index}", f"{new}/{index}", missing) for index, one in enumerate(node)]
        return node

    def _members(self, node: Mapping[str, JSON], old: str, new: str, missing: set[Place]) -> dict[str, JSON]:
        members: dict[str, JSON] = {}
        for key, member in node.items():
            below, name = step(old, key), key
            here = (below, True)
            if here in self._places:
                missing.discard(here)
                name = _free(self._text(key, here), node, members)
            after = step(new, name)
            if name != key or here in self._followed:
                self._moved[(after, True)] = here
            members[name] = self._node(member, below, after, missing)
        return members

    def _text(self, value: str | int | float, here: Place) -> str:
        findings = self._places[here]
        text = value if isinstance(value, str) else str(int(value))
        if any(not 0 <= one.start <= one.end <= len(text) for one in findings if one.end >= 0):
            raise SanitizerFailed("sanitizer_stale_finding", "A finding does not fit the value.")
        if not isinstance(value, str) or any(one.end < 0 for one in findings):
            return self._mark(max(findings, key=lambda one: RANK[one.severity]).kind, value)
        return cut(text, [(one.start, one.end, one.kind) for one in findings], self._mark)


def _free(name: str, *taken: Mapping[str, JSON]) -> str:
    """Return `name`, numbered if a member is called so already."""
    free, number = name, 1
    while any(free in members for members in taken):
        number += 1
        free = f"{name} {number}"
    return free
