"""Keys follow one another: what is old still verifies, what is new is used, what nobody announced proves nothing."""

import json
from datetime import UTC, datetime
from uuid import uuid4

import pytest
from django.conf import settings
from django.db import DatabaseError, connection, connections, transaction

from audit import fsck, keyfiles, keys, publisher, receipts, records, rotation, sealed, sequencer, vault, verify
from audit.refusal import Refusal
from tests.audit import trails

HOW = {"correlation_id": "rotation"}


def now():
    return datetime.now(UTC)


def rotated(workspace):
    """Announce the next checkpoint key of a log and let the publisher go over to it; return its public half."""
    coming = rotation.announce(workspace, now=now(), **HOW)
    trails.publish(workspace)  # by the old key: it holds the announcement
    trails.write(workspace, 2)
    note = trails.publish(workspace)
    assert verify.open_checkpoint(note, [verify.read_key(coming.public)]).size
    return coming.public


def verified(directory, workspace, content, *keys_given, checkpoint=None):
    export, pinned = directory / "export.ndjson", directory / "keys.txt"
    export.write_bytes(content)
    pinned.write_text("\n".join(keys_given))
    more = ["--checkpoint", str(checkpoint)] if checkpoint else []
    done = trails.run_verifier(directory, str(export), "--key", str(pinned), *more)
    assert "Traceback" not in done.stderr
    return done.returncode, done.stdout + done.stderr


def test_who_pinned_the_first_key_follows_the_log_through_two_later_ones(db, tmp_path):
    workspace = trails.published(3)
    first, old = trails.key_of(workspace), trails.publish(workspace)
    held = tmp_path / "old.note"
    held.write_text(old)
    second = rotated(workspace)
    third = rotated(workspace)
    assert len({first, second, third}) == 3
    for options in ({}, {"first": 4}, {"selection": _everything(), "since": [3]}):
        content = trails.exported(workspace, **options)
        code, text = verified(tmp_path, workspace, content, first, checkpoint=held)
        assert code in (0, 3), text
        assert text.count("was announced under") == 2
        assert verified(tmp_path, workspace, content, third)[0] == 3
    assert verified(tmp_path, workspace, trails.exported(workspace), first, checkpoint=held)[0] == 0
    # A checkpoint that was kept since the second rotation is followed to as well.
    held.write_text(trails.publish(workspace))
    trails.published(2, workspace)
    code, text = verified(tmp_path, workspace, trails.exported(workspace), first, checkpoint=held)
    assert code == 0, text
    assert fsck.check(workspace).problems == []


def test_a_key_that_nobody_announced_is_rejected_whoever_wrote_a_record(db, tmp_path):
    workspace = trails.published(3)
    name = keys.checkpoint(workspace).name
    pinned, stranger = trails.key_of(workspace), trails.another_key(name)
    # A compromised web process can append a record of that name; it cannot sign the note in it.
    note = stranger.sign_note(f"{verify.ANNOUNCEMENT}\n{stranger.public}\n")
    trails.append(workspace, {"note": note}, event=verify.ANNOUNCED)
    trails.publish(workspace)
    header, *lines = trails.exported(workspace).splitlines()
    assert "chain" not in json.loads(header)
    forged = json.loads(header)
    text = forged["checkpoint"].partition("\n\n")[0] + "\n"
    forged["checkpoint"] = stranger.sign_note(text)
    body = lines[-1].decode()
    link = {"checkpoint": stranger.sign_note(text), "consistency": [], "index": 3, "proof": [], "record": body}
    for chain in ([], [link], [link | {"checkpoint": json.loads(header)["checkpoint"]}]):
        content = b"\n".join([_line(forged | {"chain": chain}), *lines]) + b"\n"
        code, said = verified(tmp_path, workspace, content, pinned)
        assert code == 1, said
        assert "NOT VERIFIED" in said


def test_an_announcement_from_another_history_leads_nowhere(db, tmp_path):
    workspace = trails.published(3)
    first = trails.key_of(workspace)
    rotated(workspace)
    header, *lines = trails.exported(workspace).splitlines()
    document = json.loads(header)
    (link,) = document["chain"]
    for change in (
        {"index": link["index"] + 1},
        {"proof": link["proof"][:-1]},
        {"consistency": link["consistency"][:-1] or ["A" * 43 + "="]},
        {"record": link["record"].replace("rotation", "rotatioN")},
    ):
        content = b"\n".join([_line(document | {"chain": [link | change]}), *lines]) + b"\n"
        assert verified(tmp_path, workspace, content, first)[0] == 1, change
    content = b"\n".join([_line({name: one for name, one in document.items() if name != "chain"}), *lines]) + b"\n"
    assert verified(tmp_path, workspace, content, first)[0] == 1


def test_the_publisher_goes_over_only_when_a_checkpoint_holds_the_announcement(db):
    workspace = trails.published(2)
    first = trails.key_of(workspace)
    coming = rotation.announce(workspace, now=now(), **HOW)
    assert rotation.announce(workspace, now=now(), **HOW).public == coming.public
    assert [row.event for row in records.newest(workspace)].count(verify.ANNOUNCED) == 1
    publisher.publish(workspace, using="publisher")
    assert trails.key_of(workspace) == first
    sequencer.drain(workspace, using="sequencer")
    publisher.publish(workspace, using="publisher")
    assert trails.key_of(workspace) == first
    publisher.publish(workspace, using="publisher")
    assert trails.key_of(workspace) == coming.public
    assert keys.public(f"checkpoint-{workspace}") == [first, coming.public]
    assert not rotation.next_path(workspace).exists()


def test_a_receipt_of_before_verifies_beside_one_of_after(db):
    workspace = uuid4()
    before = trails.append(workspace)
    old = receipts.issue(before)
    first = keys.receipt().public
    coming = rotation.rotate_receipt(now=now(), **HOW)
    new = receipts.issue(trails.append(workspace))
    pinned = [verify.read_key(line) for line in keys.public("receipt")]
    assert {verify.open_receipt(token, pinned).workspace for token in (old, new)} == {str(workspace)}
    assert verify.read_key(coming.public).id.hex() == new.split(".")[1] != verify.read_key(first).id.hex()


def test_a_receipt_verifies_though_the_key_of_earlier_ones_was_lost(settings, tmp_path):
    settings.PLACET_KEYS = tmp_path
    first = keys.receipt()
    (tmp_path / "receipt.key").unlink()
    second = keys.receipt()
    assert second.id != first.id
    assert keys.public("receipt") == [first.public, second.public]


def test_values_are_read_through_a_rewrap_and_the_old_kek_goes_only_then(db, restored):
    restored("values.kek")
    workspace = trails.published(1)
    keys.secret("values.kek")
    older = len(keys.every_secret("values.kek"))  # one, unless an earlier test has rotated it
    blob = sealed.seal_blob({"secret": 1}, workspace=workspace, subject="s-1")
    new = rotation.rotate_secret("values.kek", now=now(), **HOW)
    vault._cache.clear()
    assert sealed.open_blob(blob) == {"secret": 1}
    with pytest.raises(Refusal) as refused:
        rotation.retire_secret("values.kek", now=now(), **HOW)
    assert refused.value.code == "key_needed"
    assert rotation.rewrap(now=now(), **HOW) >= 1
    assert rotation.retire_secret("values.kek", now=now(), **HOW) == older
    vault._cache.clear()
    assert sealed.open_blob(blob) == {"secret": 1}
    with connections["default"].cursor() as cursor:
        cursor.execute("SELECT DISTINCT kek FROM audit_valuekey")
        assert cursor.fetchall() == [(new,)]
    events = [row.event for row in records.newest(workspace)]
    assert events[:3] == ["audit.key.retired", "audit.key.rewrapped", "audit.key.rotated"]


def test_who_is_erased_is_found_by_an_older_key_too(db):
    workspace = trails.published(1)
    blob = sealed.seal_blob("mine", workspace=workspace, subject="s-2")
    rotation.rotate_secret("subjects.key", now=now(), **HOW)
    again = sealed.seal_blob("mine too", workspace=workspace, subject="s-2")
    assert sealed.open_blob(blob) == "mine"
    sealed.erase(workspace, "s-2", actor=trails.ACTOR, now=now(), correlation_id="c")
    for one in (blob, again):
        with pytest.raises(sealed.Erased):
            sealed.open_blob(one)
    with pytest.raises(Refusal, match="kept"):
        rotation.retire_secret("subjects.key", now=now(), **HOW)


def test_a_process_goes_on_with_the_new_secret_at_once_and_refuses_a_damaged_one(db, restored):
    restored("executor.hmac")
    old = keys.secret("executor.hmac")
    rotation.rotate_secret("executor.hmac", now=now(), **HOW)
    assert keys.every_secret("executor.hmac")[1] == old
    assert keys.secret("executor.hmac") != old
    path = settings.PLACET_KEYS / "executor.hmac"
    assert path.stat().st_mode & 0o777 == 0o600
    text = path.read_text()
    keyfiles.replace(path, text[:-9], mode=0o600)
    with pytest.raises(keys.KeyMissing, match="damaged"):
        keys.secret("executor.hmac")
    keyfiles.replace(path, text, mode=0o600)


@pytest.fixture
def restored():
    """Return a function: put a secret's file back as it is now when the test ends, with what came since before it."""
    kept = {}

    def keep(name):
        keys.secret(name)
        kept[name] = (settings.PLACET_KEYS / name).read_text()

    yield keep
    for name, text in kept.items():
        path = settings.PLACET_KEYS / name
        since = [line for line in path.read_text().splitlines() if line not in text]
        keyfiles.replace(path, text + "".join(f"{line}\n" for line in since), mode=0o600)


def _everything():
    from audit.export import Selection

    return Selection()


def _line(document):
    return json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def test_a_key_whose_change_cannot_be_recorded_stays_as_it_is(db, restored):
    restored("executor.hmac")
    trails.published(1)
    keys.receipt()
    rotation.rotate_secret("executor.hmac", now=now(), **HOW)
    changes = {
        "receipt.key": lambda: rotation.rotate_receipt(now=now(), **HOW),
        "calls.hmac": lambda: rotation.rotate_secret("calls.hmac", now=now(), **HOW),
        "executor.hmac": lambda: rotation.retire_secret("executor.hmac", now=now(), **HOW),
    }
    keys.secret("calls.hmac")
    for name, change in changes.items():
        before = (settings.PLACET_KEYS / name).read_bytes()
        with pytest.raises(DatabaseError), transaction.atomic(), connection.cursor() as cursor:
            cursor.execute("SET TRANSACTION READ ONLY")
            change()
        assert (settings.PLACET_KEYS / name).read_bytes() == before, name
