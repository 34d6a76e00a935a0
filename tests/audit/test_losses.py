"""A new epoch of a log: begun once however often it is tried, and no excuse for anything but what a person accepted."""

import json
from datetime import UTC, datetime

import pytest
from django.db import connections

from audit import continuity, fsck, keys, losses, publisher, rotation, verify
from tests.audit import trails

REASON = "The key was lost with its disk."


def begin(workspace, what="key"):
    note = publisher.copy_path(workspace).read_text()
    how = {"actor": "system:test", "now": datetime.now(UTC), "correlation_id": "test", "using": "owner"}
    return losses.begin_epoch(workspace, losses.Loss(what, note, REASON), **how)


def acknowledgements(workspace):
    with trails.superuser() as connection:
        rows = connection.execute(
            "SELECT body FROM audit_record WHERE workspace = %s AND event = %s", [workspace, losses.ACKNOWLEDGED]
        ).fetchall()
    return [json.loads(bytes(body)) for (body,) in rows]


def finding(workspace, *notes):
    return next(one for one in continuity.examine(notes) if one.workspace == workspace)


@pytest.mark.parametrize("place", ["sequencer.drain", "_change_over", "rotation.list_public"])
def test_what_was_cut_short_is_ended_by_the_next_try_with_one_record_and_one_key(doomed, monkeypatch, place):
    workspace = trails.published(3, doomed)
    before = keys.checkpoint(workspace)

    def cut(*arguments, **more):
        raise OSError("the power went")

    with monkeypatch.context() as patched:
        patched.setattr(f"audit.losses.{place}", cut)
        with pytest.raises(OSError, match="power"):
            begin(workspace)
    assert keys.checkpoint(workspace).id == before.id
    coming = begin(workspace)
    assert [one["subjects"] for one in acknowledgements(workspace)] == [{"key": coming.id, "previous": before.id}]
    assert keys.checkpoint(workspace).id == coming.id and coming.name != before.name
    assert len(keys.public(f"checkpoint-{workspace}")) == 2
    trails.publish(workspace)
    assert fsck.check(workspace).problems == []
    assert finding(workspace).proven


def test_until_the_copy_is_laid_aside_nothing_is_signed_and_the_next_try_lays_it_aside(doomed, monkeypatch):
    workspace = trails.published(2, doomed)
    with connections["default"].cursor() as cursor:
        cursor.execute("SELECT size, root, frontier FROM audit_head WHERE workspace = %s", [workspace])
        head = cursor.fetchone()
    trails.write(workspace, 2)
    lost = trails.publish(workspace)
    trails.tamper("audit_checkpoint", "DELETE FROM audit_checkpoint WHERE workspace = %s AND size = 4", workspace)
    trails.tamper("audit_leaf", "DELETE FROM audit_leaf WHERE workspace = %s AND index >= 2", workspace)
    trails.tamper("audit_tile", "UPDATE audit_tile SET hashes = substr(hashes, 1, 64) WHERE workspace = %s", workspace)
    trails.tamper(
        "audit_head", "UPDATE audit_head SET size = %s, root = %s, frontier = %s WHERE workspace = %s", *head, workspace
    )
    with monkeypatch.context() as patched:
        patched.setattr(losses, "settle_copy", lambda *arguments, **more: None)
        begin(workspace, "records")
    with pytest.raises(publisher.Refused):
        publisher.publish(workspace, using="publisher")
    assert publisher.copy_path(workspace).read_text() == lost
    losses.settle_copy(workspace, using="owner")
    assert publisher.publish(workspace, using="publisher") == 1
    aside = publisher.copy_path(workspace).with_name(f"{workspace}.lost-4.note")
    assert aside.read_text() == lost
    aside.unlink()
    assert finding(workspace, lost).proven


def test_each_epoch_has_a_name_of_its_own_and_verifies_with_its_own_key_alone(doomed):
    workspace = trails.published(3, doomed)
    first = trails.key_of(workspace)
    rotation.announce(workspace, now=datetime.now(UTC), correlation_id="test")
    trails.publish(workspace)
    publisher.publish(workspace, using="publisher")  # promotes
    trails.published(1, workspace)
    rotated, old_note = trails.key_of(workspace), publisher.copy_path(workspace).read_text()
    assert rotated != first
    begin(workspace)
    newest = trails.publish(workspace)
    export, epoch = trails.exported(workspace), trails.key_of(workspace)
    assert newest.partition("\n")[0] == f"{keys.log_name(workspace, epoch=2)}"
    for given in ([epoch], [first, rotated, epoch]):
        evidence = verify.Evidence([verify.read_key(key) for key in given], [], [])
        assert verify.verify_export(trails.file(export), evidence) is not None
    with pytest.raises(verify.NotVerified):
        verify.verify_export(
            trails.file(export), verify.Evidence([verify.read_key(key) for key in (first, rotated)], [], [])
        )
    pinned = [verify.read_key(key) for key in (first, rotated, epoch)]
    held = verify.Evidence(pinned, [verify.open_checkpoint(old_note, pinned)], [])
    with pytest.raises(verify.NotVerified, match="another log"):
        verify.verify_export(trails.file(export), held)
    begin(workspace)
    assert trails.publish(workspace).startswith(keys.log_name(workspace, epoch=3))


def test_a_record_alone_that_a_compromised_process_wrote_excuses_nothing(doomed):
    workspace = trails.published(4, doomed)
    newest = publisher.copy_path(workspace).read_text()
    forged = {"what": "records", "published": 4, "database": 2, "note": newest, "origin": "elsewhere", "reason": ""}
    trails.append(workspace, forged, event=losses.ACKNOWLEDGED, subjects={"key": "00000000", "previous": ""})
    trails.tamper("audit_leaf", "DELETE FROM audit_leaf WHERE workspace = %s", workspace)
    trails.tamper("audit_head", "UPDATE audit_head SET size = 2 WHERE workspace = %s", workspace)
    assert finding(workspace).lost
    assert losses.acknowledged(workspace) == set()


def test_a_loss_without_a_reason_is_refused(doomed):
    workspace = trails.published(1, doomed)
    how = {"actor": "system:test", "now": datetime.now(UTC), "correlation_id": "test", "using": "owner"}
    with pytest.raises(losses.Refusal, match="Say what happened"):
        losses.begin_epoch(workspace, losses.Loss("key", "", " "), **how)
    assert acknowledgements(workspace) == []
