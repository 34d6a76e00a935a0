"""A real browser on the real pages, and what it notices that a test client cannot: policy violations, other hosts."""

import contextlib
import os
import re
from dataclasses import dataclass, field
from pathlib import Path

from axe_playwright_python.sync_playwright import Axe

ROOT = Path(__file__).resolve().parents[2]
SHOTS = ROOT / "screenshots"
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--force-color-profile=srgb",
]
# WCAG 2.0 to 2.2, levels A and AA; of what is in order, nothing needs to be told.
RULES = {
    "runOnly": {"type": "tag", "values": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22a", "wcag22aa"]},
    "resultTypes": ["violations"],
}
SIZES = {"phone": (375, 800), "desk": (1440, 900)}
_WATCH = """
window.__violations = [];
document.addEventListener('securitypolicyviolation', e =>
    window.__violations.push(e.violatedDirective + ' ' + (e.blockedURI || e.sourceFile || 'inline')));
"""
_OVERFLOW = """() => {
  const most = document.documentElement.clientWidth;
  if (document.documentElement.scrollWidth <= most) return [];
  const wide = [...document.body.querySelectorAll('*')].filter(e => e.getBoundingClientRect().right > most + 1);
  return wide.slice(-3).map(e => e.tagName + '.' + e.className + ' ' + Math.round(e.getBoundingClientRect().right));
}"""


@dataclass
class Window:
    """A page in a browser, signed in as somebody.

    :ivar foreign: addresses of other hosts that it asked for. :ivar complaints: what the browser's console said.
    """

    page: object
    base: str
    foreign: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)

    def __post_init__(self):
        self.page.on("request", self._asked)
        self.page.on("console", self._said)
        self.page.on("pageerror", lambda error: self.complaints.append(f"script error: {error}"))
        self.page.add_init_script(_WATCH)

    def admit(self, cookie):
        """Sign in with a session's cookie, and forget what was noticed before."""
        self.page.context.clear_cookies()
        if cookie:
            self.page.context.add_cookies([{"name": "placet_session", "value": cookie, "url": self.base}])
        self.foreign.clear()
        self.complaints.clear()

    def go(self, path):
        """Open a page of ours and return the answer."""
        return self.page.goto(self.base + path, wait_until="load")

    def violations(self):
        """Return what broke the content security policy on the page that is open, and what the console said."""
        return [*self.page.evaluate("window.__violations"), *self.complaints]

    def barriers(self):
        """Return what axe-core finds on the page that is open: rule, and the first element that breaks it."""
        found = Axe().run(self.page, options=RULES).response["violations"]
        return [f"{one['id']}: {one['nodes'][0]['html'][:160]}" for one in found]

    def overflow(self):
        """Return what sticks out of the window sideways."""
        return self.page.evaluate(_OVERFLOW)

    def shoot(self, name):
        """Keep a screenshot for people, where `make screenshots` asks for it: screenshots/NAME.png, not in git."""
        if not os.environ.get("PLACET_SCREENSHOTS"):
            return
        SHOTS.mkdir(exist_ok=True)
        self.page.screenshot(path=SHOTS / f"{re.sub(r'[^a-z0-9-]+', '-', name.lower()).strip('-')}.png", full_page=True)

    def _asked(self, request):
        if not request.url.startswith((self.base + "/", "data:", "blob:")):
            self.foreign.append(request.url)

    def _said(self, message):
        # A page that answers 403 or 404 on purpose is told by its status; the browser repeats it as an error.
        if message.type == "error" and "Failed to load resource" not in message.text:
            self.complaints.append(message.text)


@contextlib.contextmanager
def opened(browser, base, *, cookie=None, size="desk", theme="light", script=True):
    """Yield a window of that size and colour scheme, with somebody's session."""
    width, height = SIZES[size]
    context = browser.new_context(
        viewport={"width": width, "height": height},
        color_scheme=theme,
        reduced_motion="reduce",
        java_script_enabled=script,
    )
    try:
        made = Window(context.new_page(), base)
        made.admit(cookie)
        yield made
    finally:
        context.close()
