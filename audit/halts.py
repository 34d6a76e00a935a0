"""What the publisher refuses to sign, kept where every process sees it.

A row stands while a log is refused and goes with the next checkpoint of it. It is a condition, not evidence: the
evidence is what the publisher compares, the tree and the checkpoint outside of the database.
"""

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from django.db import connections, transaction

from audit import crash

# The tree does not continue what was published: somebody set the database back, or changed it.
BROKEN = frozenset({"tree_shrunk", "history_rewritten", "head_wrong", "checkpoint_forged", "checkpoints_gone"})


class Halt(NamedTuple):
    """A log that is not signed. `code`: that of publisher.Refused."""

    workspace: UUID
    code: str
    detail: str
    since: datetime

    @property
    def broken(self) -> bool:
        """Whether the tree does not continue what was published."""
        return self.code in BROKEN


def standing(*, using: str = "default") -> list[Halt]:
    """Return every log that is refused now, the longest first."""
    with connections[using].cursor() as cursor:
        cursor.execute("SELECT workspace, code, detail, since FROM audit_halt ORDER BY since, workspace")
        return [Halt(*row) for row in cursor.fetchall()]


def of(workspace: UUID, *, using: str = "default") -> Halt | None:
    """Return why a log is not signed; None if it is, as far as is known."""
    with connections[using].cursor() as cursor:
        cursor.execute("SELECT workspace, code, detail, since FROM audit_halt WHERE workspace = %s", [workspace])
        row = cursor.fetchone()
    return Halt(*row) if row else None


def keep(refused: Mapping[UUID, tuple[str, str]], looked_at: Iterable[UUID], *, using: str = "default") -> None:
    """Note which of the logs that were looked at are refused (code, detail), and that the others are not any more."""
    known = {halt.workspace: (halt.code, halt.detail) for halt in standing(using=using)}
    gone = [log for log in looked_at if log in known and log not in refused]
    changed = {log: why for log, why in refused.items() if known.get(log) != why}
    if not gone and not changed:
        return
    with transaction.atomic(using=using), connections[using].cursor() as cursor:
        cursor.execute("DELETE FROM audit_halt WHERE workspace = ANY(%s)", [gone])
        for log, (code, detail) in changed.items():
            cursor.execute(
                "INSERT INTO audit_halt (workspace, code, detail) VALUES (%s, %s, %s) ON CONFLICT (workspace) "
                "DO UPDATE SET code = excluded.code, detail = excluded.detail",
                [log, code, detail],
            )
        crash.point("audit.halts.keeping")
    crash.point("audit.halts.kept")
