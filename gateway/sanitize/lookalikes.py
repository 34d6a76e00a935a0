"""What looks like a secret and is none: placeholders, references, digests, identifiers."""

import re

from gateway.sanitize.checksums import ascending, entropy

_REFERENCE = re.compile(
    r"[$%@!#]?[{(<\[$]|\$\w+$|%\w+%$|\$\{|(?:process\.)?env[.(\[]|os\.(?:environ|getenv)|getenv\b|"
    r"(?:arn|vault|op|ref\+\w+|file|https?|ssm|secretsmanager|keyring):|/(?:run|etc|var|opt|home)/|!(?:Ref|Sub|GetAtt|vault)\b",
    re.IGNORECASE,
)
_TEMPLATE = re.compile(r"\$\{|\{\{|\$\(|#\{|%\(|<%")
_CODE = re.compile(
    r"[A-Za-z_][\w.:>-]*\(|\)$|\$\w|new\s|await\s|(?:secrets|vars|var|local|data|self|this|config|settings|options?|args|"
    r"params|req|request)\.|process\.env|\w\[",
    re.IGNORECASE,
)
_PLACEHOLDER = re.compile(
    r"example|change[_-]?(?:me|it|this)|placeholder|your[_-]?|dummy|redacted|insert|replace[_-]?(?:me|with|this)|"
    r"not[_-]set|to[_-]?do\b|x{4}|\*{3}|\.{3}|…|sample|foobar|deadbeef|0{8}|1{8}|a{8}",
    re.IGNORECASE,
)
_WORD = re.compile(
    r"(?:null|none|nil|undefined|true|false|string|str|text|bytes?|(?:\w*[-_])?(?:password|passwd|pwd)\d?|passphrase|passwort|secret|token|"
    r"api[_-]?key|key|value|required|optional|hidden|unknown|empty|default|user(?:name)?|test|input|output|object|"
    r"optional\[str\]|secretstr|number|integer|boolean|auto|basic|bearer|digest|oauth2?|any|void|enabled|disabled)",
    re.IGNORECASE,
)
_IDENTIFIER = re.compile(r"[#.]?[A-Za-z_]+(?:[._:>-]+[A-Za-z_]+)*[;,]?")
_FILE = re.compile(r"\.(?:pem|key|crt|cer|p12|pfx|jks|json|ya?ml|txt|conf|cfg|ini|env|php|js|py|html?)$", re.IGNORECASE)
_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", re.IGNORECASE)
_DIGEST = re.compile(
    r"(?:W/)?\"?(?:[0-9a-f]{32}|[0-9a-f]{40}|[0-9a-f]{56}|[0-9a-f]{64}|[0-9a-f]{96}|[0-9a-f]{128})\"?", re.IGNORECASE
)
_LABELLED_DIGEST = re.compile(r"^(?:sha-?(?:1|224|256|384|512)|md5|blake[23]b?|sri|git)[-:]", re.IGNORECASE)
_VERSION = re.compile(r"v?\d+(?:\.\d+)+(?:[-+_]|$)|.*[-_a-z]\d+\.\d+\.\d+(?:[-_.][A-Za-z0-9._-]*)?$")
_DATE = re.compile(r"^\d{4}-\d\d-\d\d(?:[T ]\d\d:\d\d)?")


def placeholder(value: str) -> bool:
    """Say whether `value` stands for a secret that somebody is to fill in."""
    return len(set(value)) <= 3 or _WORD.fullmatch(value) is not None or _PLACEHOLDER.search(value) is not None


def reference(value: str, *, literal: bool = False) -> bool:
    """Say whether `value` names where a secret is, or, unless it is a literal, is code that fetches it."""
    if _REFERENCE.match(value) or _TEMPLATE.search(value):
        return True
    return not literal and _CODE.search(value) is not None


def path(value: str) -> bool:
    """Say whether `value` is a path: words between slashes."""
    return value.count("/") >= 2 or value.startswith(("/", "./", "../", "~/")) or _FILE.search(value) is not None


def identifier(value: str) -> bool:
    """Say whether `value` is a name in code or a word: letters only, in one or several parts."""
    return _IDENTIFIER.fullmatch(value) is not None


def digest(value: str) -> bool:
    """Say whether `value` is a bare or labelled hash, as ETags, commits and SRI attributes are."""
    return _LABELLED_DIGEST.match(value) is not None or _DIGEST.fullmatch(value) is not None


def labelled(value: str) -> bool:
    """Say whether `value` says itself that it is a digest, a version or a date."""
    return any(pattern.match(value) for pattern in (_LABELLED_DIGEST, _VERSION, _DATE))


def uuid(value: str) -> bool:
    """Say whether `value` is a UUID."""
    return _UUID.fullmatch(value) is not None


def random_enough(body: str) -> bool:
    """Say whether the body of a provider's token could have been drawn at random."""
    return entropy(body) >= 2.9 and not placeholder(body) and ascending(body) < 0.6
