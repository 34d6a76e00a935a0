"""PURE. Keys that machines send as bearer: made once, shown once, kept as a hash, recognisable by their form."""

import hashlib
import re
import secrets
import zlib
from datetime import datetime, timedelta
from typing import NamedTuple

from audit.refusal import Refusal

LONGEST = timedelta(days=400)
_ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
PREFIX = "placet_"  # of agents' and machines' keys; what people's programs hold has a word more
_FORM = re.compile(r"([0-9A-Za-z]{43})([0-9A-Za-z]{6})")
_SHOWN = 6


class Made(NamedTuple):
    """A new key. `text` is told once; `prefix`, to recognise it by, and `hash` are kept."""

    text: str
    prefix: str
    hash: bytes


def make(prefix: str = PREFIX) -> Made:
    """Return a new key of 256 random bits."""
    body = "".join(secrets.choice(_ALPHABET) for _ in range(43))
    text = f"{prefix}{body}{checksum(body)}"
    return Made(text, text[: len(prefix) + _SHOWN], hash_of(text))


def hash_of(text: str) -> bytes:
    """Return what is kept of a key: it has more entropy than any guesser, so a plain SHA-256 will do."""
    return hashlib.sha256(text.encode()).digest()


def well_formed(text: str, prefix: str = PREFIX) -> bool:
    """Say whether `text` can be a key of ours at all."""
    form = _FORM.fullmatch(text.removeprefix(prefix)) if text.startswith(prefix) else None
    return form is not None and checksum(form[1]) == form[2]


def checksum(body: str) -> str:
    """Return six characters by which scanners and people tell a key from any other string, without a database."""
    number = zlib.crc32(body.encode())
    digits = ""
    for _ in range(6):
        number, digit = divmod(number, 62)
        digits = _ALPHABET[digit] + digits
    return digits


def check_expiry(expires_at: datetime, now: datetime) -> None:
    """Refuse a key that has ended already, or ends too late. :raises Refusal: expiry_out_of_range."""
    if not now < expires_at <= now + LONGEST:
        detail = f"A key must expire, in the future and within {LONGEST.days} days."
        raise Refusal("expiry_out_of_range", detail, field="expires_at")
