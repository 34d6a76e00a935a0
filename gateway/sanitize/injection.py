"""Text that reads like an instruction to a model. Never a verdict: plain requests cannot be told from content."""

import re
from collections.abc import Iterator

from gateway.sanitize.phrases import PHRASES
from gateway.sanitize.recognisers import Family, Recogniser, Span

# What may stand between two words: white space, quotation and line marks, escaped or folded line ends.
_GAP = r"(?:(?:\s|\\[nrt]|\\|[*_`>#|\"'])+)"
_AGAIN = {"?": "?", "+": "+", "*": "*"}


def _pattern(phrase: str) -> str:
    """Return the RE2 pattern of a phrase."""
    pattern = ""
    for slot in phrase.split(" / "):
        again = _AGAIN.get(slot[0], "")
        words = (slot[1:] if again else slot).replace("WORD", r"[\w'-]+").replace(" ", _GAP)
        gap = _GAP if pattern else ""
        pattern += f"(?:{gap}(?:{words})){again}"
    return rf"(?i)\b{pattern}(?:\b|[^\w]|$)"


_VERB = re.compile(
    r"(?i)\b(?:send|forward|e-?mail|mail|post|upload|transmit|exfiltrate|leak|share|copy|submit|deliver|append|include)\b"
)
_DESTINATION = re.compile(r"(?i)\b(?:to|at|via|into)\b|https?://|@")
_STOP = re.compile(r"[.!?]\s|\n\s*\n")
_SENTENCE = 120  # code points looked at on either side


def _exfiltration(text: str, start: int, end: int) -> Iterator[Span]:
    """The candidate must not leave: a verb of sending before it and a destination in the same sentence."""
    opening = max(0, start - _SENTENCE)
    before = _STOP.split(text[opening:start])[-1]
    verb = _VERB.search(before)
    if verb is None:
        return
    after = _STOP.split(text[end : end + _SENTENCE])[0]
    destination = _DESTINATION.search(after)
    if destination or re.search(r"(?i)\bto\b", before[verb.end() :]):
        yield start - len(before) + verb.start(), end + (destination.end() if destination else 0), "medium"


RECOGNISERS = (
    *(Recogniser(f"injection.{kind}", severity, _pattern(phrase)) for kind, severity, phrase in PHRASES),
    # Tokens of chat templates, and tags and headings that play them.
    Recogniser("injection.role_marker", "medium", r"<\|[a-z_]+\|>|\[/?INST\]|<</?SYS>>"),
    Recogniser(
        "injection.role_marker",
        "low",
        r"(?i)</?(?:system|sys|assistant|instructions?|system[_-]prompt|information|important|admin|developer|override)>",
    ),
    Recogniser(
        "injection.role_marker",
        "low",
        r"(?:^|\n|\\n)[\s#*]*(?:SYSTEM|ASSISTANT|System [Mm]essage|System [Pp]rompt)\s*\**:",
    ),
    Recogniser(
        "injection.override",
        "medium",
        r"(?:忽略|无视|無視|忘记|忽視)(?:之前|以上|先前|上述|前面|所有|前の)\pL?\pL?\pL?(?:指令|指示|说明|規則|规则)|"
        r"(?i:(?:игнорируй|забудь)(?:те)?\s+(?:все\s+)?(?:предыдущие|прежние)\s+(?:инструкции|указания))",
    ),
    Recogniser(
        "injection.exfiltration",
        "medium",
        r"(?i)\b(?:passwords?|pass(?:code|phrase)s?|api[ _-]?keys?|credentials?|secrets|(?:client|shared) secret|"
        r"(?:access|auth|session) tokens?|private keys?|ssh keys?|conversation(?: history)?|chat history|system prompt|"
        r"environment variables?|(?:security|verification|2fa|one-time) codes?|\.env|id_rsa|card numbers?)\b",
        _exfiltration,
    ),
)

FAMILY = Family(RECOGNISERS)


def instructs(text: str) -> bool:
    """Say whether `text` has instruction-like words at all (candidates count)."""
    return any(FAMILY.recognisers[number].accept is None for number in FAMILY.matching(text))
