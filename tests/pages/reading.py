"""Reads an answered page as a person would: its words, its forms."""

import re
from html.parser import HTMLParser

VOID = {"area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "source", "track", "wbr", "path"}
VOID |= {"rect", "circle"}
FRAME = ("/theme/", "/logout/", "/environment/", "/search/")


class _Reader(HTMLParser):
    def __init__(self):
        super().__init__()
        self.tags, self.words, self.open = [], [], []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        if tag in self.open:
            while self.open.pop() != tag:
                pass

    def handle_data(self, data):
        if not {"script", "style"} & set(self.open):
            self.words.append(data)


def read(response):
    reader = _Reader()
    reader.feed(response.content.decode())
    return reader


def words(response):
    """Return the text of a page, white space folded."""
    return re.sub(r"\s+", " ", " ".join(read(response).words))


def actions(response):
    """Return where the forms of a page lead, but for those of its frame."""
    forms = [attrs.get("action", "") for tag, attrs in read(response).tags if tag == "form"]
    return [action for action in forms if action and not action.endswith(FRAME)]


def hidden(response, name):
    """Return the value of the first hidden field of that name."""
    fields = (attrs for tag, attrs in read(response).tags if tag == "input")
    return next(field["value"] for field in fields if field.get("name") == name)
