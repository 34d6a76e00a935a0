"""Markup that smuggles: comments with instructions, images and links that carry data away, text styled out of sight."""

import re
from collections.abc import Iterator
from urllib.parse import parse_qsl, urlsplit

from gateway.sanitize import injection
from gateway.sanitize.recognisers import Recogniser, Span

_COMMENT_LONGEST = 2048
_COMMENT_OPEN = 512  # looked at of a comment that nobody closes
_CARRIER = re.compile(
    r"(?i)^(?:data|d|q|p|c|s|t|x|payload|secret|token|key|content|text|msg|message|leak|exfil|info|conversation|history|"
    r"prompt|context|summary|output|result|password|pwd|email|user|username|name|body|value|b64|base64|log|stolen)$"
)
_TEMPLATE = re.compile(
    r"[{<\[]|%7[Bb]|%3[Cc]|%5[Bb]|\b(?:DATA|SECRET|PASSWORD|TOKEN|CONTENT|HISTORY|SUMMARY|INSERT|REPLACE|YOUR)\b"
)


def _carries(url: str) -> bool:
    """Say whether the query or the path of `url` is made to carry text away."""
    try:
        parts = urlsplit(url)
        query = parse_qsl(parts.query, keep_blank_values=True, max_num_fields=64)
    except ValueError:
        return True
    if _TEMPLATE.search(parts.query) or _TEMPLATE.search(parts.path):
        return True
    if any(_CARRIER.match(name) and (len(value) >= 4 or not value) for name, value in query):
        return True
    return any(len(value) >= 40 for _, value in query)


def _image(text: str, start: int, end: int) -> Iterator[Span]:
    if _carries(text[start:end]):
        yield start, end, "medium"


def _link(text: str, start: int, end: int) -> Iterator[Span]:
    """A link must be clicked: only one with a blank to fill in counts."""
    url = text[start:end]
    query = url.partition("?")[2]
    if query and _TEMPLATE.search(query):
        yield start, end, "low"


def _comment(text: str, start: int, end: int) -> Iterator[Span]:
    closing = text.find("-->", end, end + _COMMENT_LONGEST)
    stop = closing + 3 if closing >= 0 else min(len(text), end + _COMMENT_OPEN)
    if injection.instructs(text[end:stop]):
        yield start, stop, "medium"


def _hidden_comment(text: str, start: int, end: int) -> Iterator[Span]:
    if injection.instructs(text[start:end]):
        yield start, end, "medium"


_HIDDEN_STYLE = (
    r"(?i)<[a-z][^>]*style\s*=\s*[\"']?[^\"'>]*(?:display\s*:\s*none|visibility\s*:\s*hidden|font-size\s*:\s*0|"
    r"opacity\s*:\s*0(?:[;\"'\s]|\.0)|[^-]color\s*:\s*(?:white|transparent|#fff(?:fff)?)\b)[^>]*>"
)
_SCRIPT = (
    r"(?i)<(?:script|iframe|object|embed)\b[^>]*>|\bjavascript:[^\s]|\bdata:text/html|"
    r"<[a-z][^>]*\son(?:error|load|click|mouseover)\s*="
)
_MARKDOWN_COMMENT = r"\[(?://|comment|_|#)?[^\]\n]*\]:\s*#?\s*(\([^)\n]*\)|\"[^\"\n]*\")"

RECOGNISERS = (
    Recogniser("markup.image", "medium", r"!\[[^\]\n]*\]\(\s*<?((?:https?:)?//[^\s)>]+)", _image),
    Recogniser("markup.image", "medium", r"(?i)<img\s[^>]*src\s*=\s*[\"']?((?:https?:)?//[^\s\"'>]+)", _image),
    Recogniser("markup.link", "low", r"\]\(\s*<?((?:https?:)?//[^\s)>]+)", _link),
    Recogniser("markup.link", "low", r"(?:^|\n)\s*\[[^\]\n]+\]:\s*<?((?:https?:)?//[^\s>]+)", _link),
    Recogniser("markup.comment", "medium", r"<!--", _comment),
    Recogniser("markup.comment", "medium", _MARKDOWN_COMMENT, _hidden_comment),
    Recogniser("markup.hidden_text", "medium", _HIDDEN_STYLE),
    Recogniser("markup.script", "low", _SCRIPT),
)
