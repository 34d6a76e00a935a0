"""Values are readable until their subject is erased; then the record, the tree and the proofs stand without them."""

import json
import time
from datetime import UTC, datetime
from types import SimpleNamespace
from uuid import uuid4

import pytest
from django.db import connection, transaction

from audit import fsck, log, records, sealed, vault, verify
from audit.refusal import Refusal
from tests.audit import trails

SECRET = {"to": "alice@example.com", "amount": 12, "note": "žluť"}


def seal(workspace, subject="person:alice", value=SECRET):
    return trails.append(
        workspace, {"arguments": log.Sealed(value, subject), "list": [{"a/b~c": log.Sealed("x", subject)}]}
    )


def erase(workspace, subject):
    return sealed.erase(workspace, subject, actor="person:dave", now=datetime.now(UTC), correlation_id="c")


def test_a_record_holds_the_commitment_and_never_the_value(db):
    workspace = uuid4()
    entry = seal(workspace)
    assert b"alice" not in entry.body
    committed = json.loads(entry.body)["data"]["arguments"]
    assert set(committed) == {"$sealed"}
    assert sealed.open_value(entry.id, "/data/arguments") == SECRET
    assert sealed.open_value(entry.id, "/data/list/0/a~1b~0c") == "x"
    line = json.loads(sealed.disclose(entry.id, "/data/arguments"))
    nonce, value = bytes.fromhex(line["nonce"]), line["value"].encode()
    assert verify.commitment(str(entry.id), "/data/arguments", nonce, value) == committed["$sealed"]
    # Bound to record and path: the same value elsewhere has another commitment.
    assert verify.commitment(str(entry.id), "/data/argument", nonce, value) != committed["$sealed"]
    assert verify.commitment(str(uuid4()), "/data/arguments", nonce, value) != committed["$sealed"]


def test_lengths_are_part_of_a_commitment():
    """Moving a byte from one part to the next must not give the same commitment."""
    one = verify.commitment("r", "/a", b"n" * 32, b'"x"')
    assert one != verify.commitment("r/", "a", b"n" * 32, b'"x"')
    assert one != verify.commitment("r", "/an", b"n" * 31, b'"x"')


def test_nothing_of_a_value_stands_in_the_database_in_clear(db):
    workspace = uuid4()
    entry = seal(workspace)
    blob = sealed.seal_blob(SECRET, workspace=workspace, subject="person:alice")
    with connection.cursor() as cursor:
        cursor.execute("SELECT box FROM audit_sealedvalue WHERE record = %s OR id = %s", [entry.id, blob])
        boxes = b"".join(bytes(box) for (box,) in cursor.fetchall())
        cursor.execute("SELECT subject || wrapped FROM audit_valuekey WHERE workspace = %s", [workspace])
        keys = b"".join(bytes(key) for (key,) in cursor.fetchall())
    assert boxes
    assert keys
    assert b"alice" not in boxes + keys


def test_erasure_takes_every_value_of_that_subject_and_nothing_else(db):
    workspace, other = uuid4(), uuid4()
    entry, kept, elsewhere = seal(workspace), seal(workspace, "person:bob"), seal(other)
    blob = sealed.seal_blob([1, 2], workspace=workspace, subject="person:alice")
    old = trails.publish(workspace)
    assert sealed.open_blob(blob) == [1, 2]

    erasure = erase(workspace, "person:alice")

    for read in (
        lambda: sealed.open_value(entry.id, "/data/arguments"),
        lambda: sealed.disclose(entry.id, "/data/arguments"),
        lambda: sealed.open_blob(blob),
    ):
        with pytest.raises(sealed.Erased) as refused:
            read()
        assert (refused.value.code, refused.value.status) == ("value_erased", 410)
    assert sealed.open_value(kept.id, "/data/arguments") == SECRET
    assert sealed.open_value(elsewhere.id, "/data/arguments") == SECRET
    assert b"alice" not in erasure.body
    # The tree does not notice: the same log, checked against the checkpoint from before.
    trails.publish(workspace)
    report = verify.verify_export(trails.file(trails.exported(workspace)), trails.evidence(workspace, old))
    assert report.complete
    assert fsck.check(workspace).problems == []


def test_after_erasure_new_values_of_the_subject_are_kept_under_a_new_key(db):
    workspace = uuid4()
    first = seal(workspace)
    erase(workspace, "person:alice")
    again = seal(workspace)
    assert sealed.open_value(again.id, "/data/arguments") == SECRET
    with pytest.raises(sealed.Erased):
        sealed.open_value(first.id, "/data/arguments")


def test_a_process_that_still_knows_an_erased_key_does_not_use_it(db):
    """Another process erased: what is cached here must not seal what could then never be opened."""
    workspace = uuid4()
    seal(workspace)
    stale = dict(vault._cache)
    erase(workspace, "person:alice")
    vault._cache.update(stale)
    again = seal(workspace)
    assert sealed.open_value(again.id, "/data/arguments") == SECRET
    assert [row.id for row in records.newest(workspace)].count(again.id) == 1
    vault._cache.update(stale)
    blob = sealed.seal_blob(SECRET, workspace=workspace, subject="person:alice")
    assert sealed.open_blob(blob) == SECRET


def test_a_place_may_have_any_name(db):
    names = ['"', "\\", '\\"', ",", "{}", "{a,b}", " ", "", "NULL", "a/b~c", "'; --", "%s", "\n\t", "žluť 😀", "\\x00"]
    entry = trails.append(uuid4(), {name: log.Sealed({"of": name}, "person:alice") for name in names})
    for name in names:
        pointer = name.replace("~", "~0").replace("/", "~1")
        assert sealed.open_value(entry.id, f"/data/{pointer}") == {"of": name}


def test_of_many_values_only_those_of_the_erased_are_sealed_anew(db):
    workspace = uuid4()
    seal(workspace)
    seal(workspace, "person:bob")
    stale = dict(vault._cache)
    erase(workspace, "person:alice")
    vault._cache.update(stale)
    data = {str(number): log.Sealed(number, f"person:{'alice' if number % 3 else 'bob'}") for number in range(12)}
    entry = trails.append(workspace, data)
    assert [sealed.open_value(entry.id, f"/data/{number}") for number in range(12)] == list(range(12))


def test_what_was_unwrapped_leaves_the_memory_of_the_process_after_a_minute(db, monkeypatch):
    workspace, minutes = uuid4(), [0]
    monkeypatch.setattr(vault, "time", SimpleNamespace(monotonic=lambda: time.monotonic() + 61 * minutes[0]))
    vault._cache.clear()
    for subject in ("person:alice", "person:bob", "person:carol"):
        seal(workspace, subject)
    first = set(vault._cache)
    assert len(first) == 3
    minutes[0] = 1
    entry = seal(workspace, "person:bob")
    assert set(vault._cache) < first
    assert len(vault._cache) == 1
    assert sealed.open_value(entry.id, "/data/arguments") == SECRET


def test_a_value_put_in_anothers_stead_does_not_open(db):
    workspace = uuid4()
    one, two = seal(workspace), seal(workspace, value={"to": "mallory@example.com"})
    trails.tamper(
        "audit_sealedvalue",
        "UPDATE audit_sealedvalue SET box = (SELECT box FROM audit_sealedvalue WHERE record = %s AND path = "
        "'/data/arguments') WHERE record = %s AND path = '/data/arguments'",
        two.id,
        one.id,
    )
    with pytest.raises(Exception, match=r".*") as refused:
        sealed.open_value(one.id, "/data/arguments")
    assert type(refused.value).__name__ == "InvalidTag"


def test_what_was_never_sealed_is_not_found(db):
    entry = seal(uuid4())
    for read in (
        lambda: sealed.open_value(entry.id, "/data/nothing"),
        lambda: sealed.open_value(uuid4(), "/data/arguments"),
        lambda: sealed.open_blob(uuid4()),
    ):
        with pytest.raises(Refusal, match="not_found"):
            read()


def test_a_rolled_back_record_leaves_no_value(db):
    workspace = uuid4()
    with pytest.raises(ZeroDivisionError), transaction.atomic():
        log.append(
            trails.EVENT,
            workspace=workspace,
            actor=trails.ACTOR,
            correlation_id="",
            now=datetime.now(UTC),
            data={"a": log.Sealed("x", "person:carol")},
        )
        1 / 0  # noqa: B018
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM audit_sealedvalue WHERE workspace = %s", [workspace])
        assert cursor.fetchone() == (0,)
    # The key that was made in that transaction is gone with it, and is not used from memory.
    assert sealed.open_value(seal(workspace, "person:carol").id, "/data/arguments") == SECRET
    assert len(records.newest(workspace)) == 1
