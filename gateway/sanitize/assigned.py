"""Secrets known by the name they are assigned to: `password=`, `api_key:`, a member called `client_secret`.

Entropy counts only here, with such a name beside the value.
"""

import re
from collections.abc import Iterator
from itertools import pairwise

from gateway.sanitize import lookalikes
from gateway.sanitize.checksums import entropy
from gateway.sanitize.findings import Severity
from gateway.sanitize.markers import MARKER
from gateway.sanitize.recognisers import Recogniser, Span

_LOGIN_NAMES = r"pass(?:word|wd|phrase|code|wort)|passwd|pwd|\bpass\b|contrase(?:ñ|n)a|mot[_ ]de[_ ]passe"
_KEY_NAMES = (
    r"secret|token|credential|api[ _.-]?key|apikey|appkey|app[_-]key|"
    r"(?:access|auth|account|admin|private|master|encryption|signing|service|client|consumer|shared|storage|"
    r"subscription|license|deploy|integration|insert|write|live|personal|session|webhook)[ _.-]?key"
)
_NAME = re.compile(rf"(?i:{_LOGIN_NAMES}|{_KEY_NAMES})")
_LOGIN_NAME = re.compile(rf"(?i:{_LOGIN_NAMES})")
# The name goes on with what makes it another thing: `token_url`, `secretName`, `password_length`.
_OTHER = re.compile(
    r"(?i)^s?[_.\s-]*(?:id|ids|identifier|name|names|url|uri|path|file|filename|type|kind|count|counter|len|length|size|"
    r"min|max|limit|limits|expir\w*|ttl|age|policy|rule|rules|hint|header|headers|field|fields|label|labels|ref|refs|"
    r"reference|arn|version|ver|format|regex|pattern|prefix|suffix|manager|store|provider|endpoint|host|scope|scopes|"
    r"status|usage|used|budget|rotation|strength|error|errors|message|prompt|required|enabled|reset|change|changed|"
    r"validator|validation|encoder|hash|digest|algorithm|algo|method|mode|env|var|variable|placeholder|class|column|"
    r"index|set|exists|lookup|created|updated|at|per|ization|izer|ize|ized|in|out|left|total)(?:[^a-z]|$)"
)
_PUBLIC = re.compile(
    r"(?i)(?:public|csrf|xsrf|next[_-]?page|page|continuation|sync|cursor|cancellation|stop|eos|bos|pad|push)[_.\s-]*$"
)
_TOKEN_LIKE = re.compile(r"[A-Za-z0-9_\-+/=.~$!@%^&*|:]+")
_CLASSES = tuple(re.compile(one) for one in (r"[a-z]", r"[A-Z]", r"\d", r"[^A-Za-z0-9]"))
_DIGIT = _CLASSES[2]
_FLAG = re.compile(r"(?:^|\s)--?[\w-]*$")
_OTHER_PASSWORD = re.compile(r"[a-z0-9_]*(?:pass|pwd)[a-z0-9_]*")  # the name of another variable
_GOES_ON = re.compile(r"(?!key|token|secret)(?:[a-rt-z]|s[a-z])")  # another word: `keying`, `secretary`
_AROUND = 40  # code points looked at on either side of a name
_LONGEST = 1024  # code points of a value


def credential_name(name: str) -> str | None:
    """Return `password` or `token` if something called `name` holds a secret, else None."""
    name = MARKER.sub("", name)  # the name of what was redacted is no name
    for found in _NAME.finditer(name):
        if _OTHER.match(name[found.end() :]) or _PUBLIC.search(name[: found.start()]):
            continue
        return "password" if _LOGIN_NAME.fullmatch(found.group()) else "token"
    return None


def value_severity(kind: str, value: str, *, quoted: bool = True, strict: bool = False) -> Severity | None:
    """Return how sure it is that `value`, assigned to a name of `kind`, is a secret; None if it is not.

    :param quoted: it is a literal: a JSON string or in quotation marks.
    :param strict: only white space or a comma stands between name and value, so prose must be ruled out.
    """
    if not 4 <= len(value) <= _LONGEST or any(sign.isspace() or sign in "⟨⟩" for sign in value):
        return None
    bare = value.strip("'\"")
    if lookalikes.placeholder(bare) or lookalikes.reference(bare, literal=quoted) or lookalikes.labelled(bare):
        return None
    if not quoted and _OTHER_PASSWORD.fullmatch(bare.rstrip(":;")):
        return None
    if kind == "password" and not strict:
        return _password_severity(value, quoted=quoted)
    return _token_severity(value, quoted=quoted, strict=strict)


def _password_severity(value: str, *, quoted: bool) -> Severity | None:
    if lookalikes.identifier(value):
        return "low" if quoted and len(value) >= 6 and value.islower() and value.isalpha() else None
    if lookalikes.path(value):
        return None
    if _classes(value) >= 2 and len(value) >= 6:
        return "high"
    return "low" if quoted else None


def _token_severity(value: str, *, quoted: bool, strict: bool) -> Severity | None:
    if (not quoted and not _TOKEN_LIKE.fullmatch(value)) or (lookalikes.identifier(value) and not _mixed(value)):
        return None
    varied = _DIGIT.search(value) is not None and _classes(value) >= 2
    if strict:
        return "medium" if len(value) >= 16 and varied and entropy(value) >= 3.0 else None
    if lookalikes.uuid(value):
        return "medium"
    if len(value) >= 10 and varied and entropy(value) >= 2.75:
        return "high" if len(value) >= 20 else "medium"
    return "medium" if len(value) >= 20 and entropy(value) >= 3.5 and not lookalikes.path(value) else None


def _classes(value: str) -> int:
    """Return how many of lower case, upper case, digits and signs occur in `value`."""
    return sum(1 for one in _CLASSES if one.search(value))


def _mixed(value: str) -> bool:
    """Letters only, yet not words: upper and lower case change too often for camel case."""
    changes = sum(1 for left, right in pairwise(value) if left.islower() != right.islower())
    return len(value) >= 20 and changes > len(value) / 3


def _assigned(text: str, start: int, end: int) -> Iterator[Span]:
    """The candidate is the name; what follows it decides."""
    before = text[max(0, start - _AROUND) : start]
    after = text[end : end + _AROUND]
    if _OTHER.match(after) or _PUBLIC.search(before) or (text[end - 1].islower() and _GOES_ON.match(after)):
        return
    kind = "password" if _LOGIN_NAME.fullmatch(text, start, end) else "token"
    place = _value(text, end)
    if place is None:
        return
    first, last, quoted, strict = place
    if strict and text[first] == "-":
        return  # the next flag
    # `-Password x`: a flag names what follows as surely as an equals sign.
    severity = value_severity(kind, text[first:last], quoted=quoted, strict=strict and not _FLAG.search(before))
    if severity:
        yield first, last, severity


_SEPARATOR = re.compile(
    r"[\w.\-]{0,40}?[\"'\])}\\]{0,4}"
    r"(?P<sep>[ \t]{0,8}(?:=>|:=|={1,3}|!=|:)[ \t]{0,8}|[ \t]{0,4},[ \t]{0,4}|>|[ \t]+is[ \t]+|[ \t\-.]{1,4})"
    r"(?P<quote>\\?[\"'`])?(?=\S)"
)
_BARE = re.compile(r"[^\s\"'`<>,;&|\\)}\]]+")


def _value(text: str, place: int) -> tuple[int, int, bool, bool] | None:
    """Return start and end of the value after a name, whether it is quoted, whether only space divides them."""
    found = _SEPARATOR.match(text, place, min(len(text), place + 80))
    if found is None:
        return None
    start, quote = found.end(), found["quote"]
    strict = found["sep"].strip() in ("", ",", "-", ".", "is")
    if quote:
        closing = text.find(quote, start, start + _LONGEST + 2)
        line = text.find("\n", start, start + _LONGEST)
        if closing > start and not 0 <= line < closing:
            return start, closing, True, strict
    bare = _BARE.match(text, start, min(len(text), start + _LONGEST + 1))
    return (start, bare.end(), False, strict) if bare else None


RECOGNISERS = (
    Recogniser("secret.password", "high", rf"(?i)(?:{_LOGIN_NAMES})", _assigned),
    Recogniser("secret.assigned", "high", rf"(?i)(?:{_KEY_NAMES})", _assigned),
)
