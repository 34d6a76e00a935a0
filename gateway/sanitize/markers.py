"""What stands in place of something redacted: the same for the same kind, and nothing of the value."""

import re
from collections.abc import Callable, Iterable

from gateway.sanitize import hidden
from gateway.sanitize.findings import JSON

Cut = tuple[int, int, str]  # start, end, kind
Mark = Callable[[str, JSON], str]  # kind and what is replaced -> what stands there instead


MARKER = re.compile(r"⟨redacted: [a-z0-9_.]+⟩")


def marker(kind: str) -> str:
    """Return the text that replaces a finding of `kind`."""
    return f"⟨redacted: {kind}⟩"


def redacted(kind: str, _: JSON) -> str:
    """Mark what is gone for good."""
    return marker(kind)


def cut(text: str, cuts: Iterable[Cut], mark: Mark = redacted) -> str:
    """Return `text` with its `cuts` replaced by marks; overlapping ones become one.

    Of hidden characters only these go, and the letters between them stay.
    """
    replacements: list[tuple[int, int, str]] = []
    seen = 0
    for start, end, kind in _merged(cut for cut in cuts if not cut[2].startswith("unicode.")):
        replacements.append((start, end, mark(kind, text[start:end])))
    for start, end, kind in cuts:
        if kind.startswith("unicode."):
            replacements += _strips(text, start, end, kind)
    pieces: list[str] = []
    for start, end, replacement in sorted(replacements, key=lambda one: (one[0], -one[1])):
        if start < seen:
            continue  # inside a larger cut
        pieces += (text[seen:start], replacement)
        seen = end
    return "".join(pieces) + text[seen:]


def _merged(cuts: Iterable[Cut]) -> list[Cut]:
    merged: list[Cut] = []
    for start, end, kind in sorted(cuts, key=lambda one: (one[0], -one[1], one[2])):
        if merged and start < merged[-1][1]:
            first, last, before = merged[-1]
            merged[-1] = (first, max(last, end), before)
        else:
            merged.append((start, end, kind))
    return merged


def _strips(text: str, start: int, end: int, kind: str) -> list[tuple[int, int, str]]:
    places = [
        (one, other) for found, _, one, other in hidden.find(text) if found == kind and start <= one and other <= end
    ]
    if not places:
        return [(start, end, marker(kind))]
    if kind in ("unicode.confusable", "unicode.styled"):
        return [(one, other, marker(kind)) for one, other in places]
    return [(one, other, "" if index else marker(kind)) for index, (one, other) in enumerate(sorted(places))]
