"""Characters that a person does not see and a model reads: tags, bidi controls, zero-width, selectors, look-alikes.

Emoji sequences, right-to-left text and the orthographies that need joiners are left alone (Unicode Standard 16
chapter 23; UTS 51 for emoji; UTR 36 and "Trojan Source", CVE-2021-42574, for bidi).
"""

import re
import unicodedata
from bisect import bisect_left
from collections.abc import Iterator
from itertools import pairwise

from gateway.sanitize.findings import Severity

Hidden = tuple[str, Severity, int, int]  # kind, severity, start, end

_TAGS = "\U000e0000-\U000e007f"
_SELECTORS = "\ufe00-\ufe0f\U000e0100-\U000e01ef"
_BIDI = "\u200e\u200f\u061c\u202a-\u202e\u2066-\u2069"
_ZERO = (
    "\u00ad\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200d\u2060-\u2065\u206a-\u206f\u3164\ufeff\uffa0"
    "\ufff9-\ufffb\U0001d173-\U0001d17a\U000e0080-\U000e00ff\U000e01f0-\U000e0fff"
)
_CONTROL = "\x00-\x08\x0b\x0e-\x1f\x7f-\x84\x86-\x9f"
SUSPECT = re.compile(f"[{_TAGS}{_SELECTORS}{_BIDI}{_ZERO}{_CONTROL}]")
INVISIBLE = re.compile(f"[{_TAGS}{_SELECTORS}{_BIDI}{_ZERO}]")

_TAG_RUN = re.compile(f"[{_TAGS}]+")
_FLAG = re.compile("[\U000e0030-\U000e0039\U000e0061-\U000e007a]{3,6}\U000e007f")
_SELECTOR_RUN = re.compile(f"[{_SELECTORS}]+")
_ZERO_RUN = re.compile(f"[{_ZERO}]+")
_CONTROL_RUN = re.compile(r"\x1b\[[0-9;:?]*[@-~]|\x1b\][^\x07\x1b]{0,256}(?:\x07|\x1b\\)?|[" + _CONTROL + "]")
_HAN = "\u2e80-\u2fdf\u3005\u3007\u3021-\u3029\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
_IDEOGRAPH = re.compile(f"[{_HAN}]")
# Scripts that use joiners or break lines without spaces: Arabic to Thaana, N'Ko, Indic to Sinhala, Thai, Lao, Tibetan,
# Myanmar, Ethiopic, Khmer, Mongolian, further South-East Asian blocks, Kana, Hangul, Han.
_COMPLEX = re.compile(
    "[\u0590-\u08ff\u0900-\u109f\u1100-\u11ff\u1200-\u137f\u1700-\u18af\u1900-\u1aaf\u1b00-\u1c4f\u3040-\u318f"
    "\ua840-\ua87f\ua880-\uabff\uac00-\ud7ff\ufb1d-\ufdff\ufe70-\ufefc\U00010a00-\U00011fff\U0001e800-\U0001eeff"
    + _HAN
    + "]"
)
_PICTURE = re.compile("[\u00a9\u00ae\u203c-\u3299\U0001f000-\U0001faff]")
_RTL = re.compile("[\u0590-\u08ff\ufb1d-\ufdff\ufe70-\ufefc\U00010800-\U00010fff\U0001e800-\U0001eeff]")
_LTR = re.compile("[A-Za-z\u00c0-\u024f\u0370-\u03ff\u0400-\u052f]")
_MARKS = "\u200e\u200f\u061c"
_LOOKALIKES = "аеорсухіјѕһԁɡьАВЕЗКМНОРСТУХІЈЅӀΑΒΕΖΗΙΚΜΝΟΡΤΥΧονϲ"
_WORD = re.compile("[A-Za-z\u0370-\u03ff\u0400-\u052f\u0261]+")
_LATIN = re.compile("[A-Za-z]")
# Where a word goes from one script into another: a text of one script alone has no such place.
_SEAM = re.compile("[A-Za-z][\u0370-\u03ff\u0400-\u052f\u0261]|[\u0370-\u03ff\u0400-\u052f\u0261][A-Za-z]")
_STYLED = re.compile(
    "[\uff21-\uff3a\uff41-\uff5a\U0001d400-\U0001d6a5\u24b6-\u24e9\U0001f130-\U0001f149\U0001f150-\U0001f169]+"
)
_EAST = re.compile("[\u3000-\u30ff\u3400-\u9fff\uac00-\ud7ff]")
_MIXED = re.compile(f"[{_LOOKALIKES}]")


def find(text: str) -> Iterator[Hidden]:
    """Yield every hidden or misleading place of `text`; each can be cut out by itself."""
    if SUSPECT.search(text):
        yield from _tags(text)
        yield from _selectors(text)
        yield from _zero_width(text)
        yield from _bidi(text)
        for match in _CONTROL_RUN.finditer(text):
            yield "unicode.control", _control_severity(match.group()), match.start(), match.end()
    if text.isascii():
        return
    if _LATIN.search(text) and _SEAM.search(text):
        for match in _WORD.finditer(text):
            word = match.group()
            if _MIXED.search(word) and _LATIN.search(word):
                yield "unicode.confusable", "low", match.start(), match.end()
    yield from _styled(text)


def _styled(text: str) -> Iterator[Hidden]:
    """Full-width, mathematical and enclosed letters: words that a search misses. East Asian text has some of them."""
    if not _EAST.search(text):
        places = [match.span() for match in _STYLED.finditer(text)]
        if sum(end - start for start, end in places) >= 6:
            for start, end in places:
                yield "unicode.styled", "low", start, end


def _tags(text: str) -> Iterator[Hidden]:
    for match in _TAG_RUN.finditer(text):
        start, end = match.span()
        flag = _FLAG.match(text, start) if start and text[start - 1] == "\U0001f3f4" else None
        start = flag.end() if flag else start
        if start < end:
            yield "unicode.tags", "high", start, end


def _selectors(text: str) -> Iterator[Hidden]:
    """A selector belongs behind one character that has variants; a second one in a row selects nothing."""
    for match in _SELECTOR_RUN.finditer(text):
        start, end = match.span()
        if start and _takes_selector(text[start - 1], text[start]):
            start += 1
        if start < end:
            yield "unicode.variation_selector", "high" if end - start > 1 else "low", start, end


def _takes_selector(base: str, selector: str) -> bool:
    if base.isascii():
        return base in "0123456789#*"
    if selector >= "\U000e0100":
        return _IDEOGRAPH.match(base) is not None or _COMPLEX.match(base) is not None
    return ord(base) >= 0x590 or unicodedata.category(base)[0] in "SP"


def _zero_width(text: str) -> Iterator[Hidden]:
    loose: list[tuple[int, int]] = []  # fit for a ligature or a hyphenation, unless they stand letter by letter
    found: list[tuple[int, int]] = []
    for match in _ZERO_RUN.finditer(text):
        start, end = match.span()
        if start == 0 and text[0] == "\ufeff":
            start = 1  # a byte order mark
        if start < end:
            verdict = _zero_width_run(text, start, end)
            if verdict == "loose":
                loose.append((start, end))
            elif verdict == "odd":
                found.append((start, end))
    close = {pair for left, right in pairwise(loose) if right[0] - left[1] <= 2 for pair in (left, right)}
    found = sorted(found + list(close))
    size = sum(end - start for start, end in found)
    longest = max((end - start for start, end in found), default=0)
    severity: Severity = "high" if size >= 8 else "medium" if size >= 3 or longest >= 2 else "low"
    for start, end in found:
        yield "unicode.zero_width", severity, start, end


def _zero_width_run(text: str, start: int, end: int) -> str:
    """Return `fine`, `loose` or `odd` for the run of zero-width characters in text[start:end]."""
    before = _visible(text, range(start - 1, max(-1, start - 4), -1))
    after = _visible(text, range(end, min(len(text), end + 3)))
    if (_COMPLEX.match(before) or _COMPLEX.match(after)) and end - start <= 2:
        return "fine"
    if end - start > 1:
        return "odd"
    sign = text[start]
    if sign in "\u200c\u200d" and _PICTURE.match(before) and (sign == "\u200c" or _PICTURE.match(after)):
        return "fine"
    if sign in "\u00ad\u200c" and before.isalpha() and after.isalpha():
        return "loose"
    # A single break opportunity beside white space or punctuation, as in long links.
    joined = before.isalnum() and after.isalnum()
    return "fine" if sign in "\u00ad\u200b\u2060\ufeff" and not joined else "odd"


def _visible(text: str, places: range) -> str:
    for place in places:
        if not INVISIBLE.match(text, place):
            return text[place]
    return ""


def _bidi(text: str) -> Iterator[Hidden]:
    if not any(sign in text for sign in "\u200e\u200f\u061c\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"):
        return
    offset = 0
    for line in re.split(r"(?<=[\n\r\u2028\u2029])", text):
        for severity, place in _bidi_line(line):
            yield "unicode.bidi", severity, offset + place, offset + place + 1
        offset += len(line)


def _bidi_line(line: str) -> Iterator[tuple[Severity, int]]:
    letters = _Letters(line)
    stack: list[int] = []
    for place, sign in enumerate(line):
        if sign in _MARKS:
            if (
                not letters.right_to_left
                and line[place - 1 : place].isalnum()
                and line[place + 1 : place + 2].isalnum()
            ):
                yield "low", place
        elif sign in "\u202a\u202b\u202d\u202e\u2066\u2067\u2068":
            stack.append(place)
        elif sign in "\u202c\u2069":
            if stack:
                opener = stack.pop()
                if severity := letters.reordered(line[opener], opener + 1, place):
                    yield severity, opener
                    yield severity, place
            elif not letters.right_to_left:
                yield "medium", place
    for opener in stack:
        severity = letters.reordered(line[opener], opener + 1, len(line))
        if severity or not letters.right_to_left:
            yield severity or "medium", opener


class _Letters:
    """Where a line has letters that run right and left."""

    def __init__(self, line: str) -> None:
        self._left = [match.start() for match in _LTR.finditer(line)]
        self._right = [match.start() for match in _RTL.finditer(line)]
        self._digits = [match.start() for match in re.finditer(r"\d", line)]
        self.right_to_left = bool(self._right) and len(self._right) * 3 >= len(self._left)

    def reordered(self, sign: str, start: int, end: int) -> Severity | None:
        """Return how bad it is that `sign` governs line[start:end]: text shown in another order than it is read."""
        left, right = _any(self._left, start, end), _any(self._right, start, end)
        if sign == "\u202e":
            return "high" if left or _any(self._digits, start, end) else None
        if sign == "\u202d":
            return "medium" if right else None
        if sign in "\u202b\u2067":
            return "medium" if left and not right else None
        return None


def _any(places: list[int], start: int, end: int) -> bool:
    index = bisect_left(places, start)
    return index < len(places) and places[index] < end


def _control_severity(sequence: str) -> Severity:
    if not sequence.startswith("\x1b"):
        return "medium" if sequence in "\x00\x08\x1b\x7f" else "low"
    if sequence.endswith("m"):
        return "high" if re.search(r"(?:\[|;)0?8(?:;|m)", sequence) else "low"  # 8 conceals
    return "medium"
