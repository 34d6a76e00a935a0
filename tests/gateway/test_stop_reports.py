"""A stop says what it came too late for: exactly that, and what became of it."""

import json
import threading

import pytest
from django.db import connections

from registry import stops
from tests.gateway.stage import DURING, TOOLS, effects, fresh, query


@pytest.fixture
def busy(own_stage):
    """A stage with a call in the middle of its work, and a function that lets it finish."""
    own_stage.live({name: TOOLS[name] for name in ("put", "look", "careful")})
    agent, value = own_stage.agent(), fresh()
    begun, free = threading.Event(), threading.Event()
    DURING[value] = lambda: (begun.set(), free.wait(30))
    outcomes = []

    def work():
        outcomes.append(own_stage.call(agent, "put", value))
        connections.close_all()

    thread = threading.Thread(target=work)
    thread.start()
    assert begun.wait(30)

    def finish():
        free.set()
        thread.join()
        return outcomes[0]

    yield own_stage, agent, finish
    free.set()
    thread.join()
    del DURING[value]


def stop(stage, scope, target):
    return stops.set(
        stage.workspace, scope=scope, target=target, reason="It runs wild.", by=stage.people["olga"], **stage.build.how
    )


def report(client, row):
    answer = client.get(f"/api/v1/stops/{row.pk}/report/")
    assert answer.status_code == 200, answer.content
    return answer.json()


@pytest.mark.parametrize(("scope", "target"), [("workspace", ""), ("agent", "steward"), ("tool", "put")])
def test_a_stop_names_the_call_that_was_under_way_and_later_how_it_ended(busy, client_for, scope, target):
    stage, agent, finish = busy
    client = client_for(stage.people["olga"])
    row = stop(stage, scope, target)
    now = report(client, row)
    assert (now["under_way"], now["still_acting"]) == (1, 1)
    assert [(one["name"], one["state"], one["finished_at"]) for one in now["calls"]] == [("put", "decided", None)]
    value = fresh()
    assert stage.call(agent, "put", value).code == "stopped"
    assert effects(value) == []
    assert finish().status == "finished"
    later = report(client, row)
    assert (later["under_way"], later["still_acting"], later["calls"][0]["state"]) == (1, 0, "completed")


def test_what_the_stop_is_not_about_is_not_in_its_report(busy, client_for):
    stage, agent, _ = busy
    row = stop(stage, "tool", "look")
    told = report(client_for(stage.people["olga"]), row)
    assert (told["under_way"], told["calls"], told["still_acting"]) == (0, [], 0)
    assert stage.call(agent, "look").code == "stopped"


def test_the_record_of_the_stop_tells_the_same_as_its_row(busy):
    stage, _, _ = busy
    parked = stage.call(stage.agent(), "careful")
    row = stop(stage, "workspace", "")
    body = query(
        "SELECT convert_from(body, 'UTF8')::jsonb #> '{data,reach}' FROM audit_record"
        " WHERE event = 'registry.stop.created' AND workspace = %s",
        stage.workspace.pk,
    )[0][0]
    told = json.loads(body) if isinstance(body, str) else body
    assert parked.status == "parked"
    assert told == row.reach
    assert (told["under_way"], told["holds"], len(told["calls"])) == (1, 1, 1)


def test_a_member_reads_the_report_and_a_stranger_learns_nothing(busy, client_for):
    stage, _, _ = busy
    path = f"/api/v1/stops/{stop(stage, 'agent', 'steward').pk}/report/"
    assert client_for(stage.people["alice"]).get(path).status_code == 200
    assert client_for(stage.people["mallory"]).get(path).status_code == 404
    assert client_for().get(path).status_code == 401


def test_the_page_lists_it_and_only_who_may_lift_is_offered_to(busy, client_for):
    stage, _, _ = busy
    row = stop(stage, "agent", "steward")
    path = f"/w/{stage.workspace.slug}/stops/{row.pk}/"
    olga, alice = (client_for(stage.people[name]).get(path).content.decode() for name in ("olga", "alice"))
    for shown in (olga, alice):
        assert "could still act" in shown and "It runs wild." in shown
    assert ("Lift the stop" in olga, "Lift the stop" in alice) == (True, False)


def test_a_wrong_form_loses_nothing_that_was_typed(own_stage, client_for):
    client = client_for(own_stage.people["olga"])
    path = f"/w/{own_stage.workspace.slug}/stops/"
    answer = client.post(path, {"scope": "agent", "target": "", "reason": "Typed with care."}, format="multipart")
    assert answer.status_code == 400
    assert "Typed with care." in answer.content.decode()
    assert query("SELECT count(*) FROM registry_stop WHERE workspace_id = %s", own_stage.workspace.pk) == [(0,)]
