"""Secrets known by their structure: keys in armour, JWT, URLs with a password, headers, password hashes."""

import base64
import binascii
import json
import re
from collections.abc import Iterator

from gateway.sanitize import lookalikes
from gateway.sanitize.recognisers import Recogniser, Span

_BEGIN = r"-----BEGIN [A-Z0-9 ]*PRIVATE KEY(?: BLOCK)?-----"
_END = r"-----END [A-Z0-9 ]*PRIVATE KEY(?: BLOCK)?-----"
_JWT_LONGEST = 16_384


def _armour(text: str, start: int, end: int) -> Iterator[Span]:
    """A header alone, as code compares with, is no key."""
    body = text[start:end].partition("KEY")[2]
    if len(re.sub(r"[^A-Za-z0-9+/]", "", body)) >= 48:
        yield start, end, "high"


def _jwt(text: str, start: int, end: int) -> Iterator[Span]:
    """A JWS or JWE in compact form, if its header is a JSON object that names an algorithm."""
    if end - start > _JWT_LONGEST:
        end = start + _JWT_LONGEST
    parts = text[start:end].split(".")
    if len(parts[-1]) < 16 or _jose_header(parts[0]) is None:
        return
    yield start, end, "high"


def _jose_header(part: str) -> object | None:
    try:
        header = json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
    except (ValueError, binascii.Error, RecursionError):
        return None
    return header if isinstance(header, dict) and isinstance(header.get("alg"), str) else None


def _url_password(text: str, start: int, end: int) -> Iterator[Span]:
    """`scheme://user:password@host`: the password. The last `@` before the path divides."""
    password = text[start:end]
    if lookalikes.reference(password) or len(password) < 3:
        return
    if lookalikes.placeholder(password) and password.lower() not in ("test", "default"):
        return
    yield start, end, "high"


def _basic(text: str, start: int, end: int) -> Iterator[Span]:
    try:
        clear = base64.b64decode(text[start:end] + "=" * (-(end - start) % 4), validate=True).decode()
    except (ValueError, binascii.Error):
        return
    user, colon, password = clear.partition(":")
    if colon and password and user.isprintable() and not lookalikes.placeholder(password):
        yield start, end, "high"


def _bearer(text: str, start: int, end: int) -> Iterator[Span]:
    token = text[start:end].rstrip(".,;")
    if lookalikes.placeholder(token) or lookalikes.reference(token) or lookalikes.identifier(token):
        return
    if re.search(r"\d", token):
        yield start, start + len(token), "high"


def _clear(text: str, start: int, end: int) -> Iterator[Span]:
    if not lookalikes.placeholder(text[start:end]) and not lookalikes.reference(text[start:end]):
        yield start, end, "high"


_URL_LOGIN = r"\b[A-Za-z][A-Za-z0-9+.-]*://[^\s:/?#\"'<>`@]*:([^\s/?#\"'<>`]+)@[\w\[%$.-]"
_CURL_USER = r"(?:^|\s)(?:-u|--user|--proxy-user)[ =]?[\"']?[^\s:\"'/$]+:([^\s\"']+)"
_BEARER = r"(?i)\b(?:bearer|authorization:\s*token)\s+([A-Za-z0-9._~+/-]{16}[A-Za-z0-9._~+/-]*=*)"
_PUTTY = r"PuTTY-User-Key-File-[23]: [A-Za-z0-9+/=\s\\:,.-]*Private-Lines:[A-Za-z0-9+/=\s\\:]+"
_HASHES = (
    r"\$2[abxy]\$[0-9]{2}\$[./A-Za-z0-9]{53}",
    r"\$argon2(?:id|i|d)\$v=[0-9]+\$[a-z0-9=,]+\$[A-Za-z0-9+/]+\$[A-Za-z0-9+/]+",
    r"\$(?:1|5|6|y|7|apr1)\$[^\s$:]+\$(?:[^\s$:]+\$)?[./A-Za-z0-9]{22}[./A-Za-z0-9]*",
    r"\bpbkdf2_sha(?:256|512)\$[0-9]+\$[A-Za-z0-9]+\$[A-Za-z0-9+/]{40}[A-Za-z0-9+/]*={0,2}",
    r"\$krb5(?:asrep|tgs)\$[0-9]+\$\S+[0-9a-f]{32}",
)

RECOGNISERS = (
    Recogniser("secret.private_key", "high", rf"{_BEGIN}[^-]*(?:-[^-]+)*{_END}", _armour),
    Recogniser("secret.private_key", "high", rf"{_BEGIN}[A-Za-z0-9+/=\s\\]+", _armour),  # cut off before its end
    Recogniser("secret.private_key", "high", _PUTTY),
    Recogniser("secret.jwt", "high", r"\bey[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]*){1,3}", _jwt),
    Recogniser("secret.url_password", "high", _URL_LOGIN, _url_password),
    Recogniser("secret.basic_auth", "high", r"(?i)\bbasic\s+([A-Za-z0-9+/]{8}[A-Za-z0-9+/]*={0,2})", _basic),
    Recogniser("secret.basic_auth", "high", _CURL_USER, _clear),
    Recogniser("secret.bearer", "high", _BEARER, _bearer),
    Recogniser("secret.netrc", "high", r"\bmachine\s+\S+\s+login\s+\S+\s+password\s+(\S+)", _clear),
    *(Recogniser("secret.password_hash", "medium", pattern) for pattern in _HASHES),
)
