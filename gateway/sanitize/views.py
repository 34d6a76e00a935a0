"""Other readings of a text: folded, decoded, unescaped. One level each, so that the work stays bounded."""

import base64
import binascii
import html
import re
import unicodedata
from bisect import bisect_right
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from itertools import accumulate
from urllib.parse import unquote_to_bytes

from gateway.sanitize import hidden

_LATIN_OF = dict(
    zip(
        "аеорсухіјѕһԁɡьАВЕЗКМНОРСТУХІЈЅӀΑΒΕΖΗΙΚΜΝΟΡΤΥΧονϲ",
        "aeopcyxijshdgbABE3KMHOPCTYXIJSIABEZHIKMNOPTYXovc",
        strict=True,
    )
)
_LETTER_OF = dict(zip("0134578@$", "oieastbas", strict=True))
_LEET = str.maketrans(_LETTER_OF)
_LARGEST_FOLD = 65_536  # code points remembered


Marks = list[tuple[int, int]]  # ascending (offset in the view, offset in the text), one for each piece


@dataclass(frozen=True, slots=True)
class View:
    """A reading of a text, and where it came from: piece by piece, or from one span as a whole.

    :param marks: gives the pieces; called only when a finding needs its place.
    """

    text: str
    marks: Callable[[], Marks] | None = None
    span: tuple[int, int] = (0, 0)

    def source(self, start: int, end: int) -> tuple[int, int]:
        """Return the span of the text that text[start:end] of this view was read from."""
        if self.marks is None:
            return self.span
        marks = self.marks()
        return _place(marks, start, last=False), _place(marks, end, last=True)


def _place(marks: Marks, offset: int, *, last: bool) -> int:
    """Return the offset in the text; of a piece that was rewritten as a whole, its start or its end."""
    index = bisect_right(marks, (offset, 1 << 60)) - 1
    here, there = marks[index]
    if offset == here or index + 1 == len(marks):
        return there + (offset - here)
    next_here, next_there = marks[index + 1]
    if next_here - here == next_there - there:
        return there + (offset - here)
    return next_there if last else there


class _Fold(dict[int, int | str | None]):
    """Code point -> its plain reading; computed once per code point."""

    def __missing__(self, point: int) -> int | str | None:
        reading: int | str | None = point
        if point >= 128:
            sign = chr(point)
            if hidden.INVISIBLE.match(sign):
                reading = None
            elif sign in _LATIN_OF:
                reading = _LATIN_OF[sign]
            else:
                plain = unicodedata.normalize("NFKD", sign)
                if plain[0].isascii() or point < 0x370:
                    plain = "".join(part for part in plain if not unicodedata.combining(part))
                else:
                    plain = unicodedata.normalize("NFKC", sign)
                reading = point if plain == sign else plain
        if len(self) < _LARGEST_FOLD:
            self[point] = reading
        return reading


_FOLD = _Fold()


def folded(text: str) -> View | None:
    """Return `text` in compatibility form, without invisible characters and accents; None if that is `text` itself."""
    if text.isascii():
        return None
    plain = text.translate(_FOLD)
    if plain == text:
        return None

    @cache
    def marks() -> Marks:
        sizes = (len(sign.translate(_FOLD)) for sign in text)
        return list(zip(accumulate(sizes, initial=0), range(len(text) + 1), strict=True))

    return View(plain, marks)


def folded_again(view: View) -> View | None:
    """Return the folded form of another view, placed as that view is."""
    plain = folded(view.text)
    if plain is None or plain.marks is None:
        return None
    if view.marks is None:
        return View(plain.text, span=view.span)
    inner, outer = plain.marks, view.marks

    @cache
    def marks() -> Marks:
        pieces = outer()
        return [(here, _place(pieces, there, last=False)) for here, there in inner()]

    return View(plain.text, marks)


def leet(text: str) -> View | None:
    """Return `text` with digits and signs read as the letters they resemble; None if there are none."""
    if text.isascii():
        plain = text.translate(_LEET)
    else:  # where translate costs 40 ns a character, and this a tenth
        plain = text
        for sign, letter in _LETTER_OF.items():
            plain = plain.replace(sign, letter)
    return None if plain == text else View(plain, lambda: [(0, 0)])


ESCAPE = (
    r"(?:%[0-9A-Fa-f]{2})+|(?:\\x[0-9A-Fa-f]{2})+|\\u[0-9A-Fa-f]{4}|\\[nrt\"'/\\]|"
    r"&(?:#[0-9]{1,7}|#[xX][0-9A-Fa-f]{1,6}|[A-Za-z]{2,8});"
)
_ESCAPE = re.compile(ESCAPE)


def unescaped(text: str) -> View | None:
    """Return `text` with percent, backslash and HTML escapes read once; None if it has none."""
    if "%" not in text and "\\" not in text and "&" not in text:
        return None
    pieces: list[str] = []
    marks: Marks = [(0, 0)]
    size = last = 0
    for match in _ESCAPE.finditer(text):
        reading = _unescape(match.group())
        if reading is None:
            continue
        start, end = match.span()
        pieces += (text[last:start], reading)
        size += start - last
        marks.append((size, start))
        size += len(reading)
        marks.append((size, end))
        last = end
    if not last:
        return None
    pieces.append(text[last:])
    return View("".join(pieces), lambda: marks)


_SIMPLE = {"n": "\n", "r": "\r", "t": "\t"}


def _unescape(escape: str) -> str | None:
    if escape[0] == "%":
        return _text(unquote_to_bytes(escape))
    if escape[0] == "&":
        reading = html.unescape(escape)
        return None if reading == escape or "\ud800" <= reading <= "\udfff" else reading
    if escape[1] == "x":
        return _text(bytes.fromhex(escape.replace("\\x", "")))
    if escape[1] == "u":
        point = int(escape[2:], 16)
        return None if 0xD800 <= point <= 0xDFFF else chr(point)
    return _SIMPLE.get(escape[1], escape[1])


def decoded(text: str, start: int, end: int) -> View | None:
    """Return what the base64 or hex run text[start:end] says, if it says text."""
    run = text[start:end]
    raw = b""
    try:
        if len(run) % 2 == 0 and re.fullmatch(r"[0-9a-fA-F]+", run):
            raw = bytes.fromhex(run)
        clear = _printable(raw) or _printable(_base64(run))
    except (ValueError, binascii.Error):
        return None
    return View(clear, span=(start, end)) if clear else None


def _base64(run: str) -> bytes:
    body = run.rstrip("=").replace("-", "+").replace("_", "/")
    if len(body) % 4 == 1:
        body = body[:-1]
    return base64.b64decode(body + "=" * (-len(body) % 4))


def _printable(raw: bytes) -> str:
    """Return `raw` as text if it is text, else nothing."""
    clear = _text(raw) or ""
    fit = sum(1 for sign in clear[:256] if sign.isprintable() or sign in "\n\r\t")
    return clear if len(clear) >= 12 and fit >= 0.95 * min(len(clear), 256) else ""


def _text(raw: bytes) -> str | None:
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return None


_TAG_RUN = re.compile("[\U000e0020-\U000e007e]{3,}")
_SELECTOR_RUN = re.compile("[\ufe00-\ufe0f\U000e0100-\U000e01ef]{3,}")
_OVERRIDE = re.compile("\u202e([^\u202c\n]+)")


def smuggled(text: str) -> Iterator[View]:
    """Yield what stands in tag characters, in runs of variation selectors, and behind right-to-left overrides."""
    for match in _TAG_RUN.finditer(text):
        yield View("".join(chr(ord(sign) - 0xE0000) for sign in match.group()), span=match.span())
    for match in _SELECTOR_RUN.finditer(text):
        raw = bytes(ord(sign) - (0xFE00 if sign <= "\ufe0f" else 0xE00F0) for sign in match.group())
        if clear := _text(raw):
            yield View(clear, span=match.span())
    for match in _OVERRIDE.finditer(text):
        yield View(match.group(1)[::-1], span=match.span())
