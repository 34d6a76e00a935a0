"""Every page in a real browser, light and dark, on a phone and on a desk: readable, reachable, and by itself."""

import os

import pytest

from tests.matrix import ROWS

pytest_plugins = ["tests.shared"]

# Each size and each colour scheme; `make screenshots` looks at the other two combinations, too.
AXE = [("desk", "light"), ("phone", "dark")]
LOOKS = [*AXE, ("desk", "dark"), ("phone", "light")] if os.environ.get("PLACET_SCREENSHOTS") else AXE
LARGEST = 100_000  # bytes of HTML


def _shown(row):
    """Say whether a row of the matrix is a page that people look at."""
    if not row.page or row.method != "GET" or row.event:
        return False
    return row.route not in ("livez", "readyz", "metrics") and not row.route.startswith(("admin", "opa/", ".well"))


PAGES = [row for row in ROWS if _shown(row)]


def visitor(row):
    """Return who looks: the person with the most to see; nobody where a page is for who is signed out."""
    return next((role for role in ("adam", "olga", "bob", "alice") if role in row.allowed), None)


@pytest.mark.parametrize("row", PAGES, ids=str)
def test_a_page_is_readable_reachable_and_asks_nobody_else(row, world, look_as):
    path = row.path(world.ask(row))
    for size, theme in LOOKS:
        seen = look_as(visitor(row), size, theme)
        answer = seen.go(path)
        assert answer.status < 400, f"{path}: {answer.status}"
        seen.shoot(f"{row.route or 'start'}-{size}-{theme}")
        assert seen.overflow() == [], f"{path} at {size}"
        if (size, theme) in AXE:
            assert seen.barriers() == [], f"{path} at {size}, {theme}"
        assert seen.violations() == []
        assert seen.foreign == []
    assert len(answer.body()) < LARGEST
