"""The tool that the benchmark calls: 2 kB of plain text at once, so that what is measured is ours."""

from collections.abc import Mapping

from audit.canonical import JSON
from benchmarks.mcp_server import COMMIT
from gateway.transport.python import register

ARGUMENTS: dict[str, JSON] = {
    "repository": "warehouse",
    "query": "segment rotation",
    "since": "2026-01-01",
    "count": 8,
    "note": "Looking for the change that made readers skip the last entries of a segment after a rotation.",
}
CONTRACT: dict[str, JSON] = {
    "description": "Return the last commits of a repository.",
    "input_schema": {
        "type": "object",
        "properties": {
            "repository": {"type": "string", "pattern": "^[a-z-]{1,40}$"},
            "query": {"type": "string", "maxLength": 200},
            "since": {"type": "string", "format": "date"},
            "count": {"type": "integer", "minimum": 1, "maximum": 100},
            "note": {"type": "string", "maxLength": 2000},
        },
        "required": ["repository", "count"],
        "additionalProperties": False,
    },
    "output_schema": {
        "type": "object",
        "properties": {"commits": {"type": "array", "items": {"type": "object"}}},
        "required": ["commits"],
    },
    "transport": {"kind": "python", "function": "commits"},
    "effect": "read",
    "risk": "low",
}


@register("commits")
def commits(arguments: Mapping[str, JSON], key: str) -> JSON:
    """Return `count` commits, 270 bytes each."""
    return {"commits": [COMMIT | {"number": number} for number in range(arguments["count"])]}
