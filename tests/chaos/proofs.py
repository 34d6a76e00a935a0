"""I3, I4 and I10: what was acknowledged is in the tree, checkpoints continue one another, and an export verifies."""

import random
import subprocess
import sys
import tempfile
from collections import Counter, defaultdict
from pathlib import Path
from uuid import UUID

from tests.chaos import merkle
from tests.chaos.evidence import Asked, Case, Report

ROOT = Path(__file__).resolve().parents[2]
RECEIPTS = 40  # handed to verify.py, whose Ed25519 takes its time; every receipt is checked against the tree
_LEAVES = """
SELECT l.index, l.record, l.leaf_hash, r.body, r.leaf_hash AS kept, r.workspace = l.workspace AS own
FROM audit_leaf l LEFT JOIN audit_record r ON r.id = l.record WHERE l.workspace = %s ORDER BY l.index
"""
_ABSENT = """
SELECT r.id, p.record IS NOT NULL AS pending FROM audit_record r
LEFT JOIN audit_leaf l ON l.record = r.id AND l.workspace = r.workspace
LEFT JOIN audit_pending p ON p.record = r.id AND p.workspace = r.workspace
WHERE r.workspace = %s AND l.record IS NULL
"""


def acknowledged_is_in_the_tree(case: Case, report: Report) -> None:
    """I3: every acknowledged record is in the tree after the drain, once, and the indices are dense."""
    rows = case.rows(_LEAVES, case.workspace)
    report.saw("I3", len(rows))
    for number, row in enumerate(rows):
        if row.index != number:
            report.broke("I3", f"leaf {number} is missing: the next one is {row.index}")
            break
        if row.body is None or not row.own or merkle.leaf(row.body) != row.leaf_hash or row.kept != row.leaf_hash:
            report.broke("I3", f"record {row.record} is not what leaf {row.index} was made of")
    for record, count in Counter(row.record for row in rows).items():
        if count > 1:
            report.broke("I3", f"record {record} is in the tree {count} times")
    for row in case.rows(_ABSENT, case.workspace):
        if case.drained or not row.pending:
            report.broke("I3", f"record {row.id} is {'still pending' if row.pending else 'lost: not even pending'}")
    at = {str(row.record): bytes(row.leaf_hash) for row in rows}
    pending = {str(row.id) for row in case.rows(_ABSENT, case.workspace) if row.pending and not case.drained}
    for asked in case.asked:
        _promises(asked, case, at, pending, report)
        _one_end(asked, report)
    (head,) = case.rows("SELECT size, root FROM audit_head WHERE workspace = %s", case.workspace) or [None]
    leaves = [bytes(row.leaf_hash) for row in rows]
    if head is None or (head.size, bytes(head.root)) != (len(leaves), merkle.roots(leaves, [len(leaves)])[len(leaves)]):
        report.broke("I3", f"the head is not that of the {len(leaves)} leaves")


def checkpoints_continue(case: Case, report: Report) -> None:
    """I4: every checkpoint that was ever published is consistent with all the others, which are all of one tree."""
    stored = case.rows("SELECT size, root, note FROM audit_checkpoint WHERE workspace = %s ORDER BY id", case.workspace)
    notes = {"database": [row.note for row in stored], **case.notes}
    known: dict[str, merkle.Note] = {}
    for source, seen in notes.items():
        newest = 0
        for text in seen:
            report.saw("I4")
            if text not in known:
                try:
                    known[text] = merkle.note(text, case.log_keys)
                except merkle.Wrong as wrong:
                    report.broke("I4", str(wrong))
                    continue
            if known[text].size < newest:
                report.broke("I4", f"{source} showed {known[text].size} records after {newest}")
            newest = known[text].size
    leaves = [bytes(row.leaf_hash) for row in case.rows(_LEAVES, case.workspace)]
    roots = merkle.roots(leaves, {one.size for one in known.values()})
    for row in stored:
        if row.note in known and (row.size, bytes(row.root)) != (known[row.note].size, known[row.note].root):
            report.broke("I4", f"the columns of the checkpoint of {row.size} records are not those of its note")
    for one in known.values():
        if one.size > len(leaves):
            report.broke("I4", f"a checkpoint of {one.size} records was published, the tree has {len(leaves)}")
        elif roots[one.size] != one.root:
            report.broke("I4", f"the checkpoint of {one.size} records is not of these leaves")
    if len({one.origin for one in known.values()}) > 1:
        report.broke("I4", "there are checkpoints of several logs")


def export_verifies(case: Case, report: Report, *, seed: int = 0) -> None:
    """I10: a process of its own verifies the export against what was kept outside; and no changed one passes."""
    if case.export is None:
        return
    with tempfile.TemporaryDirectory() as place:
        verify, held = _verifier(case, Path(place), seed)
        report.saw("I10")
        done = verify(case.export)
        if done.returncode != 0 or "VERIFIED" not in done.stdout:
            report.broke("I10", f"the export does not verify with {held}: {done.stdout[-400:]}{done.stderr[-400:]}")
        changed = Path(place) / "changed.ndjson"
        for name, content in changes(case.export.read_bytes(), random.Random(seed)).items():
            report.saw("I10")
            changed.write_bytes(content)
            if verify(changed).returncode == 0:
                report.broke("I10", f"an export with {name} verifies")


def changes(export: bytes, chance: random.Random) -> dict[str, bytes]:
    """Return ways in which somebody might alter an export that has at least four records."""
    header, *lines = export.splitlines(keepends=True)
    one, other = sorted(chance.sample(range(len(lines)), 2))
    flipped = bytearray(lines[one])
    at = chance.randrange(len(flipped) - 1)
    flipped[at] ^= 1 << chance.randrange(7)
    swapped = [*lines]
    swapped[one], swapped[other] = swapped[other], swapped[one]
    return {
        f"bit {at} of record {one} turned": b"".join([header, *lines[:one], flipped, *lines[one + 1 :]]),
        f"record {one} gone": b"".join([header, *lines[:one], *lines[one + 1 :]]),
        f"record {one} twice": b"".join([header, *lines[: one + 1], *lines[one:]]),
        f"records {one} and {other} changed over": b"".join([header, *swapped]),
        "the last record cut off": b"".join([header, *lines[:-1]]),
    }


def _promises(asked: Asked, case: Case, at: dict[str, bytes], pending: set[str], report: Report) -> None:
    """What a receipt promises is a leaf, of the very hash."""
    for text in {text for answer in asked.answers for text in answer.body.get("receipts", ())}:
        report.saw("I3")
        try:
            promised = merkle.receipt(text, case.receipt_keys)
        except merkle.Wrong as wrong:
            report.broke("I3", f"{asked.key} was answered with a receipt that is none: {wrong}")
            continue
        if promised["id"] in pending:
            continue
        if UUID(promised["workspace"]) != case.workspace or at.get(promised["id"], b"").hex() != promised["leaf"]:
            report.broke("I3", f"record {promised['id']} was acknowledged to {asked.key} and is not in the tree")


def _one_end(asked: Asked, report: Report) -> None:
    """What was told to be finished stays so, with the same result, whoever asks again under the key."""
    finished = [answer for answer in asked.answers if answer.status == 200 and answer.body.get("status") == "finished"]
    if not finished:
        return
    report.saw("I3")
    if any(answer.body["result"] != finished[0].body["result"] for answer in finished):
        report.broke("I3", f"{asked.key} was answered with several results")
    after = [answer for answer in asked.answers if answer.at > finished[0].at and answer not in finished]
    # A busy or broken gateway may not answer; it may not say that something else became of the call.
    if told := {one.body.get("outcome") for one in after} & {"denied", "failed", "unknown"}:
        report.broke("I3", f"{asked.key} was finished, and later {told}")


def _verifier(case: Case, place: Path, seed: int) -> tuple[object, str]:
    """Return a function that runs a copy of verify.py on a file, and what it is given besides."""
    copy = place / "verify.py"
    copy.write_bytes((ROOT / "audit" / "verify.py").read_bytes())
    (place / "keys").write_text("\n".join([*case.log_keys, *case.receipt_keys]) + "\n")
    by_size = defaultdict(set)
    for text in {text for seen in case.notes.values() for text in seen}:
        by_size[int(text.split("\n")[1])].add(text)
    arguments = ["--key", str(place / "keys")]
    sizes = sorted(by_size)
    # All would make a long command line; the first, the last and some between do.
    chance = random.Random(seed)
    for size in {*sizes[:1], *sizes[-1:], *chance.sample(sizes, min(20, len(sizes)))}:
        for number, text in enumerate(by_size[size]):
            held = place / f"checkpoint-{size}-{number}"
            held.write_text(text)
            arguments += ["--checkpoint", str(held)]
    given = sorted({text for asked in case.asked for one in asked.answers for text in one.body.get("receipts", ())})
    for text in chance.sample(given, min(RECEIPTS, len(given))):
        arguments += ["--receipt", text]

    def verify(export: Path) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-I", "-S", str(copy), str(export), *arguments]
        return subprocess.run(command, cwd=place, capture_output=True, text=True, check=False, env={})

    return verify, f"{len(sizes)} checkpoints and {min(RECEIPTS, len(given))} receipts"
