"""Check digits and measures that tell a real number or key from one that only looks like it."""

import math
import zlib
from collections import Counter

_BASE62 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"

# Length of an IBAN by country: ISO 13616 registry, release 99.
IBAN_LENGTHS = {
    "AD": 24, "AE": 23, "AL": 28, "AT": 20, "AZ": 28, "BA": 20, "BE": 16, "BG": 22, "BH": 22, "BI": 27, "BR": 29,
    "BY": 28, "CH": 21, "CR": 22, "CY": 28, "CZ": 24, "DE": 22, "DJ": 27, "DK": 18, "DO": 28, "EE": 20, "EG": 29,
    "ES": 24, "FI": 18, "FK": 18, "FO": 18, "FR": 27, "GB": 22, "GE": 22, "GI": 23, "GL": 18, "GR": 27, "GT": 28,
    "HN": 28, "HR": 21, "HU": 28, "IE": 22, "IL": 23, "IQ": 23, "IS": 26, "IT": 27, "JO": 30, "KW": 30, "KZ": 20,
    "LB": 28, "LC": 32, "LI": 21, "LT": 20, "LU": 20, "LV": 21, "LY": 25, "MC": 27, "MD": 24, "ME": 22, "MK": 19,
    "MN": 20, "MR": 27, "MT": 31, "MU": 30, "NI": 28, "NL": 18, "NO": 15, "OM": 23, "PK": 24, "PL": 28, "PS": 29,
    "PT": 25, "QA": 29, "RO": 24, "RS": 22, "RU": 33, "SA": 24, "SC": 31, "SD": 18, "SE": 24, "SI": 19, "SK": 24,
    "SM": 27, "SO": 23, "ST": 25, "SV": 28, "TL": 23, "TN": 24, "TR": 26, "UA": 29, "VA": 22, "VG": 24, "XK": 20,
    "YE": 30,
}  # fmt: skip


def luhn(digits: str) -> bool:
    """Say whether `digits` pass the Luhn check (ISO/IEC 7812-1 annex B)."""
    total = 0
    for place, digit in enumerate(reversed(digits)):
        number = int(digit)
        if place % 2:
            number = number * 2 - 9 if number > 4 else number * 2
        total += number
    return total % 10 == 0


def iban(compact: str) -> bool:
    """Say whether an upper-case IBAN without spaces has its country's length and remainder 1 modulo 97."""
    if IBAN_LENGTHS.get(compact[:2]) != len(compact) or not compact.isalnum() or not compact.isascii():
        return False
    return int("".join(str(int(sign, 36)) for sign in compact[4:] + compact[:4])) % 97 == 1


def crc_base62(body: str) -> str:
    """Return the CRC-32 of `body` as six base-62 digits, as GitHub and npm append it to their tokens."""
    number, digits = zlib.crc32(body.encode()), ""
    while number:
        number, rest = divmod(number, 62)
        digits = _BASE62[rest] + digits
    return digits.rjust(6, "0")


def entropy(text: str) -> float:
    """Return the Shannon entropy of the characters of `text`, in bits per character."""
    size = len(text)
    if not size:
        return 0.0
    return -sum(count / size * math.log2(count / size) for count in Counter(text).values())


def ascending(text: str) -> float:
    """Return the share of `text` that lies in runs like `abcdef` or `123456` (six or more), 0 to 1."""
    covered = run = 1
    total = 0
    for left, right in zip(text, text[1:] + "\x00", strict=True):
        if ord(right) - ord(left) == 1 or (left, right) == ("9", "0"):
            run += 1
            continue
        covered, run = run, 1
        if covered >= 6:
            total += covered
    return total / len(text) if text else 0.0
