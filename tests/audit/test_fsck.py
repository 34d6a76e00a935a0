"""The monitor finds every way in which rows and tree can part, and nothing where they agree."""

import io
from uuid import uuid4

import pytest
from django.core.management import CommandError, call_command

from audit import fsck, sequencer
from tests.audit import trails

LEAF = "(SELECT record FROM audit_leaf WHERE workspace = %s AND index = 3)"
DAMAGE = {
    "a record was changed": (
        "audit_record",
        f"UPDATE audit_record SET body = body || ' '::bytea, leaf_hash = sha256('\\x00'::bytea || body || ' '::bytea) "
        f"WHERE id = {LEAF}",
        "is not what leaf 3 was made of",
    ),
    "a record was removed": ("audit_record", f"DELETE FROM audit_record WHERE id = {LEAF}", "leaf 3 has no record"),
    "a column was changed": (
        "audit_record",
        f"UPDATE audit_record SET actor = 'person:mallory' WHERE id = {LEAF}",
        "the columns of record",
    ),
    "a leaf was removed": (
        "audit_leaf",
        "DELETE FROM audit_leaf WHERE workspace = %s AND index = 3",
        "leaf 3 is missing",
    ),
    "the last leaf was removed": (
        "audit_leaf",
        "DELETE FROM audit_leaf WHERE workspace = %s AND index = 299",
        "is neither in the tree nor pending",
    ),
    "a leaf was changed": (
        "audit_leaf",
        "UPDATE audit_leaf SET leaf_hash = sha256('x') WHERE workspace = %s AND index = 3",
        "is not what leaf 3 was made of",
    ),
    "a tile was changed": (
        "audit_tile",
        "UPDATE audit_tile SET hashes = sha256('x') WHERE workspace = %s AND level = 1",
        "tile 1/0 is wrong",
    ),
    "a tile was removed": (
        "audit_tile",
        "DELETE FROM audit_tile WHERE workspace = %s AND level = 0 AND n = 1",
        "tile 0/1 is missing",
    ),
    "a tile was added": (
        "audit_tile",
        "INSERT INTO audit_tile SELECT workspace, 5, 0, hashes FROM audit_tile WHERE workspace = %s AND level = 1",
        "tiles",
    ),
    "the head was changed": (
        "audit_head",
        "UPDATE audit_head SET size = size - 1 WHERE workspace = %s",
        "the head of 299 records",
    ),
    "a checkpoint was changed": (
        "audit_checkpoint",
        "UPDATE audit_checkpoint SET root = sha256('x') WHERE workspace = %s",
        "the columns of the checkpoint",
    ),
    "pending holds what is in the tree": (
        "audit_pending",
        "INSERT INTO audit_pending SELECT workspace, record, leaf_hash FROM audit_leaf "
        "WHERE workspace = %s AND index = 3",
        "is in the tree already",
    ),
    "pending was emptied by hand": (
        "audit_pending",
        "DELETE FROM audit_pending WHERE workspace = %s",
        "it was lost",
    ),
}


@pytest.fixture
def whole(doomed):
    """A log with 300 records in the tree and one that waits."""
    trails.published(300, doomed)
    trails.write(doomed, 1)
    report = fsck.check(doomed)
    assert report.problems == []
    assert (report.records, report.leaves, report.pending, report.checkpoints) == (301, 300, 1, 1)
    return doomed


@pytest.mark.parametrize("name", DAMAGE)
def test_damage_is_found(whole, name):
    table, statement, problem = DAMAGE[name]
    trails.tamper(table, statement, whole)
    assert any(problem in found for found in fsck.check(whole).problems), fsck.check(whole).problems


def test_an_empty_workspace_is_whole(db):
    report = fsck.check(uuid4())
    assert (report.problems, report.records) == ([], 0)


def test_writing_and_sequencing_meanwhile_is_no_problem(db):
    """Everything is read in one snapshot."""
    workspace = trails.published(20)
    for _ in range(5):
        trails.write(workspace, 3)
        assert fsck.check(workspace).problems == []
        sequencer.drain(workspace, using="sequencer")
        assert fsck.check(workspace).problems == []


def test_the_command_fails_where_anything_is_wrong(whole):
    said = io.StringIO()
    call_command("fsck", str(whole), stdout=said)
    assert "whole: 301 records, 300 in the tree, 1 pending, 1 checkpoints" in said.getvalue()
    trails.tamper("audit_head", "UPDATE audit_head SET size = size - 1 WHERE workspace = %s", whole)
    with pytest.raises(CommandError, match="not whole"):
        call_command("fsck", str(whole), "--json", stdout=said)
    assert '"problems": ["the head of 299 records' in said.getvalue()
