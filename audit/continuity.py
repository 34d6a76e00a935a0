"""Does a log continue what somebody holds? Checkpoints and receipts kept outside, against the database as it is.

A database that was set back agrees with itself. Only what was kept elsewhere shows what it lacks: the publisher's copy
of its last checkpoint, an auditor's checkpoint, an agent's receipt.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from uuid import UUID

from django.db import connections, transaction

from audit import keys, losses, publisher, tiles, tree, verify


@dataclass
class Finding:
    """What evidence says about one log. `size`: records in its tree; `published`, `note`: the largest checkpoint held.

    `continued`: checkpoints that the log continues. `missing`: receipts, by record, of what is not there.
    """

    workspace: UUID
    size: int
    published: int = 0
    note: str = ""
    continued: int = 0
    receipts: int = 0
    missing: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    rewritten: bool = False

    @property
    def lost(self) -> bool:
        """Whether something that was published or promised is not there, or is another thing now."""
        return self.rewritten or bool(self.missing) or self.published > self.size

    @property
    def proven(self) -> bool:
        """Whether anything from outside speaks for the log, and nothing against it."""
        return not self.lost and not self.problems and bool(self.continued or self.receipts)


def examine(
    notes: Iterable[str] = (), receipts: Iterable[str] = (), *, copies: bool = True, using: str = "default"
) -> list[Finding]:
    """Compare every log with the checkpoints and receipts given, and with the publisher's copies, in one snapshot.

    :param copies: whether the publisher's copies count as kept outside.
    :raises verify.NotVerified: a checkpoint or receipt is by none of our keys.
    """
    held = [(log_of(note), note) for note in notes]
    if copies:
        held += [(log, path.read_text(encoding="utf-8")) for log, path in publisher.copies().items()]
    pinned = [verify.read_key(line) for line in keys.public("receipt")]
    promised = [verify.open_receipt(receipt, pinned) for receipt in receipts]
    with transaction.atomic(using=using, durable=True), connections[using].cursor() as cursor:
        cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        cursor.execute("SELECT workspace, size FROM audit_head")
        found = {workspace: Finding(workspace, size) for workspace, size in cursor.fetchall()}
        for log, note in held:
            _compare(found.setdefault(log, Finding(log, 0)), note, using)
        for receipt in promised:
            finding = found.setdefault(UUID(receipt.workspace), Finding(UUID(receipt.workspace), 0))
            cursor.execute("SELECT leaf_hash FROM audit_record WHERE id = %s", [receipt.id])
            row = cursor.fetchone()
            finding.receipts += 1
            if row is None or bytes(row[0]) != receipt.leaf:
                finding.missing.append(receipt.id)
    return sorted(found.values(), key=lambda one: one.workspace)


def log_of(note: str) -> UUID:
    """Return which workspace's log a checkpoint is of. :raises verify.NotVerified: none of ours."""
    origin = note.partition("\n")[0]
    try:
        return UUID(origin.rpartition("/log/")[2])
    except ValueError as error:
        raise verify.NotVerified(f"{origin[:80]!r} is not the origin of one of our logs.") from error


def _compare(finding: Finding, note: str, using: str) -> None:
    if note in losses.acknowledged(finding.workspace, using=using):
        return
    old = verify.open_checkpoint(note, publisher.pinned(finding.workspace))
    if old.size >= finding.published:
        finding.published, finding.note = old.size, note
    if old.size > finding.size:
        finding.problems.append(
            f"{old.size} records were published, the database has {finding.size}: {old.size - finding.size} are missing"
        )
        return
    try:
        read = tiles.reader(finding.workspace, using=using)
        root, proof = _root(read, finding.size), tree.consistency(read, old.size, finding.size)
    except LookupError as error:
        finding.problems.append(f"its tiles are not whole: {error}")
        return
    if verify.consistent(old.size, old.root, finding.size, root, proof):
        finding.continued += 1
        return
    finding.rewritten = True
    finding.problems.append(f"it does not continue the checkpoint of {old.size} records: they are others now")


def _root(read: tree.Read, size: int) -> bytes:
    return tree.root(read, size) if size else tree.EMPTY


def refused(findings: Sequence[Finding]) -> list[Finding]:
    """Return the logs that lack something, or cannot be read."""
    return [one for one in findings if one.lost or one.problems]
