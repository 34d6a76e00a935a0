"""Reads tiles from the database."""

from uuid import UUID

from django.db import connections

from audit import tree

_MOST_CACHED = 256  # 2 MB


def reader(workspace: UUID, *, using: str = "default") -> tree.Read:
    """Return a function that reads tiles of the workspace's log, mostly once; a tile that is not there is empty.

    A tile only ever grows at its end, so what was read stays right for every size up to the one read at.
    """
    seen: dict[tuple[int, int], bytes] = {}

    def read(level: int, n: int) -> bytes:
        if (level, n) not in seen:
            if len(seen) >= _MOST_CACHED:
                seen.clear()
            with connections[using].cursor() as cursor:
                cursor.execute(
                    "SELECT hashes FROM audit_tile WHERE workspace = %s AND level = %s AND n = %s",
                    [workspace, level, n],
                )
                row = cursor.fetchone()
            seen[level, n] = bytes(row[0]) if row else b""
        return seen[level, n]

    return read
