"""The trail over REST: who may read it gets records, proofs, checkpoints, exports; nobody else learns anything."""

import base64
import json
from uuid import uuid4

import pytest

from audit import canonical, checkpoints, records, verify
from tests.audit import trails


@pytest.fixture
def log_id(workspace):
    """The workspace's log with some records of known kinds, all under a checkpoint."""
    for at in range(6):
        trails.append(workspace.pk, {"n": at}, correlation_id="call-7" if at % 2 else "call-8")
    trails.publish(workspace.pk)
    return workspace.pk


@pytest.fixture
def auditor(client_for, dave):
    return client_for(dave)


def addresses(workspace, log_id):
    record, checkpoint = records.newest(log_id)[-1].id, checkpoints.newest(log_id)[0].id
    return [
        f"/api/v1/records/?workspace={workspace.slug}",
        f"/api/v1/records/{record}/",
        f"/api/v1/records/{record}/proof/",
        f"/api/v1/checkpoints/?workspace={workspace.slug}",
        f"/api/v1/checkpoints/{checkpoint}/",
        f"/api/v1/checkpoints/{checkpoint}/consistency/?from=1",
        f"/api/v1/exports/?workspace={workspace.slug}",
        f"/log/{workspace.slug}/checkpoint",
        f"/log/{workspace.slug}/tile/0/000.p/3",
        f"/log/{workspace.slug}/tile/entries/000.p/3",
    ]


def test_an_auditor_reads_everything(auditor, workspace, log_id):
    for address in addresses(workspace, log_id):
        assert auditor.get(address).status_code == 200, address


def test_a_stranger_learns_nothing_and_a_member_without_the_role_is_told_so(
    client_for, mallory, alice, workspace, log_id
):
    for address in addresses(workspace, log_id):
        foreign, member, nobody = (client_for(who).get(address) for who in (mallory, alice, None))
        assert (foreign.status_code, foreign.json()["code"]) == (404, "not_found"), address
        assert (member.status_code, member.json()["code"]) == (403, "forbidden"), address
        assert nobody.status_code in (401, 403), address
    missing = client_for(mallory).get(f"/api/v1/records/{uuid4()}/").json()
    known = client_for(mallory).get(addresses(workspace, log_id)[1]).json()
    assert missing["detail"] == known["detail"]


def test_without_an_injected_permission_nobody_reads(auditor, workspace, log_id, settings):
    settings.PLACET_AUDIT_PERMISSION = None
    for address in addresses(workspace, log_id):
        assert auditor.get(address).status_code == 403, address


def test_records_are_listed_newest_first_page_by_page(auditor, workspace, log_id):
    found, address = [], f"/api/v1/records/?workspace={workspace.slug}&limit=2&event={trails.EVENT}"
    while address:
        page = auditor.get(address).json()
        assert len(page["results"]) <= 2
        found += [row["data"]["n"] for row in page["results"]]
        address = page["next"]
    assert found == [5, 4, 3, 2, 1, 0]


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ({"correlation_id": "call-7"}, [5, 3, 1]),
        ({"actor": trails.ACTOR}, [5, 4, 3, 2, 1, 0]),
        ({"actor": trails.ACTOR, "event": "audit.", "correlation_id": "call-8"}, [4, 2, 0]),
        ({"actor": trails.ACTOR, "event": "gateway."}, []),
        ({"actor": trails.ACTOR, "since": "2020-01-01T00:00:00Z"}, [5, 4, 3, 2, 1, 0]),
        ({"actor": trails.ACTOR, "until": "2020-01-01T00:00:00Z"}, []),
        ({"actor": trails.ACTOR, "since": "2999-01-01T00:00:00Z"}, []),
        ({"actor": trails.ACTOR, "since": "2020-01-01T00:00:00Z", "until": "2999-01-01T00:00:00Z"}, [5, 4, 3, 2, 1, 0]),
    ],
)
def test_records_are_narrowed_by_what_they_are(auditor, workspace, log_id, query, expected):
    page = auditor.get("/api/v1/records/", {"workspace": workspace.slug, **query}).json()
    assert [row["data"]["n"] for row in page["results"]] == expected


@pytest.mark.parametrize(
    ("query", "code"),
    [("limit=0", "invalid"), ("limit=201", "invalid"), ("cursor=!", "cursor_invalid"), ("since=yesterday", "invalid")],
)
def test_a_query_that_cannot_be_is_refused(auditor, workspace, log_id, query, code):
    answer = auditor.get(f"/api/v1/records/?workspace={workspace.slug}&{query}")
    assert (answer.status_code, answer.json()["code"]) == (400, code)


def test_a_record_is_shown_with_the_bytes_that_are_hashed(auditor, log_id):
    row = records.newest(log_id, event=trails.EVENT)[0]
    shown = auditor.get(f"/api/v1/records/{row.id}/").json()
    assert verify.leaf(shown["body"].encode()).hex() == shown["leaf_hash"]
    body = json.loads(shown["body"])
    assert {name: shown[name] for name in ("id", "event", "actor", "correlation_id", "at", "subjects", "data")} == {
        name: body[name] for name in ("id", "event", "actor", "correlation_id", "at", "subjects", "data")
    }
    assert shown["index"] == row.index
    pending = trails.append(log_id)
    assert auditor.get(f"/api/v1/records/{pending.id}/").json()["index"] is None


def test_proofs_over_rest_verify(auditor, log_id):
    row = records.newest(log_id, event=trails.EVENT)[0]
    shown = auditor.get(f"/api/v1/records/{row.id}/proof/").json()
    held = trails.evidence(log_id)
    checkpoint = verify.open_checkpoint(shown["checkpoint"], held.keys)
    path = [base64.b64decode(one) for one in shown["path"]]
    leaf_hash = base64.b64decode(shown["leaf_hash"])
    assert leaf_hash == row.leaf_hash
    assert verify.included(leaf_hash, shown["index"], checkpoint.size, path, checkpoint.root)
    assert shown["tlog_proof"].startswith(f"c2sp.org/tlog-proof@v1\nindex {shown['index']}\n")
    assert shown["tlog_proof"].endswith("\n\n" + shown["checkpoint"])

    trails.published(3, log_id)
    newest, older = checkpoints.newest(log_id)[:2]
    shown = auditor.get(f"/api/v1/checkpoints/{newest.id}/consistency/?from={older.size}").json()
    proof = [base64.b64decode(one) for one in shown["proof"]]
    assert (shown["from"], shown["to"]) == (older.size, newest.size)
    assert verify.consistent(older.size, older.root, newest.size, newest.root, proof)
    again = auditor.get(f"/api/v1/records/{row.id}/proof/?size={older.size}").json()
    assert again["checkpoint"] == older.note


def test_what_is_not_yet_proven_says_so(auditor, log_id):
    pending = trails.append(log_id)
    answer = auditor.get(f"/api/v1/records/{pending.id}/proof/")
    assert (answer.status_code, answer.json()["code"]) == (409, "not_integrated")
    newest = checkpoints.newest(log_id)[0]
    answer = auditor.get(f"/api/v1/checkpoints/{newest.id}/consistency/?from={newest.size + 1}")
    assert (answer.status_code, answer.json()["code"]) == (400, "size_out_of_range")


def test_an_export_is_a_record_and_its_content_verifies(auditor, dave, workspace, log_id):
    held = trails.evidence(log_id, checkpoints.newest(log_id)[0].note)
    trails.published(4, log_id)
    made = auditor.post("/api/v1/exports/", {"workspace": workspace.slug})
    assert made.status_code == 201
    shown = made.json()
    row = records.get(shown["id"])
    assert (row.event, row.actor) == ("audit.export.created", f"person:{dave.pk}")
    assert auditor.get(made.headers["Location"]).json() == shown
    answer = auditor.get(shown["content"], headers={"accept": "application/x-ndjson"})
    content = b"".join(answer.streaming_content)
    assert answer.headers["Content-Type"] == "application/x-ndjson"
    report = verify.verify_export(trails.file(content), held)
    assert (report.complete, report.records) == (True, shown["size"])
    downloaded = records.newest(log_id)[0]
    assert (downloaded.event, downloaded.body["subjects"]) == ("audit.export.downloaded", {"export": shown["id"]})
    # The same export, fetched later, is the same.
    trails.published(2, log_id)
    assert b"".join(auditor.get(shown["content"]).streaming_content) == content
    listed = auditor.get(f"/api/v1/exports/?workspace={workspace.slug}").json()["results"]
    assert [one["id"] for one in listed] == [shown["id"]]


def test_an_excerpt_over_rest_is_narrowed_and_proven(auditor, workspace, log_id):
    old = checkpoints.newest(log_id)[0]
    trails.published(2, log_id)
    picked = [str(row.id) for row in records.newest(log_id, event=trails.EVENT)[:2]]
    for narrowed, count in (
        ({"correlation_id": "call-7"}, 3),
        ({"records": picked}, 2),
        ({"event": "nothing.at.all"}, 0),
    ):
        body = {"workspace": workspace.slug, "since": [old.size], **narrowed}
        shown = auditor.post("/api/v1/exports/", body).json()
        content = b"".join(auditor.get(shown["content"]).streaming_content)
        report = verify.verify_export(trails.file(content), trails.evidence(log_id, old.note))
        assert (report.kind, report.records) == ("excerpt", count)


def test_only_those_who_may_export_do(client_for, auditor, workspace, log_id, olga, alice, mallory):
    """An operator reads the trail and may not take it away."""
    shown = auditor.post("/api/v1/exports/", {"workspace": workspace.slug}).json()
    before = len(records.newest(log_id, event="audit.export.created"))
    assert client_for(olga).get(f"/api/v1/records/?workspace={workspace.slug}").status_code == 200
    for person, status in ((olga, 403), (alice, 403), (mallory, 404)):
        client = client_for(person)
        assert client.post("/api/v1/exports/", {"workspace": workspace.slug}).status_code == status
        assert client.get(shown["content"]).status_code == status
        assert client.get(f"/api/v1/exports/{shown['id']}/").status_code == status
    assert len(records.newest(log_id, event="audit.export.created")) == before
    assert records.newest(log_id, event="audit.export.downloaded") == []


def test_a_record_that_is_no_export_has_no_content(auditor, log_id):
    row = records.newest(log_id, event=trails.EVENT)[0]
    assert auditor.get(f"/api/v1/exports/{row.id}/content/").status_code == 404


def test_an_export_before_the_first_checkpoint_is_refused(auditor, workspace):
    answer = auditor.post("/api/v1/exports/", {"workspace": workspace.slug})
    assert (answer.status_code, answer.json()["code"]) == (409, "no_checkpoint")
    assert auditor.get(f"/log/{workspace.slug}/checkpoint").status_code == 404


def test_tiles_that_are_not_there_are_not_found(auditor, workspace, log_id):
    trails.published(300, log_id)
    size = checkpoints.newest(log_id)[0].size
    root = f"/log/{workspace.slug}/tile"
    assert len(auditor.get(f"{root}/0/000").content) == 8192
    assert len(auditor.get(f"{root}/0/001.p/{size - 256}").content) == (size - 256) * 32
    assert len(auditor.get(f"{root}/1/000.p/1").content) == 32
    for place in (
        "0/001",
        f"0/001.p/{size - 255}",
        "0/000.p/256",
        "0/000.p/0",
        "0/000.p/01",
        "0/0",
        "0/x000/000",
        "0/002",
        "00/000",
        "64/000",
        "1/000",
        "2/000.p/1",
        "entries/001",
        "entries/002.p/1",
        "entries/x999/x999/x999/x999/x999/x999/999",
        "0/x999/x999/x999/x999/x999/x999/999",
    ):
        assert auditor.get(f"{root}/{place}").status_code == 404, place


def test_the_log_is_reached_by_id_as_its_origin_says(auditor, log_id):
    origin = verify.open_checkpoint(checkpoints.newest(log_id)[0].note, trails.evidence(log_id).keys).origin
    address = origin.split("/", 1)[1]
    answer = auditor.get(f"/{address}/checkpoint", headers={"accept": "text/plain"})
    assert (answer.status_code, answer.headers["Content-Type"]) == (200, "text/plain; charset=utf-8")
    assert answer.content.decode() == checkpoints.newest(log_id)[0].note


def test_canonical_bodies_survive_the_way_over_json(auditor, log_id):
    entry = trails.append(log_id, {"text": '\u2028 žluť \U0001f600 \\ " \n \u007f', "key \u00e9": 1})
    shown = auditor.get(f"/api/v1/records/{entry.id}/").json()
    assert shown["body"].encode() == entry.body == canonical.dumps(json.loads(shown["body"]))
