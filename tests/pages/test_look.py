"""The look: readable in both themes, and nothing that a strict content security policy would have to allow."""

import hashlib
import json
import re
from pathlib import Path

import pytest

from tests.pages.reading import read

TEMPLATES = Path(__file__).resolve().parents[2] / "templates"
CSS = (TEMPLATES / "static" / "placet.css").read_text()
TOKENS = {
    name: values for name, *values in re.findall(r"--([\w-]+): light-dark\((#[0-9a-f]{6}), (#[0-9a-f]{6})\)", CSS)
}
TEXTS = ("text", "muted", "link", "allow", "deny", "hold", "info")


def contrast(one, other):
    """Return the ratio of WCAG 2.2 (1.4.3) of two colours."""
    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def luminance(colour):
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("theme", [0, 1], ids=["light", "dark"])
def test_every_text_colour_is_readable_on_every_ground(theme):
    for text in TEXTS:
        for ground in ("ground", "panel", "added", "removed"):
            ratio = contrast(TOKENS[text][theme], TOKENS[ground][theme])
            assert ratio >= 4.5, f"{text} on {ground}: {ratio:.2f}"
    assert contrast(TOKENS["on-accent"][theme], TOKENS["link"][theme]) >= 4.5
    assert contrast(TOKENS["control"][theme], TOKENS["ground"][theme]) >= 3


def test_rules_name_tokens_and_no_colours_of_their_own():
    rules = CSS.split("/* Ground */")[1]
    own = set(re.findall(r"#[0-9a-f]{3,8}\b", rules))
    grounds = (("#e9ecf1", "#242c37"), ("#e2e8f2", "#263246"), ("#fafbfc", "#161c24"))
    assert own <= {shade for shades in grounds for shade in shades}  # of the navigation, and of a changed line
    for shades in grounds:
        for theme, shade in enumerate(shades):
            assert contrast(TOKENS["text"][theme], shade) >= 4.5


def test_nothing_is_inline_and_nothing_comes_from_elsewhere():
    for path in TEMPLATES.rglob("*.html"):
        text = path.read_text()
        assert not re.search(r"\sstyle=|\son\w+=|<style|javascript:", text), path
        assert not re.search(r"<script(?![^>]*\ssrc=)", text), path
        assert not re.search(r"https?://", text), path
        # Only our own filters, which escape, may vouch for HTML.
        assert "|safe" not in text and "autoescape" not in text, path
    assert "url(" not in CSS and "@import" not in CSS
    script = (TEMPLATES / "static" / "placet.js").read_text()
    assert not re.search(r"innerHTML|outerHTML|eval\(|document\.write|new Function", script)


def test_what_others_wrote_is_byte_for_byte_what_they_published():
    for path in (TEMPLATES / "static" / "vendor").glob("*.js"):
        row = next(line for line in (path.parent / "README.md").read_text().splitlines() if path.name in line)
        assert hashlib.sha256(path.read_bytes()).hexdigest() in row, path


def test_htmx_may_neither_evaluate_text_nor_write_styles_nor_ask_other_hosts(visitor, alice, workspace):
    page = read(visitor(alice).get(f"/w/{workspace.slug}/"))
    given = next(attrs["content"] for tag, attrs in page.tags if tag == "meta" and attrs.get("name") == "htmx-config")
    asked = json.loads(given)
    assert [asked[name] for name in ("allowEval", "allowScriptTags", "includeIndicatorStyles")] == [False] * 3
    assert asked["selfRequestsOnly"] is True and asked["historyEnabled"] is False
    for path in TEMPLATES.rglob("*.html"):
        # What htmx would have to evaluate.
        assert not re.search(r"\shx-(on|vars)|hx-trigger=\S*\[|js:", path.read_text()), path


def test_the_style_sheet_and_the_script_are_served(visitor):
    for name, kind in (("placet.css", "text/css"), ("placet.js", "text/javascript"), ("favicon.svg", "image/svg+xml")):
        answer = visitor().get(f"/static/{name}")
        assert answer.status_code == 200 and answer.headers["Content-Type"].startswith(kind)
