"""The trail on its page: how far it reaches, what to keep, how to verify it."""

from audit import publisher, records, sequencer, verify
from tests.pages.reading import words


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
