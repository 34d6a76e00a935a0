"""Every named crash point of the product, read from its source: a new one is covered without a word here."""

import ast
from collections import Counter

from tests.embedded import ROOT

APPS = ("audit", "registry", "gateway", "agents", "operations", "config")


def sites():
    """Return (name, "file:line") of each call of crash.point. A name that is no literal fails the reader."""
    found = []
    for app in APPS:
        for path in sorted((ROOT / app).rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.Call) and _is_point(node.func):
                    where = f"{path.relative_to(ROOT)}:{node.lineno}"
                    assert isinstance(node.args[0], ast.Constant), f"{where}: a crash point is named by a literal"
                    found.append((node.args[0].value, where))
    return found


def names():
    """Return the names, sorted."""
    return sorted(name for name, _ in sites())


def doubled():
    """Return the names that stand in more than one place: only one of them would be proven."""
    return sorted(name for name, count in Counter(names()).items() if count > 1)


def _is_point(function):
    return (
        isinstance(function, ast.Attribute)
        and function.attr == "point"
        and isinstance(function.value, ast.Name)
        and function.value.id == "crash"
    )
