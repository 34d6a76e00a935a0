"""An export verifies offline with nothing but a copy of verify.py, the pinned key, and what the auditor kept."""

import json
import sys
from uuid import uuid4

import pytest
from django.core.management import CommandError, call_command

from audit import canonical, export, keys, log, receipts, records, sealed, verify
from audit.refusal import Refusal
from tests.audit import trails


class Auditor:
    """A directory without the project: verify.py, the keys pinned earlier, what was kept, and an export."""

    def __init__(self, directory, workspace):
        self.directory = directory
        self.keys = self.keep("keys.txt", f"{trails.key_of(workspace)}\n{keys.receipt().public}\n")

    def keep(self, name, content):
        path = self.directory / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return str(path)

    def verify(self, content, *arguments):
        done = trails.run_verifier(self.directory, self.keep("export.ndjson", content), *arguments)
        assert "Traceback" not in done.stderr
        return done.returncode, done.stdout + done.stderr


@pytest.fixture
def workspace(db):
    """A log that went on after the auditor's last visit."""
    return trails.published(5)


def test_with_the_key_and_an_earlier_checkpoint_an_export_verifies(workspace, tmp_path):
    auditor = Auditor(tmp_path, workspace)
    old = auditor.keep("old.note", trails.publish(workspace))
    trails.published(7, workspace)
    code, text = auditor.verify(trails.exported(workspace), "--key", auditor.keys, "--checkpoint", old)
    assert code == 0, text
    assert "continues the checkpoint of 5 records" in text
    assert "completeness proven up to record 4" in text
    assert "From record 5 on" in text


def test_a_key_may_be_given_as_text(workspace, tmp_path):
    auditor = Auditor(tmp_path, workspace)
    old = auditor.keep("old.note", trails.publish(workspace))
    code, _ = auditor.verify(trails.exported(workspace), "--key", trails.key_of(workspace), "--checkpoint", old)
    assert code == 0


def test_without_anything_kept_outside_completeness_is_not_proven(workspace, tmp_path):
    auditor = Auditor(tmp_path, workspace)
    code, text = auditor.verify(trails.exported(workspace), "--key", auditor.keys)
    assert code == 3
    assert "completeness not proven" in text
    assert "VERIFIED" not in text


def test_a_cut_tail_passes_alone_but_not_beside_what_the_auditor_kept(workspace, tmp_path):
    """Old checkpoints stay valid for ever: only something held outside shows that there was more."""
    auditor = Auditor(tmp_path, workspace)
    cut = trails.exported(workspace)
    entry = trails.append(workspace, {"inconvenient": True})
    old = auditor.keep("old.note", trails.publish(workspace))
    assert auditor.verify(cut, "--key", auditor.keys)[0] == 3
    code, text = auditor.verify(cut, "--key", auditor.keys, "--checkpoint", old)
    assert (code, "the tail was cut" in text) == (1, True)
    code, text = auditor.verify(cut, "--key", auditor.keys, "--receipt", receipts.issue(entry))
    assert (code, "no such record" in text) == (1, True)
    code, text = auditor.verify(trails.exported(workspace), "--key", auditor.keys, "--receipt", receipts.issue(entry))
    assert (code, "The record of your receipt is there" in text) == (0, True)


def test_an_export_that_begins_where_the_last_one_ended_verifies_against_its_checkpoint(workspace, tmp_path):
    auditor = Auditor(tmp_path, workspace)
    old = auditor.keep("old.note", trails.publish(workspace))
    trails.published(600, workspace)
    rest = trails.exported(workspace, first=5)
    assert rest.count(b"\n") == 601
    code, text = auditor.verify(rest, "--key", auditor.keys, "--checkpoint", old)
    assert code == 0, text
    assert "records 5 to 604" in text
    assert auditor.verify(rest, "--key", auditor.keys)[0] == 3
    # A receipt for what came before the export: said, and never passed over as if it were in it.
    missing = receipts.reissue(records.newest(workspace, limit=605)[-1].id)
    code, text = auditor.verify(rest, "--key", auditor.keys, "--checkpoint", old, "--receipt", missing)
    assert (code, "is NOT among these" in text) == (3, True)
    later = auditor.keep("later.note", trails.publish(workspace))
    code, text = auditor.verify(rest, "--key", auditor.keys, "--checkpoint", later)
    assert (code, "what came before is not in it" in text) == (3, True)


def test_an_excerpt_proves_each_record_and_never_claims_to_be_all(workspace, tmp_path):
    auditor = Auditor(tmp_path, workspace)
    old_note = trails.publish(workspace)
    old = auditor.keep("old.note", old_note)
    picked = [trails.append(workspace, {"n": at}, correlation_id="call-7") for at in range(3)]
    trails.published(4, workspace)
    content = trails.exported(workspace, selection=export.Selection(correlation_id="call-7"), since=[5])
    bodies = content.split(b"\n")[2:-2:2]
    assert bodies == [entry.body for entry in picked]
    code, text = auditor.verify(content, "--key", auditor.keys, "--checkpoint", old)
    assert code == 3, text
    assert "continues the checkpoint of 5 records" in text
    assert "never that nothing was left out" in text
    code, text = auditor.verify(content, "--key", auditor.keys, "--receipt", receipts.issue(picked[1]))
    assert (code, "The record of your receipt is there" in text) == (3, True)
    elsewhere = receipts.issue(trails.append(workspace))
    code, text = auditor.verify(content, "--key", auditor.keys, "--receipt", elsewhere)
    assert (code, "is NOT among these" in text) == (3, True)
    # Without the proof that leads from the auditor's checkpoint, nothing is claimed about it.
    unproven = trails.exported(workspace, selection=export.Selection(correlation_id="call-7"))
    assert auditor.verify(unproven, "--key", auditor.keys, "--checkpoint", old)[0] == 1


def test_an_excerpt_can_be_narrowed_by_event_actor_and_record(workspace):
    one = trails.append(workspace, actor="person:alice")
    trails.publish(workspace)
    for selection, count in (
        (export.Selection(event=trails.EVENT), 6),
        (export.Selection(event="audit."), 6),
        (export.Selection(event="gateway."), 0),
        (export.Selection(actor="person:alice"), 1),
        (export.Selection(records=[one.id]), 1),
        (export.Selection(records=[one.id], actor=trails.ACTOR), 0),
    ):
        content = trails.exported(workspace, selection=selection)
        report = verify.verify_export(trails.file(content), trails.evidence(workspace))
        assert (report.records, report.complete) == (count, False)


def test_values_handed_over_are_checked_against_their_commitments(workspace, tmp_path):
    auditor = Auditor(tmp_path, workspace)
    entry = trails.append(workspace, {"to": log.Sealed("bob@example.com", "person:bob"), "deep": [log.Sealed(7, "x")]})
    trails.publish(workspace)
    content = trails.exported(workspace)
    lines = [sealed.disclose(entry.id, path) + b"\n" for path in ("/data/to", "/data/deep/0")]
    values = auditor.keep("values.ndjson", b"".join(lines))
    code, text = auditor.verify(content, "--key", auditor.keys, "--values", values)
    assert (code, "is the one that was recorded" in text) == (3, True)
    forged = auditor.keep("values.ndjson", lines[0].replace(b"bob@", b"eve@"))
    code, text = auditor.verify(content, "--key", auditor.keys, "--values", forged)
    assert (code, "not the one that was recorded" in text) == (1, True)
    moved = auditor.keep("values.ndjson", lines[0].replace(b"/data/to", b"/data/deep/0"))
    assert auditor.verify(content, "--key", auditor.keys, "--values", moved)[0] == 1


def test_what_cannot_be_used_is_told_apart_from_what_does_not_verify(workspace, tmp_path):
    auditor = Auditor(tmp_path, workspace)
    content = trails.exported(workspace)
    stranger = trails.another_key(keys.log_name(workspace))
    for arguments in (
        ["--key", "nonsense"],
        ["--key", auditor.keys, "--checkpoint", "missing.note"],
        ["--key", auditor.keys, "--checkpoint", auditor.keep("bad.note", trails.note(stranger, 5, bytes(32)))],
        ["--key", auditor.keys, "--receipt", "placet-receipt-1.x.y.z"],
        ["--key", auditor.keys, "--values", "missing.ndjson"],
        ["--nonsense"],
        [],
    ):
        code, text = auditor.verify(content, *arguments)
        assert code == 2, text
    done = trails.run_verifier(tmp_path, tmp_path / "missing.ndjson", "--key", auditor.keys)
    assert done.returncode == 2
    for garbage in (
        b"",
        b"\n",
        b"{}\n",
        b"\xff\xfe\n",
        b"[1]\n",
        b'{"format":"placet.export/1"}\n',
        b"{" * 5000 + b"\n",
    ):
        code, text = auditor.verify(garbage, "--key", auditor.keys)
        assert (code, "NOT VERIFIED" in text) == (1, True), garbage


def test_an_export_without_a_checkpoint_is_refused_and_begins_nothing(db):
    workspace = uuid4()
    trails.write(workspace, 2)
    with pytest.raises(Refusal) as refused:
        export.stream(workspace)
    assert (refused.value.code, refused.value.status) == ("no_checkpoint", 409)


def test_an_export_of_an_earlier_checkpoint_is_the_same_for_ever(workspace):
    before = trails.exported(workspace)
    trails.published(300, workspace)
    assert trails.exported(workspace, size=5) == before


def test_exports_are_streamed_in_bounded_pieces(workspace):
    """Memory is that of one slice: no piece holds more, however large the log."""
    trails.published(2 * export.SLICE, workspace)
    pieces = list(export.stream(workspace))
    assert len(pieces) == 4
    assert max(piece.count(b"\n") for piece in pieces) == export.SLICE
    picked = list(export.stream(workspace, selection=export.Selection(event=trails.EVENT)))
    assert max(piece.count(b"\n") for piece in picked) == 2 * export.SLICE


def test_the_command_writes_a_whole_file_or_none(workspace, tmp_path):
    target = tmp_path / "trail.ndjson"
    done = trails.manage("export_trail", str(workspace), "--output", str(target), process="web")
    output, _ = done.communicate(timeout=60)
    assert done.returncode == 0, output
    assert target.read_bytes() == trails.exported(workspace)
    with pytest.raises(CommandError, match="no checkpoint"):
        call_command("export_trail", str(uuid4()), "--output", str(tmp_path / "no.ndjson"))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["trail.ndjson"]


def test_a_record_line_is_the_body_that_was_hashed(workspace):
    lines = trails.exported(workspace).split(b"\n")
    header = json.loads(lines[0])
    assert (header["format"], header["kind"], header["first"], header["frontier"]) == ("placet.export/1", "log", 0, [])
    assert header["workspace"] == str(workspace)
    bodies = [json.loads(line) for line in lines[1:-1]]
    assert [body["data"]["n"] for body in bodies] == [0, 1, 2, 3, 4]


@pytest.mark.parametrize(
    ("name", "spoil", "why"),
    [
        ("two records in one", lambda body: body + b"{}", "more than a record"),
        ("white space after it", lambda body: body + b" ", "more than a record"),
        ("another encoding", lambda body: body.decode().encode("utf-16"), "is not a record"),
        ("no UTF-8", lambda body: body[:-1] + b"\xff}", "is not a record"),
        ("a list", lambda body: b"[" + body + b"]", "is not a record"),
    ],
)
def test_a_line_that_is_not_exactly_one_record_is_refused_even_under_the_right_signature(workspace, name, spoil, why):
    """The log itself lies: its key signed what is in the tree, and that is no record."""
    line = spoil(trails.append(workspace).body)
    tree = verify.Tree()
    tree.append(verify.leaf(line))
    header = {"format": verify.EXPORT, "kind": "log", "workspace": str(workspace), "first": 0, "frontier": []}
    header["checkpoint"] = trails.note(keys.checkpoint(workspace), 1, tree.root())
    with pytest.raises(verify.NotVerified, match=why):
        verify.verify_export(trails.file(canonical.dumps(header) + b"\n" + line + b"\n"), trails.evidence(workspace))


def test_the_verifier_needs_nothing_but_the_standard_library():
    source = (trails.ROOT / "audit" / "verify.py").read_text()
    imported = {line.split()[1].split(".")[0] for line in source.splitlines() if line.startswith(("import ", "from "))}
    assert imported <= sys.stdlib_module_names
