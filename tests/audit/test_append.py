"""A record is there if, and only if, what it tells of was committed; its body is canonical and complete."""

import hashlib
import json
from datetime import UTC, datetime
from uuid import uuid4

import pytest
from django.db import DataError, IntegrityError, connection, transaction

from audit import canonical, events, log, receipts, records, sealed, sequencer, verify
from audit.refusal import Refusal
from tests.audit import trails

NOW = datetime(2026, 11, 23, 1, 2, 3, 456789, tzinfo=UTC)


def count(workspace):
    return len(records.newest(workspace))


def test_a_record_says_who_did_what_when_and_is_canonical(db):
    workspace, call = uuid4(), uuid4()
    entry = trails.append(
        workspace,
        {"allow": False, "reasons": [{"code": "untrusted_session"}], "call": call, "spent": 12},
        actor="credential:7",
        correlation_id="c-9",
        now=NOW,
        subjects={"call": str(call)},
    )
    body = json.loads(entry.body)
    assert body == {
        "actor": "credential:7",
        "at": "2026-11-23T01:02:03.456789Z",
        "correlation_id": "c-9",
        "data": {"allow": False, "reasons": [{"code": "untrusted_session"}], "call": str(call), "spent": 12},
        "event": trails.EVENT,
        "format": "placet.record/1",
        "id": str(entry.id),
        "subjects": {"call": str(call)},
        "workspace": str(workspace),
    }
    assert entry.body == canonical.dumps(body)
    assert entry.leaf_hash == hashlib.sha256(b"\x00" + entry.body).digest()
    row = records.get(entry.id)
    assert (row.event, row.actor, row.correlation_id, row.at) == (trails.EVENT, "credential:7", "c-9", NOW)
    assert (row.text.encode(), row.leaf_hash, row.index) == (entry.body, entry.leaf_hash, None)


def test_what_is_rolled_back_leaves_neither_record_nor_pending(db):
    workspace = uuid4()
    with pytest.raises(ZeroDivisionError), transaction.atomic():
        log.append(trails.EVENT, workspace=workspace, actor=trails.ACTOR, correlation_id="", now=NOW)
        1 / 0  # noqa: B018
    assert count(workspace) == 0
    with transaction.atomic():
        log.append(trails.EVENT, workspace=workspace, actor=trails.ACTOR, correlation_id="", now=NOW)
        with pytest.raises(ZeroDivisionError), transaction.atomic():
            log.append(trails.EVENT, workspace=workspace, actor=trails.ACTOR, correlation_id="", now=NOW)
            1 / 0  # noqa: B018
    assert count(workspace) == 1
    assert sequencer.drain(workspace, using="sequencer") == 1


@pytest.mark.parametrize("count", [0, 1, 3, 20])
def test_a_record_and_what_it_seals_go_to_the_database_together(db, count, django_assert_num_queries):
    workspace = uuid4()
    data = {str(number): log.Sealed(number, "person:alice") for number in range(count)}
    trails.append(workspace, data)
    with transaction.atomic(), django_assert_num_queries(1):
        entry = log.append(trails.EVENT, workspace=workspace, actor=trails.ACTOR, correlation_id="", now=NOW, data=data)
    assert [sealed.open_value(entry.id, f"/data/{number}") for number in range(count)] == list(range(count))
    assert records.get(entry.id).text.encode() == entry.body


def test_outside_a_transaction_nothing_is_recorded(db):
    workspace = uuid4()
    with pytest.raises(RuntimeError, match="transaction"):
        log.append(trails.EVENT, workspace=workspace, actor=trails.ACTOR, correlation_id="", now=NOW)
    assert count(workspace) == 0


@pytest.mark.parametrize(
    "members",
    [
        {"event": "audit.nothing.known"},
        {"actor": "alice"},
        {"actor": "person:"},
        {"actor": "root:1"},
        {"data": {"n": float("nan")}},
        {"data": {"n": 2**53}},
        {"data": {"text": "\ud800"}},
        {"data": {"text": "x" * 65_536}},
        {"data": {"at": NOW}},
        {"data": {"$sealed": "0" * 64}},
        {"data": {"deep": [{"$sealed": "0" * 64, "more": 1}]}},
    ],
    ids=lambda members: str(members)[:40],
)
def test_what_cannot_be_a_record_is_refused(db, members):
    workspace = uuid4()
    with pytest.raises(ValueError, match=r"."):
        trails.append(workspace, **members)
    assert count(workspace) == 0


def test_the_database_refuses_a_wrong_leaf_hash_and_a_long_body(db):
    statement = (
        "INSERT INTO audit_record (id, workspace, event, actor, correlation_id, body, leaf_hash) "
        "VALUES (gen_random_uuid(), gen_random_uuid(), 'e', 'a', 'c', %s, sha256(%s))"
    )
    with connection.cursor() as cursor:
        with pytest.raises(IntegrityError, match="audit_record_leaf_hash"):
            cursor.execute(statement, [b"{}", b"\x01{}"])
        with pytest.raises((IntegrityError, DataError), match="audit_record_length"):
            cursor.execute(statement, [b"x" * 65_536, b"\x00" + b"x" * 65_536])


def test_a_receipt_is_the_same_again_and_binds_record_log_and_time(db):
    workspace = uuid4()
    entry = trails.append(workspace, {"n": 1}, now=NOW)
    token = receipts.issue(entry)
    promised = verify.open_receipt(token, trails.evidence(trails.published(1)).keys)
    assert promised == (str(entry.id), str(workspace), entry.leaf_hash, "2026-11-23T01:02:03.456789Z")
    assert receipts.reissue(entry.id) == token
    other = trails.append(workspace, {"n": 2})
    both = [other.id, entry.id, other.id]
    assert receipts.reissue_all(both) == [receipts.issue(other), token, receipts.issue(other)]
    with pytest.raises(Refusal, match="not_found"):
        receipts.reissue_all([entry.id, uuid4()])
    with pytest.raises(Refusal, match="not_found"):
        receipts.reissue(uuid4())


def test_no_receipt_is_issued_for_a_record_that_was_not_committed(db):
    workspace = uuid4()
    with transaction.atomic():
        entry = log.append(trails.EVENT, workspace=workspace, actor=trails.ACTOR, correlation_id="c", now=NOW)
        with pytest.raises(receipts.NotCommitted):
            receipts.issue(entry)
    assert receipts.issue(entry)
    with transaction.atomic():
        entry = log.append(trails.EVENT, workspace=workspace, actor=trails.ACTOR, correlation_id="c", now=NOW)
        trails.lose_commit()
    # No error so far: a block that ends is no proof.
    with pytest.raises(receipts.NotCommitted):
        receipts.issue(entry)
    connection.close()
    assert count(workspace) == 1


def test_every_changed_character_of_a_receipt_is_refused(db):
    workspace = trails.published(1)
    token = receipts.issue(trails.append(workspace))
    keys = trails.evidence(workspace).keys
    for at in range(0, len(token), 3):
        changed = token[:at] + ("A" if token[at] != "A" else "B") + token[at + 1 :]
        with pytest.raises(verify.NotVerified):
            verify.open_receipt(changed, keys)


def test_the_registry_of_events_refuses_bad_names_and_double_meanings():
    with pytest.raises(ValueError, match="no event"):
        events.register({"audit.NotAnEvent": "x"})
    with pytest.raises(ValueError, match="no event"):
        events.register({"audit.thing.done": ""})
    name, line = next(iter(events.EVENTS.items()))
    events.register({name: line})
    with pytest.raises(ValueError, match="twice"):
        events.register({name: "Something else."})
    assert events.registered()[name] == line
