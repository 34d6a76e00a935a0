"""A backup that was taken under load comes back whole, and what it lacks is found by what was kept outside."""

import hashlib
import json
import shutil
from uuid import uuid4

import pytest

from tests.recovery.place import Place, running

RECORDS = 300


@pytest.fixture(scope="module")
def origin(tmp_path_factory):
    """An installation that was backed up while four threads wrote, and went on afterwards.

    `backup`: the directory; `during`: receipts given out before it was taken; `after`: the later ones; `notes`: the
    checkpoints of before the backup and of the end.
    """
    folder = tmp_path_factory.mktemp("backup")
    with Place().up() as place:
        place.workspace = place.act("found")["workspace"]
        place.receipts, place.backup = folder / "receipts", folder / "backup"
        with running(place, "load", place.workspace, place.receipts) as load:
            assert load.stdout.readline() == "going\n"
            place.early = folder / "early.note"
            place.early.write_text(place.seal()[place.workspace])
            promised = len(place.receipts.read_text().splitlines())
            said = place.manage("backup", place.backup)
            assert "1 logs" in said and "values.kek" in said
        lines = place.receipts.read_text().splitlines()
        place.before, place.after = folder / "before", folder / "after"
        place.before.write_text("\n".join(lines[:promised:50] + lines[promised - 10 : promised]))
        place.after.write_text("\n".join(lines[-3:]))
        place.late = folder / "late.note"
        place.late.write_text(place.seal()[place.workspace])
        yield place


@pytest.fixture
def fresh(origin):
    """A new machine with the keys, which were backed up apart."""
    with Place(migrated=False) as place:
        place.keys_from(origin)
        yield place


def test_it_names_what_it_holds_and_no_secret(origin):
    manifest = json.loads((origin.backup / "manifest.json").read_text())
    assert set(manifest["logs"]) == {origin.workspace}
    note = (origin.backup / "checkpoints" / f"{origin.workspace}.note").read_text()
    early, late = (int(text.splitlines()[1]) for text in (origin.early.read_text(), origin.late.read_text()))
    assert early <= int(note.splitlines()[1]) <= manifest["logs"][origin.workspace] < late
    assert {"values.kek", f"checkpoint-{origin.workspace}.key", "receipt.key"} <= set(manifest["keys"])
    secrets = [path.read_text().strip() for path in (origin.home / "keys").iterdir() if path.suffix != ".pub"]
    written = b"".join(path.read_bytes() for path in origin.backup.rglob("*") if path.is_file())
    assert not any(secret.encode() in written for secret in secrets)
    assert origin.backup.stat().st_mode & 0o077 == 0
    again = origin.manage("backup", origin.backup, fails=True)
    assert "is there already" in again


def test_restored_it_holds_all_that_was_acknowledged_before_it_and_lacks_what_came_after(origin, fresh):
    assert "The database is shut" in fresh.manage("restore", origin.backup)
    assert "nobody has accepted it yet" in fresh.manage("up", fails=1)
    restored = fresh.up()
    # Nothing speaks for it but itself; the checkpoint of before does; the later ones show what it lacks.
    assert "completeness not proven" in restored.manage("recovery", "check", fails=3)
    proven = restored.manage("recovery", "check", "--checkpoint", origin.early, "--receipt", origin.before)
    assert "whole, proven" in proven
    lacking = ("--checkpoint", origin.late, "--receipt", origin.after)
    said = restored.manage("recovery", "check", *lacking, fails=1)
    assert "NOT WHOLE" in said and "are missing" in said
    assert said.count("for which there is a receipt, is missing") == 3
    nothing_enters_it_until_somebody_has_accepted_it(origin, restored)


def nothing_enters_it_until_somebody_has_accepted_it(origin, restored):
    assert "permission denied" in restored.manage("fsck", fails=1)
    how = ("recovery", "accept", "--as", "olga", "--reason", "The disk was lost.")
    assert "unproven" in restored.manage(*how, fails=1)
    assert "loss_unaccepted" in restored.manage(*how, "--checkpoint", origin.late, fails=1)
    nobody = ("recovery", "accept", "--as", "mallory", "--reason", "Trust me.", "--unproven")
    assert "role_missing" in restored.manage(*nobody, fails=1)
    assert "permission denied" in restored.manage("fsck", fails=1)
    said = restored.manage(*how, "--checkpoint", origin.early, "--receipt", origin.before)
    assert "the database is open again" in said
    assert "whole" in restored.manage("fsck")
    rows = restored.query("SELECT convert_from(body, 'UTF8') FROM audit_record WHERE event = 'audit.backup.restored'")
    assert [json.loads(body)["data"]["proven"] for (body,) in rows] == [True]
    assert restored.query("SELECT count(*) FROM registry_stop") == [(0,)]
    # The keys of the other backup open what this one holds.
    assert restored.act("reveal", origin.workspace) == {"value": "alice@example.com"}
    # It goes on: the log continues every checkpoint from before, under the same key.
    restored.act("write", origin.workspace, 2)
    newest = restored.seal()[origin.workspace]
    assert newest.splitlines()[0] == origin.early.read_text().splitlines()[0]
    assert "whole, proven" in restored.manage("recovery", "check", "--checkpoint", origin.early)


def test_pg_restore_dies_with_whoever_has_started_it_and_the_next_try_restores_all(origin, fresh):
    place = fresh.up_new()
    with place.connect() as other:
        # Nobody gets past a table of that name until this transaction ends.
        other.execute("CREATE TABLE public.audit_head ()")
        first = place.start("restore", origin.backup)
        place.until("SELECT count(*) FROM pg_stat_activity WHERE application_name = 'pg_restore'", 1)
        first.kill()
        first.wait()
        other.rollback()
    assert "Restored" in place.manage("restore", origin.backup)
    assert "permission denied" in place.manage("fsck", fails=1)


def test_a_database_that_was_filled_by_a_commit_in_doubt_stays_shut_and_is_gone_on_with(origin, fresh):
    place = fresh.up_new()
    assert "filled all the same" in place.act("restore_in_doubt", origin.backup, process="owner")["refused"]
    assert "permission denied" in place.manage("fsck", fails=1)
    how = ("recovery", "accept", "--as", "olga", "--reason", "The disk was lost.", "--unproven")
    assert "restore_unfinished" in place.manage(*how, fails=1)
    assert "Restored" in place.manage("restore", origin.backup)
    assert "not empty" in place.manage("restore", origin.backup, fails=1)
    assert "permission denied" in place.manage("fsck", fails=1)
    assert "the database is open again" in place.manage(*how)


def test_what_is_damaged_foreign_or_lacks_its_keys_is_not_restored(origin, fresh, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(origin.backup, copy)
    dump = copy / "database.dump"
    dump.write_bytes(dump.read_bytes()[:-1] + b"x")
    assert "is damaged" in fresh.manage("backup", copy, "--check", fails=1)
    assert "records" in fresh.manage("backup", origin.backup, "--check")
    fresh.up_new()
    assert "is damaged" in fresh.manage("restore", copy, fails=1)
    assert "is no whole backup" in fresh.manage("restore", tmp_path, fails=1)
    manifest = json.loads((origin.backup / "manifest.json").read_text())
    manifest["migrations"].append(["registry", "0999_of_tomorrow"])
    shutil.copytree(origin.backup, tmp_path / "newer")
    (tmp_path / "newer" / "manifest.json").write_text(json.dumps(manifest))
    assert "registry.0999_of_tomorrow" in fresh.manage("restore", tmp_path / "newer", fails=1)
    torn = json.loads((origin.backup / "manifest.json").read_text())
    torn["files"]["database.dump"] = f"sha256:{hashlib.sha256(dump.read_bytes()[:20_000]).hexdigest()}"
    dump.write_bytes(dump.read_bytes()[:20_000])
    (copy / "manifest.json").write_text(json.dumps(torn))
    # What failed leaves the place as it was.
    assert "pg_restore" in fresh.manage("restore", copy, fails=1)
    assert not (fresh.home / "restored.json").exists()
    assert list((fresh.home / "checkpoints").glob("*.note")) == []
    (fresh.home / "keys" / "values.kek").unlink()
    refused = fresh.manage("restore", origin.backup, fails=1)
    assert "values.kek" in refused and "--without-keys" in refused
    assert "Restored" in fresh.manage("restore", origin.backup, "--without-keys")
    assert "not empty" in fresh.manage("restore", origin.backup, "--without-keys", fails=1)
    # Without proof it is stopped until somebody has looked, and under its old name nothing more is signed: that may
    # have been done already. So it is, too, if nobody knows here that it was restored.
    (fresh.home / "restored.json").unlink()
    assert "completeness not proven" in fresh.manage("recovery", "check", fails=3)
    how = ("recovery", "accept", "--as", "olga", "--reason", "All else is lost.")
    assert "unproven" in fresh.manage(*how, fails=1)
    assert "log_unknown" in fresh.manage(*how, "--new-key", str(uuid4()), fails=1)
    assert "new epoch" in fresh.manage(*how, "--unproven")
    told = "SELECT count(*) FROM audit_record WHERE event = 'audit.backup.restored'"
    assert fresh.query(told) == [(1,)]
    standing = fresh.query("SELECT scope, reason FROM registry_stop WHERE lifted_at IS NULL")
    assert standing == [("workspace", "All else is lost.")]
