"""The tool that the benchmark calls: 2 kB of plain text at once, so that what is measured is ours."""

from collections.abc import Mapping

from audit.canonical import JSON
from gateway.transport.python import register

_COMMIT = {
    "author": "Ada Example",
    "date": "2026-03-02T10:15:00Z",
    "subject": "Keep the index and the journal in step when a segment is rotated",
    "body": "The journal was rotated before the index was flushed, so a reader could miss the end of a segment.",
}
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
    return {"commits": [_COMMIT | {"number": number} for number in range(arguments["count"])]}
