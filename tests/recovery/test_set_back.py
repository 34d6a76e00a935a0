"""A database that was set back is found out, nothing more is signed, and only a person may go on without the rest."""

import json
import shutil

import pytest

from tests.audit.trails import run_verifier
from tests.recovery.place import Place

ADOPTED = "SELECT convert_from(body, 'UTF8') FROM audit_record WHERE event = 'audit.checkpoint.adopted'"
REASON = "The primary's disk was lost and the replica was behind."


@pytest.fixture(scope="module")
def place():
    """An installation whose database was set back to an older copy of itself: the second checkpoint is lost."""
    with Place().up() as place:
        place.workspace = place.act("found")["workspace"]
        place.early = place.seal()[place.workspace]
        place.keep_data()
        place.receipts = place.act("write", place.workspace, 5)["receipts"]
        place.late = place.seal()[place.workspace]
        place.key = (place.home / "keys" / f"checkpoint-{place.workspace}.pub").read_text()
        place.manage("export_trail", place.workspace, "-o", place.home / "old.ndjson")
        place.set_back()
        yield place


def size(note):
    return int(note.splitlines()[1])


def kept(place):
    return (place.home / "checkpoints" / f"{place.workspace}.note").read_text()


def held(place, name, text):
    path = place.home / name
    path.write_text(text)
    return path


def verified(place, export, *arguments):
    return run_verifier(place.home, export, *map(str, arguments))


def test_the_way_from_the_rollback_to_a_new_epoch(place):
    # It agrees with itself: only the copy outside tells.
    assert "was published" in place.manage("fsck", fails=1)
    assert "tree_shrunk" in place.manage("publisher", "--once", process="publisher", fails=1)
    assert kept(place) == place.late
    assert place.query("SELECT code FROM audit_halt WHERE workspace = %s", place.workspace) == [("tree_shrunk",)]
    # Going on writing does not hide it.
    place.act("write", place.workspace, 9)
    place.manage("sequencer", "--once", process="sequencer")
    assert "history_rewritten" in place.manage("publisher", "--once", process="publisher", fails=1)
    assert place.query("SELECT code FROM audit_halt") == [("history_rewritten",)]
    receipts = held(place, "receipts", "\n".join(place.receipts))
    said = place.manage("recovery", "check", "--receipt", receipts, fails=1)
    assert "they are others now" in said and said.count(", is missing") == 5
    # The right number has to be named, by somebody who may, for a reason.
    how = ("recovery", "accept", "--as", "olga", "--reason", REASON)
    assert "loss_unaccepted" in place.manage(*how, fails=1)
    assert "loss_unaccepted" in place.manage(*how, "--lost", f"{place.workspace}={size(place.late) - 1}", fails=1)
    lost = ("--lost", f"{place.workspace}={size(place.late)}")
    stranger = ("recovery", "accept", "--as", "mallory", "--reason", REASON, *lost)
    assert "role_missing" in place.manage(*stranger, fails=1)
    assert "reason_missing" in place.manage(*how[:-1], " ", *lost, fails=1)
    assert kept(place) == place.late
    said = place.manage(*how, *lost)
    assert "new epoch" in said and "is stopped" in said
    assert place.query("SELECT count(*) FROM audit_halt") == [(0,)]
    assert place.query("SELECT count(*) FROM registry_stop WHERE lifted_at IS NULL") == [(1,)]
    # The log goes on under another name; what it signed under the old one stays alone.
    newest = kept(place)
    assert "/epoch-2/log/" in newest and size(newest) > size(place.late)
    assert "whole" in place.manage("fsck")
    early = held(place, "early.note", place.early)
    assert "whole, proven" in place.manage("recovery", "check", "--checkpoint", early)
    place.act("write", place.workspace, 3)
    place.seal()
    assert size(kept(place)) == size(newest) + 3
    # The record names the break, and the first checkpoint by the new key covers it.
    [(body, index)] = place.query(
        "SELECT convert_from(r.body, 'UTF8'), l.index FROM audit_record r JOIN audit_leaf l ON l.record = r.id "
        "WHERE r.event = 'audit.loss.acknowledged'"
    )
    told = json.loads(body)
    assert (told["data"]["note"], told["data"]["published"]) == (place.late, size(place.late))
    assert told["data"]["origin"] == newest.splitlines()[0] and told["actor"].startswith("person:")
    first = place.query("SELECT min(size) FROM audit_checkpoint WHERE note LIKE %s", "%/epoch-2/%")
    assert first[0][0] > index
    auditors_see_it(place)


def auditors_see_it(place):
    """What was exported before verifies as ever; what comes after does not under the old key, and says so."""
    old, late = held(place, "old.key", place.key), held(place, "late.note", place.late)
    assert verified(place, place.home / "old.ndjson", "--key", old, "--checkpoint", late).returncode == 0
    place.manage("export_trail", place.workspace, "-o", place.home / "new.ndjson")
    assert verified(place, place.home / "new.ndjson", "--key", old, "--checkpoint", late).returncode == 1
    keys = (place.home / "keys" / f"checkpoint-{place.workspace}.pub").read_text()
    assert len(keys.splitlines()) == 2
    new = held(place, "new.key", keys.splitlines()[1] + "\n")
    note = held(place, "new.note", kept(place))
    assert verified(place, place.home / "new.ndjson", "--key", new, "--checkpoint", note).returncode == 0
    both = verified(place, place.home / "new.ndjson", "--key", new, "--key", old, "--checkpoint", late)
    assert both.returncode == 1 and "another log" in both.stdout
    promised = held(place, "receipt", place.receipts[0])
    receipt_key = place.home / "keys" / "receipt.pub"
    gone = verified(place, place.home / "new.ndjson", "--key", new, "--key", receipt_key, "--receipt", promised)
    assert gone.returncode == 1


def test_a_database_that_lost_a_whole_log_is_found_out_and_the_right_one_needs_no_acceptance():
    with Place().up() as place:
        place.keep_data()
        workspace = place.act("found")["workspace"]
        place.seal()
        place.down()
        right = place.home / "right"
        (place.home / "postgres").rename(right)
        place.set_back()
        assert "tree_shrunk" in place.manage("publisher", "--once", process="publisher", fails=1)
        assert workspace in place.manage("recovery", "check", fails=1)
        place.down()
        shutil.rmtree(place.home / "postgres")
        right.rename(place.home / "postgres")
        place.up()
        place.manage("publisher", "--once", process="publisher")
        assert place.query("SELECT count(*) FROM audit_halt") == [(0,)]
        assert "whole, proven" in place.manage("recovery", "check")


def test_a_lost_signing_key_begins_a_new_epoch_that_loses_nothing():
    with Place().up() as place:
        workspace = place.act("found")["workspace"]
        before = held(place, "old.note", place.seal()[workspace])
        for half in ("key", "pub"):
            (place.home / "keys" / f"checkpoint-{workspace}.{half}").unlink()
        receipts = place.act("write", workspace, 2)["receipts"]
        promised = held(place, "receipt", receipts[0])
        place.manage("sequencer", "--once", process="sequencer")
        place.manage("publisher", "--once", process="publisher", fails=1)
        assert place.query("SELECT code FROM audit_halt") == [("key_missing",)]
        how = ("recovery", "accept", "--as", "olga", "--reason", "The key was lost with its disk.")
        said = place.manage(*how, "--new-key", workspace)
        assert "new epoch" in said and "is stopped" not in said
        assert "nothing to accept" in place.manage(*how)
        # Said twice it is done once: the key that is there is the one of the new epoch.
        assert "nothing to accept" in place.manage(*how, "--new-key", workspace)
        assert len((place.home / "keys" / f"checkpoint-{workspace}.pub").read_text().splitlines()) == 2
        assert place.query("SELECT count(*) FROM audit_record WHERE event = 'audit.loss.acknowledged'") == [(1,)]
        seen = place.manage("recovery", "check", "--checkpoint", before, "--receipt", promised)
        assert "whole, proven" in seen and "holds 1 of 1 receipt(s)" in seen


def test_a_missing_copy_is_gone_on_from_by_a_person_on_record():
    with Place().up() as place:
        workspace = place.act("found")["workspace"]
        note = place.seal()[workspace]
        place.act("write", workspace, 1)
        place.manage("sequencer", "--once", process="sequencer")
        copy = place.home / "checkpoints" / f"{workspace}.note"
        copy.unlink()
        assert "copy_missing" in place.manage("publisher", "--once", process="publisher", fails=1)
        how = ("recovery", "accept", "--reason", "That disk was replaced.", "--adopt", workspace)
        assert "role_missing" in place.manage(*how, "--as", "mallory", fails=1)
        assert not copy.exists()
        said = place.manage(*how, "--as", "olga")
        assert f"goes on from its checkpoint of {size(note)} records" in said and "is stopped" not in said
        [(body,)] = place.query(ADOPTED)
        told = json.loads(body)
        assert told["actor"].startswith("person:")
        assert (told["data"]["note"], told["data"]["proven"]) == (note, False)
        assert copy.read_text().splitlines()[0] == note.splitlines()[0] and size(copy.read_text()) > size(note)
        assert "nothing to accept" in place.manage(*how, "--as", "olga")
        assert len(place.query(ADOPTED)) == 1


def test_a_database_set_back_to_before_its_first_checkpoint_signs_no_second_history():
    """Neither it nor the disk knows that there was one; the key does, and whoever holds it."""
    with Place().up() as place:
        workspace = place.act("found")["workspace"]
        copy = place.home / "checkpoints" / f"{workspace}.note"
        place.keep_data()
        first = held(place, "first.note", place.seal()[workspace])
        place.set_back()
        place.keep_data()
        how = ("recovery", "accept", "--as", "olga", "--reason", "Both disks were lost.")
        forgets(place, copy)
        assert "completeness not proven" in place.manage("recovery", "check", fails=3)
        assert "unproven" in place.manage(*how, fails=1)
        assert "checkpoint_unknown" in place.manage(*how, "--adopt", workspace, fails=1)
        # Somebody has kept it, and the log continues it: so it goes on under its name.
        said = place.manage(*how, "--adopt", workspace, "--checkpoint", first)
        assert "goes on from its checkpoint" in said and "epoch" not in said and "is stopped" not in said
        place.act("write", workspace, 2)
        late = held(place, "late.note", place.seal()[workspace])
        assert late.read_text().splitlines()[0] == first.read_text().splitlines()[0]
        place.set_back()
        forgets(place, copy)
        assert "loss_unaccepted" in place.manage(*how, "--checkpoint", late, fails=1)
        said = place.manage(*how, "--unproven")
        assert "new epoch" in said and "is stopped" in said
        assert "/epoch-2/log/" in copy.read_text()
        assert "nothing to accept" in place.manage(*how, "--unproven")
        place.act("write", workspace, 1)
        place.seal()


def forgets(place, copy):
    """Lose the copy outside, too; the publisher refuses."""
    copy.unlink()
    place.manage("sequencer", "--once", process="sequencer")
    assert "checkpoints_gone" in place.manage("publisher", "--once", process="publisher", fails=1)
    assert not copy.exists()


def test_a_key_that_is_there_is_not_accepted_as_lost():
    with Place().up() as place:
        workspace = place.act("found")["workspace"]
        note = place.seal()[workspace]
        how = ("recovery", "accept", "--as", "olga", "--reason", "It leaked.")
        assert "key_present" in place.manage(*how, "--new-key", workspace, fails=1)
        place.act("write", workspace, 1)
        assert place.seal()[workspace].splitlines()[0] == note.splitlines()[0]


def test_promises_that_no_checkpoint_covers_are_accepted_on_record_and_begin_no_epoch():
    """What a replica lacks may have been promised and not signed yet: then no signature contradicts the log."""
    with Place().up() as place:
        workspace = place.act("found")["workspace"]
        note = place.seal()[workspace]
        place.keep_data()
        promised = held(place, "receipts", "\n".join(place.act("write", workspace, 2)["receipts"]))
        place.set_back()
        place.manage("publisher", "--once", process="publisher")
        how = ("recovery", "accept", "--as", "olga", "--reason", REASON, "--receipt", promised)
        assert "2 promised records are missing" in place.manage(*how, fails=1)
        said = place.manage(*how, "--lost", f"{workspace}={size(note)}")
        assert "is stopped" in said and "epoch" not in said
        [(body,)] = place.query(
            "SELECT convert_from(body, 'UTF8') FROM audit_record WHERE event = 'audit.backup.restored'"
        )
        told = json.loads(body)["data"]
        assert (told["backup"], len(told["receipts_missing"]), told["proven"]) == (None, 2, False)
        assert place.seal()[workspace].splitlines()[0] == note.splitlines()[0]
