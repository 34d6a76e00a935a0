"""The policies that ship with Placet, read from `policies/`: the floor and the starters."""

import json
from functools import cache
from pathlib import Path
from typing import Any

from registry import digest

DIRECTORY = Path(__file__).resolve().parent.parent / "policies"
SCHEMAS = DIRECTORY / "schemas"


@cache
def _read(name: str) -> str:
    folder = DIRECTORY / name
    modules: dict[str, str] = {}
    tests: dict[str, str] = {}
    for path in sorted(folder.glob("*.rego")):
        (tests if path.stem.endswith("_test") else modules)[path.name] = path.read_text(encoding="utf-8")
    if not modules:
        raise LookupError(f"No policy {name!r} ships with Placet; see {DIRECTORY}.")
    data = folder / "data.json"
    content = {
        "modules": modules,
        "data": json.loads(data.read_text(encoding="utf-8")) if data.exists() else {},
        "tests": tests,
        "requires": "portable",
    }
    return json.dumps(content)


def shipped(name: str) -> dict[str, Any]:
    """Return the content of the shipped policy `name`: floor, baseline or release. A new copy each time."""
    content: dict[str, Any] = json.loads(_read(name))
    return content


def floor_digest() -> str:
    """Return the digest of the installation's floor: a version without a row, known by its digest alone."""
    return str(digest.of("policy", "floor", shipped("floor")))
