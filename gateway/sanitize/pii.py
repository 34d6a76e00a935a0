"""Personal data with a form of its own. Names, addresses and dates of birth have none and are not looked for."""

import ipaddress
import re
from collections.abc import Iterator

from gateway.sanitize import checksums
from gateway.sanitize.recognisers import Recogniser, Span

_FILE_ENDINGS = frozenset(
    {"png", "jpg", "jpeg", "gif", "svg", "webp", "ico", "css", "js", "ts", "jsx", "tsx", "py", "rb", "go", "rs", "md"}
    | {"txt", "json", "yaml", "yml", "html", "map", "pdf", "zip"}
)
_AHEAD = 48  # code points that one number may take


def _email(text: str, start: int, end: int) -> Iterator[Span]:
    end -= end - start - len(text[start:end].rstrip(".-"))
    start += end - start - len(text[start:end].lstrip(".'-"))
    local, _, domain = text[start:end].partition("@")
    top = domain.rpartition(".")[2]
    if not local or len(local) > 64 or len(domain) > 253 or domain.startswith("-"):
        return
    if top.lower() in _FILE_ENDINGS or len(top) < 2 or not (top.isalpha() or top.lower().startswith("xn--")):
        return
    if local == "git" and text[end : end + 1] in (":", "/"):
        return  # git@host:path is the address of a repository
    yield start, end, "medium"


_DIGITS = re.compile(r"[0-9]+")
_GROUPED = re.compile(r"[0-9]+(?:[ -][0-9]+)*")


def _issuer(digits: str) -> bool:
    """Say whether prefix and length are those of a card network (ISO/IEC 7812 ranges as published by each)."""
    if len(digits) > 19 or len(set(digits)) < 2:
        return False
    size, two, three, four = len(digits), int(digits[:2]), int(digits[:3]), int(digits[:4])
    if digits[0] == "4":
        return size in (13, 16, 19)
    if 51 <= two <= 55 or 2221 <= four <= 2720:
        return size == 16
    if two in (34, 37):
        return size == 15
    if four in (1800, 2131):
        return size == 15
    if 3528 <= four <= 3589:
        return 16 <= size <= 19
    if 300 <= three <= 305 or two in (36, 38, 39):
        return size == 14
    if four == 6011 or two in (62, 65) or 644 <= three <= 649:
        return 16 <= size <= 19
    return four in (5018, 5020, 5038, 5893, 6304, 6759, 6761, 6762, 6763) and 12 <= size <= 19


def _card(text: str, start: int, end: int) -> Iterator[Span]:
    """The candidate is the first eight digits; every group that begins within it may begin the card."""
    if start and (text[start - 1].isalnum() or text[start - 1] in "._" or text[max(0, start - 2) : start] == "0x"):
        return
    run = _GROUPED.match(text, start, min(len(text), start + _AHEAD))
    if run is None or run.end() - start < 12:
        return
    groups = _DIGITS.findall(run.group())
    first = start
    for index, group in enumerate(groups):
        if first >= end:
            return
        digits, last = "", first
        for follower in groups[index:]:
            digits += follower
            last += len(follower)
            if len(digits) >= 12 and _issuer(digits) and checksums.luhn(digits) and not _continues(text, last):
                yield first, last, "high"
                return
            if len(digits) >= 19:
                break
            last += 1
        first += len(group) + 1


def _continues(text: str, end: int) -> bool:
    """Say whether the number goes on as another thing: a decimal, a version, a longer word."""
    following = text[end : end + 2]
    return bool(following) and (
        following[0].isalnum() or following[0] == "_" or re.match(r"\.\d", following) is not None
    )


_IBAN_SIGNS = re.compile(r"[A-Za-z0-9](?:[ -]?[A-Za-z0-9])*")


def _iban(text: str, start: int, end: int) -> Iterator[Span]:
    length = checksums.IBAN_LENGTHS.get(text[start : start + 2].upper())
    signs = _IBAN_SIGNS.match(text, start, min(len(text), start + _AHEAD))
    if length is None or signs is None:
        return
    last, compact = start, ""
    while len(compact) < length and last < signs.end():
        if text[last] not in " -":
            compact += text[last].upper()
        last += 1
    if text[last : last + 1].isalnum() and text[last : last + 1].isascii():
        return
    if checksums.iban(compact):
        yield start, last, "high"


def _ip(text: str, start: int, end: int) -> Iterator[Span]:
    value = text[start:end].rstrip(":.")
    end = start + len(value)
    before, after = text[max(0, start - 12) : start], text[end : end + 2]
    if (
        before[-1:] in ("v", "V", ".", "-", "_")
        or before[-1:].isalnum()
        or re.search(r"(?i)(?:vers(?:ion)?|sections?|chapter|release|==|rfc)\W*$", before)
    ):
        return
    if re.match(r"\.?\d|[-_A-Za-z]", after):
        return
    try:
        address = ipaddress.ip_address(value)
    except ValueError:
        return
    # Private, loopback and documentation ranges say nothing about a person.
    if not address.is_global or address.is_multicast or value.startswith(("1.3.6.", "0.")):
        return
    if address.version == 6 and not (value[:1] in "23" and value.count(":") >= 2 and len(value) >= 7):
        return
    yield start, end, "low"


def _international(text: str, start: int, end: int) -> Iterator[Span]:
    """E.164 with separators: the first 8 to 15 digits."""
    if start and (text[start - 1].isalnum() or text[start - 1] in "+=/_"):
        return
    number = _SPACED.split(text[start:end])[0]
    if _DECIMAL.fullmatch(number):
        return
    yield from _phone_span(text, start, start + len(number), 8, 15)


_SPACED = re.compile(r"\s{2}|--|\.\.|//")
_DECIMAL = re.compile(r"\+[0-9]+\.[0-9]+")


def _phone_span(text: str, start: int, end: int, fewest: int, most: int) -> Iterator[Span]:
    digits, last = 0, start
    for place in range(start, min(end, start + _AHEAD)):
        if text[place].isdigit():
            digits += 1
            last = place + 1
        if digits == most:
            break
    if digits < fewest or text[last : last + 1].isdigit():
        return
    if len(set(re.sub(r"\D", "", text[start:last]))) >= 3:
        yield start, last, "medium"


_NUMBER = re.compile(r"\+?\(?[0-9](?:[ ().\-/]{0,2}[0-9])+")
_BETWEEN = re.compile(r"[^\n@0-9]*(?::\s*)?\(?")  # a label may stand on the line above
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}|[0-9]{2}[./][0-9]{2}[./][0-9]{4}")


def _named_phone(text: str, start: int, end: int) -> Iterator[Span]:
    """The candidate is a word like `phone`; a number of 7 to 15 digits shortly after it counts."""
    number = _NUMBER.search(text, end, min(len(text), end + 2 * _AHEAD))
    if number is None or number.start() - end > _AHEAD or not _BETWEEN.fullmatch(text, end, number.start()):
        return
    if re.match(r"(?!x\d)[A-Za-z_@]", text[number.end() : number.end() + 2]) or _DATE.match(number.group()):
        return
    yield from _phone_span(text, number.start(), number.end(), 7, 15)


def phone_number(value: str) -> bool:
    """Say whether the whole of `value` can be a telephone number, for members that are named so."""
    return len(value) <= 24 and _DIALLED.fullmatch(value) is not None and 7 <= sum(map(str.isdigit, value)) <= 15


_DIALLED = re.compile(r"\s*\+?[0-9 ().\-/x]+\s*")
PHONE_NAME = re.compile(
    r"(?i)(?:^|[_ .-])(?:phone|tel|telephone|mobile|cell|fax|whatsapp|msisdn)(?:[_ .-]?(?:number|no|nr))?s?$|"
    r"(?:phone|mobile)(?:number|no)?$"
)


def _ssn(text: str, start: int, end: int) -> Iterator[Span]:
    area, group, serial = text[start:end].replace(" ", "-").split("-")
    if area in ("000", "666") or area[0] == "9" or group == "00" or serial == "0000":
        return
    if re.match(r"[-.]?\d", text[end : end + 2]) or text[max(0, start - 1) : start] in ("-", ".", "+"):
        return
    yield start, end, "high"


RECOGNISERS = (
    Recogniser("pii.email", "medium", r"[\pL\pN._%+'\-]+@[\pL\pN\-]+(?:\.[\pL\pN\-]+)+", _email),
    Recogniser("pii.card", "high", r"\b(?:[3-6][0-9]{3}|2[2-7][0-9]{2}|1800|2131)[ -]?[0-9]{4}", _card),
    Recogniser("pii.iban", "high", r"\b[A-Za-z]{2}[0-9]{2}[ -]?[A-Za-z0-9]{4}", _iban),
    Recogniser("pii.phone", "medium", r"(?:\+|\b00)[1-9][0-9 ().\-/]*[0-9]", _international),
    Recogniser("pii.phone", "medium", r"\(?\b[2-9][0-9]{2}(?:\) ?|[ .-])[2-9][0-9]{2}[ .-][0-9]{4}", _international),
    Recogniser(
        "pii.phone",
        "medium",
        r"(?i)\b(?:tele)?phone(?: number)?|\b(?:tel|mobile|cell|fax|whatsapp|sms|call|dial|desk|contact number)\b",
        _named_phone,
    ),
    Recogniser("pii.ip", "low", r"\b[0-9]{1,3}\.[0-9]{1,3}\.[0-9]{1,3}\.[0-9]{1,3}", _ip),
    Recogniser("pii.ip", "low", r"\b[0-9A-Fa-f]+::?[0-9A-Fa-f]*:[0-9A-Fa-f:.]*", _ip),
    Recogniser("pii.us_ssn", "high", r"\b[0-9]{3}-[0-9]{2}-[0-9]{4}\b", _ssn),
)  # fmt: skip
