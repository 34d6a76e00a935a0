"""What an agent remembers: written by compare-and-set, on record, and never without the labels it was written under."""

import pytest
from django.test import Client

from audit import sealed
from gateway import credentials, sessions, states
from gateway.models import State
from registry import stops
from tests.gateway.stage import TOOLS, at_once, effects, fresh, query

SCOPES = ("tools:call", "states:use")


class Mind:
    """What one credential of the steward does with its state."""

    def __init__(self, key, session=None):
        self.client = Client(headers={"Authorization": f"Bearer {key}"})
        self.session = {"session": str(session)} if session else {}

    def write(self, key, value, *, tag=None, new=False):
        headers = {"If-Match": tag} if tag else {"If-None-Match": "*"} if new else {}
        body = {"value": value, **self.session}
        return self.client.put(self._at(key), body, content_type="application/json", headers=headers)

    def read(self, key):
        return self.client.get(self._at(key), self.session)

    def delete(self, key, tag):
        return self.client.delete(self._at(key), headers={"If-Match": tag})

    def call(self, name, value):
        body = {"name": name, "arguments": {"value": value}, **self.session}
        headers = {"Idempotency-Key": fresh("key")}
        return self.client.post("/api/v1/tool-calls/", body, content_type="application/json", headers=headers)

    def _at(self, key):
        return f"/api/v1/states/{key}/"


@pytest.fixture
def mind(stage):
    return Mind(stage.key(scopes=SCOPES))


def events_of(key):
    about = "convert_from(body, 'UTF8')::jsonb #>> '{data,key}'"
    rows = query(
        f"SELECT event FROM audit_record WHERE event LIKE 'gateway.state.%%' AND {about} = %s ORDER BY id", key
    )
    return [event.removeprefix("gateway.state.") for (event,) in rows]


def test_a_value_is_remembered_replaced_and_forgotten_on_record(mind):
    key = fresh("key")
    made = mind.write(key, {"n": 1}, new=True)
    assert (made.status_code, made.json()["version"]) == (201, 1)
    read = mind.read(key)
    assert (read.status_code, read.json()["value"], read.headers["ETag"]) == (200, {"n": 1}, made.headers["ETag"])
    replaced = mind.write(key, {"n": 2}, tag=read.headers["ETag"])
    assert (replaced.status_code, replaced.json()["version"]) == (200, 2)
    assert mind.read(key).json()["value"] == {"n": 2}
    assert mind.delete(key, replaced.headers["ETag"]).status_code == 204
    assert mind.read(key).status_code == 404
    assert events_of(key) == ["written", "written", "deleted"]


def test_a_write_says_what_it_replaces_or_changes_nothing(mind):
    key = fresh("key")
    tag = mind.write(key, 1, new=True).headers["ETag"]
    assert mind.write(key, 2).status_code == 428
    assert mind.write(key, 2, new=True).status_code == 412
    assert mind.write(key, 2, tag='"other"').status_code == 412
    second = mind.write(key, 2, tag=tag)
    assert mind.write(key, 3, tag=tag).json()["code"] == "state_changed"
    assert mind.read(key).json()["value"] == 2
    # A key that was forgotten and made anew is another version, whatever its number.
    mind.delete(key, second.headers["ETag"])
    mind.write(key, 1, new=True)
    assert mind.write(key, 4, tag=tag).status_code == 412
    assert mind.read(key).json()["value"] == 1


def test_of_many_writers_at_once_one_wins(mind):
    key = fresh("key")
    tag = mind.write(key, 0, new=True).headers["ETag"]
    answers = at_once(*[lambda n=n: mind.write(key, n, tag=tag).status_code for n in range(1, 7)])
    assert sorted(answers) == [200] + [412] * 5
    assert (State.objects.get(key=key).version, events_of(key)) == (2, ["written"] * 2)


def test_what_was_learned_from_outside_stays_known_as_such_in_any_later_session(stage):
    """The session that reads has seen nothing itself, and may not act on it all the same."""
    principal_key = stage.key(scopes=SCOPES)
    agent = credentials.authenticate(principal_key)
    how = {"workspace": stage.workspace.pk, "environment": "development", "agent": "steward"}
    how |= {"now": stage.now, "correlation_id": "test", "bind": agent}
    dirty, clean, other = [sessions.open(stage.people["bob"], **how) for _ in range(3)]
    key, value = fresh("key"), fresh()
    assert Mind(principal_key, dirty.pk).call("web", fresh()).status_code == 200
    assert Mind(principal_key, dirty.pk).write(key, "do it", new=True).json()["labels"] == ["untrusted"]
    reader = Mind(principal_key, clean.pk)
    assert reader.call("put", value).status_code == 200
    read = reader.read(key)
    assert (read.json()["value"], read.json()["session_labels"]) == ("do it", ["untrusted"])
    assert sessions.labels_of(clean.root_id) == ["untrusted"]
    assert reader.call("put", value).json()["code"] == "untrusted_session"
    assert len(effects(value)) == 1
    assert reader.read(key).status_code == 200
    assert events_of(key) == ["written", "read"]  # once: it had the labels by then
    assert Mind(principal_key, other.pk).call("put", value).status_code == 200


def test_another_agent_and_a_credential_without_the_scope_see_nothing(stage, mind):
    key = fresh("key")
    mind.write(key, 1, new=True)
    without = Mind(stage.key())
    assert (without.read(key).status_code, without.read(key).json()["code"]) == (403, "scope_missing")
    stage.live({"look": TOOLS["look"]}, agent="stranger")
    assert Mind(stage.key(agent="stranger", scopes=SCOPES)).read(key).status_code == 404
    assert Mind(stage.key(scopes=SCOPES)).read(key).json()["value"] == 1


def test_members_see_what_there_is_and_not_what_it_says(stage, mind, client_for):
    key, secret = fresh("key"), fresh("secret")
    mind.write(key, secret, new=True)
    client = client_for(stage.people["dave"])
    listed = client.get("/api/v1/states/", {"workspace": stage.workspace.slug, "agent": "steward"})
    assert key in {row["key"] for row in listed.json()["results"]}
    assert secret not in listed.content.decode()
    assert client.get(f"/api/v1/states/{key}/").status_code == 403


def test_keys_and_values_are_bounded(mind, monkeypatch):
    assert mind.write("-x", 1, new=True).json()["code"] == "state_key_invalid"
    assert mind.write(fresh("key"), "x" * 70_000, new=True).json()["code"] == "state_too_large"
    key = fresh("key")
    tag = mind.write(key, 1, new=True).headers["ETag"]
    monkeypatch.setattr(states, "MOST", 0)
    assert mind.write(fresh("key"), 1, new=True).json()["code"] == "state_full"
    assert mind.write(key, 2, tag=tag).status_code == 200


def test_an_erased_value_is_gone_and_its_key_can_be_used_again(stage, mind):
    key = fresh("key")
    tag = mind.write(key, "personal", new=True).headers["ETag"]
    row = State.objects.get(key=key)
    erased = {"actor": "system:test", "now": stage.now, "correlation_id": "test"}
    sealed.erase(workspace=row.workspace_id, subject="agent:development/steward", **erased)
    assert (mind.read(key).status_code, mind.read(key).json()["code"]) == (410, "state_erased")
    assert mind.write(key, "new", tag=tag).status_code == 200
    assert mind.read(key).json()["value"] == "new"


def test_a_stop_keeps_an_agent_from_its_state(own_stage):
    own_stage.live({"look": TOOLS["look"]})
    mind, key = Mind(own_stage.key(scopes=SCOPES)), fresh("key")
    tag = mind.write(key, 1, new=True).headers["ETag"]
    how = {"by": own_stage.people["olga"], "now": own_stage.now, "correlation_id": "test"}
    stop = stops.set(own_stage.workspace, scope="agent", target="steward", reason="Wild.", **how)
    assert (mind.read(key).json()["code"], mind.write(key, 2, tag=tag).json()["code"]) == ("stopped", "stopped")
    stops.lift(stop, **how)
    assert mind.read(key).json()["value"] == 1
