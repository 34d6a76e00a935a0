"""A checkpoint is signed only for a head that is committed and that continues everything signed before."""

import contextlib
import re
import threading
from uuid import uuid4

import pytest
from django.db import connections

from audit import checkpoints, fsck, keys, publisher, sequencer, tree, verify
from tests.audit import trails

POINTS = ("audit.publisher.signed", "audit.publisher.copied", "audit.publisher.committed")


def sizes(workspace):
    return [row.size for row in checkpoints.newest(workspace)]


def refused(workspace):
    with pytest.raises(publisher.Refused) as refusal:
        publisher.publish(workspace, using="publisher")
    return refusal.value.code


def refused_besides(workspace):
    """Logs that other tests of this process have left for the publisher to refuse."""
    left = set()
    for other in publisher._logs("publisher"):
        if other != workspace:
            try:
                publisher.publish(other, using="publisher")
            except publisher.Refused:
                left.add(other)
    return left


def test_each_new_head_is_signed_once_in_the_database_and_outside(db):
    workspace = uuid4()
    assert publisher.publish(workspace, using="publisher") == 0
    trails.write(workspace, 3)
    note = trails.publish(workspace)
    assert publisher.publish(workspace, using="publisher") == 0
    row = checkpoints.newest(workspace)[0]
    assert (row.size, row.note) == (3, note)
    opened = verify.open_checkpoint(note, [verify.read_key(row.key)])
    assert opened.origin == keys.log_name(workspace)
    assert (opened.size, opened.root) == (3, row.root)
    trails.write(workspace, 400)
    trails.publish(workspace)
    assert sizes(workspace) == [403, 3]
    assert fsck.check(workspace).problems == []


def test_pending_records_are_not_signed(db):
    workspace = uuid4()
    trails.write(workspace, 2)
    assert publisher.publish(workspace, using="publisher") == 0
    assert sizes(workspace) == []


def test_a_database_that_was_set_back_is_refused(doomed):
    """As after restoring a backup: head, tiles and checkpoints agree with each other, the copy outside does not."""
    workspace = doomed
    trails.write(workspace, 2)
    trails.publish(workspace)
    with connections["default"].cursor() as cursor:
        cursor.execute("SELECT size, root, frontier FROM audit_head WHERE workspace = %s", [workspace])
        head = cursor.fetchone()
    trails.write(workspace, 2)
    newest = trails.publish(workspace)
    trails.tamper("audit_checkpoint", "DELETE FROM audit_checkpoint WHERE workspace = %s AND size = 4", workspace)
    trails.tamper("audit_leaf", "DELETE FROM audit_leaf WHERE workspace = %s AND index >= 2", workspace)
    trails.tamper(
        "audit_head",
        "UPDATE audit_head SET size = %s, root = %s, frontier = %s WHERE workspace = %s",
        *head,
        workspace,
    )
    assert refused(workspace) == "tree_shrunk"
    assert publisher.copy_path(workspace).read_text() == newest
    assert any("published" in problem for problem in fsck.check(workspace).problems)


def rewrite(workspace):
    """Give the log another first record and rebuild the whole tree over it, as an attacker with the database would."""
    with trails.superuser() as connection:
        rows = connection.execute(
            "SELECT r.id, r.body FROM audit_leaf l JOIN audit_record r ON r.id = l.record "
            "WHERE l.workspace = %s ORDER BY l.index",
            [workspace],
        ).fetchall()
    bodies = [bytes(body) for _, body in rows]
    bodies[0] = bodies[0].replace(b'"n":0', b'"n":9')
    hashes = [tree.leaf(body) for body in bodies]
    trails.tamper(
        "audit_record",
        "UPDATE audit_record SET body = %s, leaf_hash = %s WHERE id = %s",
        bodies[0],
        hashes[0],
        rows[0][0],
    )
    trails.tamper(
        "audit_leaf", "UPDATE audit_leaf SET leaf_hash = %s WHERE workspace = %s AND index = 0", hashes[0], workspace
    )
    for tile in tree.grow(0, hashes, lambda level, n: b""):
        trails.tamper(
            "audit_tile",
            "UPDATE audit_tile SET hashes = %s WHERE workspace = %s AND level = %s AND n = %s",
            tile.hashes,
            workspace,
            tile.level,
            tile.n,
        )
    edge = tree.Frontier()
    for leaf_hash in hashes:
        edge.append(leaf_hash)
    trails.tamper(
        "audit_head",
        "UPDATE audit_head SET root = %s, frontier = %s WHERE workspace = %s",
        edge.root(),
        edge.joined(),
        workspace,
    )


def test_rewritten_history_is_refused_even_with_a_tree_that_is_valid_in_itself(doomed):
    workspace = doomed
    trails.write(workspace, 5)
    trails.publish(workspace)
    rewrite(workspace)
    assert refused(workspace) == "history_rewritten"
    trails.write(workspace, 3)
    sequencer.drain(workspace, using="sequencer")
    assert refused(workspace) == "history_rewritten"
    assert sizes(workspace) == [5]


def test_a_head_that_its_tiles_do_not_give_is_refused(doomed):
    workspace = trails.published(3, doomed)
    trails.write(workspace, 1)
    sequencer.drain(workspace, using="sequencer")
    trails.tamper("audit_head", "UPDATE audit_head SET root = sha256('x') WHERE workspace = %s", workspace)
    assert refused(workspace) == "head_wrong"
    trails.tamper("audit_tile", "DELETE FROM audit_tile WHERE workspace = %s", workspace)
    assert refused(workspace) == "head_wrong"


def test_a_forged_checkpoint_in_the_database_is_refused(doomed):
    workspace = trails.published(3, doomed)
    stranger = trails.another_key(keys.log_name(workspace))
    trails.tamper(
        "audit_checkpoint",
        "UPDATE audit_checkpoint SET note = %s, key = %s WHERE workspace = %s",
        trails.note(stranger, 3, bytes(32)),
        stranger.public,
        workspace,
    )
    assert refused(workspace) == "checkpoint_forged"
    assert any("does not verify" in problem for problem in fsck.check(workspace).problems)


def test_a_missing_copy_stops_the_log_until_a_person_adopts_what_the_database_has(doomed):
    workspace = trails.published(3, doomed)
    trails.write(workspace, 1)
    sequencer.drain(workspace, using="sequencer")
    publisher.copy_path(workspace).unlink()
    assert refused(workspace) == "copy_missing"
    publisher.adopt(workspace, publisher.last_row(workspace), using="publisher")
    assert publisher.publish(workspace, using="publisher") == 1
    assert sizes(workspace) == [4, 3]


def test_a_log_whose_key_has_signed_what_nobody_knows_any_more_is_refused(doomed, settings):
    """Set back to before its first checkpoint, and the copy is gone: only the key tells that there was one."""
    workspace = trails.published(3, doomed)
    publisher.copy_path(workspace).unlink()
    trails.tamper("audit_checkpoint", "DELETE FROM audit_checkpoint WHERE workspace = %s", workspace)
    assert refused(workspace) == "checkpoints_gone"
    keys.fresh_path(workspace).write_text("00000000")  # that of another key
    assert refused(workspace) == "checkpoints_gone"
    (settings.PLACET_KEYS / f"checkpoint-{workspace}.key").unlink()
    keys.fresh_path(workspace).unlink()
    assert refused(workspace) == "checkpoints_gone"
    assert not (settings.PLACET_KEYS / f"checkpoint-{workspace}.key").exists()


def test_a_missing_key_is_never_made_anew_for_a_log_that_has_checkpoints(doomed, settings, tmp_path):
    workspace = trails.published(3, doomed)
    trails.write(workspace, 1)
    sequencer.drain(workspace, using="sequencer")
    settings.PLACET_KEYS = tmp_path
    assert refused(workspace) == "key_missing"
    assert list(tmp_path.iterdir()) == []


def test_one_refused_log_does_not_keep_the_others_waiting(doomed):
    bad, good = trails.published(2, doomed), uuid4()
    publisher.copy_path(bad).unlink()
    trails.write(good, 1)
    while sequencer.sequence(using="sequencer"):
        pass
    with pytest.raises(publisher.Refused):
        publisher.publish(using="publisher")
    assert sizes(good) == [1]


def test_two_publishers_make_one_checkpoint(db):
    workspace, failures = uuid4(), []
    trails.write(workspace, 5)
    sequencer.drain(workspace, using="sequencer")

    def publish():
        try:
            publisher.publish(workspace, using="publisher")
        except Exception as error:  # noqa: BLE001 - told to the test below
            failures.append(error)
        finally:
            connections["publisher"].close()

    threads = [threading.Thread(target=publish) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert sizes(workspace) == [5]


@pytest.mark.parametrize("point", POINTS)
def test_a_publisher_killed_at_any_point_never_signs_two_histories(db, point):
    while sequencer.sequence(using="sequencer"):
        pass
    with contextlib.suppress(publisher.Refused):  # of what other tests did to other logs
        publisher.publish(using="publisher")
    workspace = uuid4()
    trails.write(workspace, 3)
    sequencer.drain(workspace, using="sequencer")
    killed = trails.manage("publisher", process="publisher", PLACET_CRASH_AT=point)
    output, _ = killed.communicate(timeout=60)
    assert killed.returncode == -9, output
    assert sizes(workspace) == ([3] if point.endswith("committed") else [])
    trails.write(workspace, 2)
    trails.publish(workspace)
    assert 5 in sizes(workspace)
    assert fsck.check(workspace).problems == []


def test_the_command_says_what_it_refused_and_fails(doomed):
    workspace = trails.published(2, doomed)
    publisher.copy_path(workspace).unlink()
    refusing = trails.manage("publisher", "--once", process="publisher")
    output, _ = refusing.communicate(timeout=60)
    assert refusing.returncode == 1
    assert "copy_missing" in output
    publisher.adopt(workspace, publisher.last_row(workspace), using="publisher")
    trails.write(workspace, 1)
    sequencer.drain(workspace, using="sequencer")
    going_on = trails.manage("publisher", "--once", process="publisher")
    output, _ = going_on.communicate(timeout=60)
    others = refused_besides(workspace)
    assert going_on.returncode == (1 if others else 0), output
    assert str(workspace) not in output
    assert others or re.fullmatch(r"[1-9]\d* checkpoint\(s\) published\n", output)  # those of others, too
    assert sizes(workspace) == [3, 2]


def test_private_keys_are_for_nobody_else_to_read(db, settings):
    workspace = trails.published(1)
    path = settings.PLACET_KEYS / f"checkpoint-{workspace}.key"
    assert path.stat().st_mode & 0o077 == 0
    assert path.parent.stat().st_mode & 0o077 == 0
    assert keys.public(f"checkpoint-{workspace}") == [trails.key_of(workspace)]
