"""The trail on its page: how far it reaches, what to keep, how to verify it."""

import io
from datetime import UTC, datetime

from audit import halts, jobs, publisher, records, sequencer, verify
from tests.audit import trails
from tests.pages.reading import actions, words


def integrate(workspace):
    sequencer.drain(workspace.pk, using="sequencer")
    publisher.publish(workspace.pk, using="publisher")


def test_an_auditor_sees_size_checkpoint_and_the_commands_to_verify(visitor, people, workspace):
    waiting = words(visitor(people["dave"]).get(f"/w/{workspace.slug}/trail/"))
    assert "Last checkpoint none yet" in waiting and "pending" in waiting
    integrate(workspace)
    answer = visitor(people["dave"]).get(f"/w/{workspace.slug}/trail/")
    state, text = records.state(workspace.pk), words(answer)
    assert f"Records in the tree {state.size} Waiting for the sequencer 0 Last checkpoint {state.size}" in text
    assert f"export_trail {workspace.pk} -o trail.ndjson" in text and f"--key '{state.key}'" in text
    assert state.checkpoint.note.split("\n")[0] in text
    assert verify.read_key(state.key)


def test_who_may_not_read_the_trail_is_told_which_role_it_needs(visitor, people, workspace):
    refused = visitor(people["bob"]).get(f"/w/{workspace.slug}/trail/")
    assert refused.status_code == 403
    assert "This needs the role admin or auditor or operator or security" in words(refused)
    record = records.newest(workspace.pk, limit=1)[0]
    assert visitor(people["bob"]).get(f"/w/{workspace.slug}/trail/{record.id}/").status_code == 403
    assert visitor(people["dave"]).get(f"/w/{workspace.slug}/trail/{record.id}/").status_code == 200


def test_a_record_is_shown_with_what_its_leaf_hash_covers_and_its_proof(visitor, people, workspace):
    record = records.newest(workspace.pk, event="registry.workspace.created")[0]
    there = f"/w/{workspace.slug}/trail/{record.id}/"
    assert "The log has no checkpoint yet" in words(visitor(people["dave"]).get(there))
    integrate(workspace)
    text = words(visitor(people["dave"]).get(there))
    assert record.leaf_hash.hex() in text and "c2sp.org/tlog-proof@v1 index 0" in text
    assert '"reviewed" : false' in text


def test_a_record_of_another_workspace_is_not_found(visitor, people, workspace, steward):
    foreign = records.newest(steward.workspace.pk, limit=1)[0]
    assert visitor(people["dave"]).get(f"/w/{workspace.slug}/trail/{foreign.id}/").status_code == 404


def test_records_are_filtered_by_event_and_correlation(visitor, people, workspace):
    dave, where = visitor(people["dave"]), f"/w/{workspace.slug}/trail/"
    table = words(dave.get(f"{where}?event=registry.grant.")).split("Leaf hash")[1]
    assert "registry.grant.created" in table and "registry.workspace.created" not in table
    assert "No record fits." in words(dave.get(f"{where}?correlation_id=nothing"))


def work():
    jobs.work(lambda: datetime.now(UTC), using="worker")


def test_an_auditor_exports_the_trail_from_the_page_and_verifies_what_comes(visitor, people, workspace):
    integrate(workspace)
    dave, there = visitor(people["dave"]), f"/w/{workspace.slug}/trail/"
    asked = dave.post(f"{there}exports/", {"format": "ndjson", "first": "0"})
    assert asked.status_code == 302
    place = asked.headers["Location"]
    assert "It waits for a worker" in words(dave.get(place))
    assert dave.get(f"{place}content/").status_code == 409
    work()
    text = words(dave.get(place))
    assert "done" in text and "SHA-256 of the file" in text and "python verify.py trail-" in text
    raw = b"".join(dave.get(f"{place}content/").streaming_content)
    evidence = verify.Evidence(keys=publisher.pinned(workspace.pk))
    assert verify.verify_export(io.BytesIO(raw), evidence).records == records.state(workspace.pk).checkpoint.size
    assert "audit.export.downloaded" in words(dave.get(f"{there}?event=audit."))


def test_who_may_read_the_trail_but_not_export_it_sees_no_form_and_is_refused(visitor, people, workspace):
    integrate(workspace)
    olga, there = visitor(people["olga"]), f"/w/{workspace.slug}/trail/"
    assert f"{there}exports/" not in actions(olga.get(there))
    mark = records.newest(workspace.pk, limit=1)[0].id
    assert olga.post(f"{there}exports/", {"format": "ndjson"}).status_code == 403
    assert records.newest(workspace.pk, limit=1)[0].id == mark


def test_a_wrong_order_is_refused_on_the_page_and_keeps_what_was_typed(visitor, people, workspace):
    integrate(workspace)
    there = f"/w/{workspace.slug}/trail/exports/"
    answer = visitor(people["dave"]).post(there, {"format": "csv", "first": "many", "event": "registry."})
    assert answer.status_code == 400 and "first_out_of_range" in words(answer)
    assert 'value="registry."' in answer.content.decode() and 'value="many"' in answer.content.decode()


def test_a_record_is_verified_here_and_a_changed_one_is_not(visitor, people, workspace):
    integrate(workspace)
    dave = visitor(people["dave"])
    record = records.newest(workspace.pk, event="registry.workspace.created")[0]
    there = f"/w/{workspace.slug}/trail/{record.id}/?verify=here"
    text = words(dave.get(there))
    assert "This record is in the log that the checkpoint of" in text and "Not so:" not in text
    assert "It is this server's word about itself" in text
    with trails.superuser() as owner:
        owner.execute("ALTER TABLE audit_leaf DISABLE TRIGGER ALL")
        owner.execute("UPDATE audit_leaf SET leaf_hash = sha256('x') WHERE record = %s", [record.id])
        owner.execute("ALTER TABLE audit_leaf ENABLE ALWAYS TRIGGER audit_leaf_append_only")
    text = words(dave.get(there))
    assert "This does not verify." in text and "Not so: The leaf at index" in text


def test_a_check_asked_for_on_the_page_says_whether_the_log_is_whole(visitor, people, workspace):
    integrate(workspace)
    olga, there = visitor(people["olga"]), f"/w/{workspace.slug}/trail/"
    assert "Checked from the source rows not yet" in words(olga.get(there))
    assert olga.post(f"{there}inspections/").status_code == 302
    assert "A check waits for a worker, asked for by Olga" in words(olga.get(there))
    work()
    assert "Checked from the source rows whole" in words(olga.get(there))
    with trails.superuser() as owner:
        owner.execute("ALTER TABLE audit_tile DISABLE TRIGGER ALL")
        owner.execute("UPDATE audit_tile SET hashes = sha256('x') WHERE workspace = %s", [workspace.pk])
        owner.execute("ALTER TABLE audit_tile ENABLE ALWAYS TRIGGER audit_tile_append_only")
        owner.execute("ALTER TABLE audit_tile ENABLE ALWAYS TRIGGER audit_tile_grows")
    olga.post(f"{there}inspections/")
    work()
    text = words(olga.get(there))
    assert "The log is not whole" in text and "tile 0/0 is wrong" in text


def test_a_log_that_the_publisher_refuses_is_shown_as_such_until_it_is_signed_again(visitor, people, workspace):
    integrate(workspace)
    there = f"/w/{workspace.slug}/trail/"
    halts.keep({workspace.pk: ("tree_shrunk", "")}, [workspace.pk], using="publisher")
    text = words(visitor(people["dave"]).get(there))
    assert "The publisher signs nothing of this log: tree_shrunk." in text and "Tools of high risk are refused" in text
    integrate(workspace)
    assert "signs nothing" not in words(visitor(people["dave"]).get(there))


def test_only_the_part_that_moves_is_sent_again_and_only_when_it_moved(visitor, people, workspace):
    dave, there = visitor(people["dave"]), f"/w/{workspace.slug}/trail/"
    headers = {"HX-Request": "true", "HX-Target": "trail-state"}
    first = dave.get(there, headers=headers)
    assert b"<html" not in first.content and first.headers["Placet-Part"] == "trail-state"
    again = dave.get(there, headers=headers | {"If-None-Match": first.headers["ETag"]})
    assert again.status_code == 304
    integrate(workspace)
    assert dave.get(there, headers=headers | {"If-None-Match": first.headers["ETag"]}).status_code == 200
