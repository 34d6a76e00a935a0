"""Source text as HTML: highlighted by classes, with every character that a person cannot see made visible.

A reviewer who cannot see a bidirectional override or a tag character approves something else than they read.
"""

import json
import re
import unicodedata

from django.utils.html import escape
from django.utils.safestring import SafeString, mark_safe
from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexer import Lexer
from pygments.lexers import JsonLexer, get_lexer_by_name

from audit.canonical import JSON

PREFIX = "k-"  # of the highlighter's classes, so that they cannot meet ours
LONGEST_HIGHLIGHTED = 100_000  # characters; beyond, plain text
HIDDEN = frozenset(("Cc", "Cf", "Cn", "Co", "Cs", "Zl", "Zp"))
PLAIN = frozenset("\n\t")
# Blank though they count as letters or spaces: Hangul fillers, Braille blank, odd spaces.
BLANK = frozenset(
    "\u115f\u1160\u2800\u3164\uffa0\u00a0\u2000\u2001\u2002\u2003\u2007\u2008\u2009\u200a\u202f\u205f\u3000"
)
# What the style sheet colours; the rest would only make pages heavier. Spans do not nest and hold escaped text.
COLOURED = frozenset(
    ["k", "kd", "kn", "kr", "kc", "ow", "s", "s1", "s2", "sb", "m", "mi", "mf", "mb", "nt", "nf", "nb", "c", "c1", "cm"]
)
_SPAN = re.compile(rf'<span class="{PREFIX}(\w+)">([^<]*)</span>')
_ASCII = re.compile(r"[\n\t\x20-\x7e]*")
_SHOWN = re.compile(r"⟨(U\+[0-9A-F]{4,6}|no line end)⟩")


def reveal(text: str) -> str:
    """Return `text` with each invisible character as ⟨U+202E⟩."""
    if _ASCII.fullmatch(text):
        return text
    return "".join(f"⟨U+{ord(character):04X}⟩" if _hidden(character) else character for character in text)


def plain(text: str) -> SafeString:
    """Return `text` as HTML, escaped, with what was hidden set apart."""
    return _set_apart(escape(reveal(text)))


def rego(text: str) -> list[SafeString]:
    """Return the lines of a module, highlighted."""
    return _lines(text, get_lexer_by_name("rego", stripnl=False, ensurenl=False))


def pretty(value: JSON) -> SafeString:
    """Return `value` as indented JSON, highlighted."""
    text = json.dumps(value, indent=2, ensure_ascii=False, sort_keys=True)
    return mark_safe("\n".join(_lines(text, JsonLexer(stripnl=False, ensurenl=False))))  # noqa: S308 - escaped in _lines


def _lines(text: str, lexer: Lexer) -> list[SafeString]:
    text = reveal(text)
    if len(text) > LONGEST_HIGHLIGHTED:
        return [_set_apart(escape(line)) for line in text.split("\n")]
    html = highlight(text, lexer, HtmlFormatter(nowrap=True, classprefix=PREFIX))
    html = _SPAN.sub(lambda span: span[0] if span[1] in COLOURED else span[2], html)
    # The formatter closes and opens its spans at each line end, so that lines stand alone; it adds a last line end.
    return [_set_apart(line) for line in html.removesuffix("\n").split("\n")]


def _hidden(character: str) -> bool:
    if character in PLAIN:
        return False
    return character in BLANK or unicodedata.category(character) in HIDDEN


def _set_apart(html: str) -> SafeString:
    return mark_safe(_SHOWN.sub(r'<span class="unseen">\1</span>', html))  # noqa: S308 - escaped by the callers
