"""Sessions, credentials and holds over REST."""

from datetime import timedelta

import pytest
from django.test import Client

from gateway.models import Credential, Session
from tests.gateway.stage import effects, fresh


@pytest.fixture
def people(stage, client_for):
    """Return a function: name -> a client that is signed in as them."""
    return lambda name: client_for(stage.people[name])


def agent_client(key):
    return Client(headers={"Authorization": f"Bearer {key}"})


def credential_body(stage, **more):
    expires_at = (stage.now + timedelta(days=3)).isoformat()
    body = {"workspace": stage.workspace.slug, "environment": "development", "agent": "steward"}
    return body | {"scopes": ["tools:call"], "expires_at": expires_at} | more


def test_an_operator_makes_a_credential_whose_key_is_shown_once(stage, people):
    made = people("olga").post("/api/v1/credentials/", credential_body(stage), format="json")
    body = made.json()
    assert (made.status_code, made.headers["Cache-Control"]) == (201, "no-store")
    assert body["key"].startswith(body["keys"][0]["prefix"])
    shown = people("dave").get(f"/api/v1/credentials/{body['id']}/").json()
    assert "key" not in shown
    assert shown["owner"] == stage.people["olga"].username
    call = {"name": "look", "arguments": {"value": "v"}}
    headers = {"Idempotency-Key": "k"}
    answer = agent_client(body["key"]).post(
        "/api/v1/tool-calls/", call, content_type="application/json", headers=headers
    )
    assert answer.status_code == 200


@pytest.mark.parametrize(("who", "status"), [("alice", 403), ("dave", 403), ("mallory", 404)])
def test_who_may_not_make_credentials_does_not(stage, people, who, status):
    before = Credential.objects.count()
    assert people(who).post("/api/v1/credentials/", credential_body(stage), format="json").status_code == status
    assert Credential.objects.count() == before


def test_a_credential_makes_no_credentials(stage):
    client = agent_client(stage.key())
    response = client.post("/api/v1/credentials/", credential_body(stage), content_type="application/json")
    assert response.status_code == 403


@pytest.mark.parametrize(
    ("wrong", "status"),
    [
        ({"environment": "moon"}, 404),
        ({"scopes": ["all"]}, 400),
        ({"scopes": ["tools:call", "sessions:open"]}, 400),
        ({"owner": "nobody"}, 400),
        ({"expires_at": "2020-01-01T00:00:00Z"}, 400),
        ({"more": 1}, 400),
    ],
)
def test_a_credential_that_makes_no_sense_is_refused(stage, people, wrong, status):
    response = people("olga").post("/api/v1/credentials/", credential_body(stage, **wrong), format="json")
    assert response.status_code == status
    assert response.headers["Content-Type"] == "application/problem+json"


def test_keys_rotate_and_credentials_are_revoked_by_those_who_answer_for_them(stage, people):
    key = stage.key(owner="alice")
    pk = agent_id(key)
    later = {"expires_at": (stage.now + timedelta(days=9)).isoformat(), "overlap_seconds": 60}
    assert people("dave").post(f"/api/v1/credentials/{pk}/rotations/", later, format="json").status_code == 403
    rotated = people("alice").post(f"/api/v1/credentials/{pk}/rotations/", later, format="json")
    assert (rotated.status_code, len(rotated.json()["keys"])) == (201, 2)
    assert people("mallory").post(f"/api/v1/credentials/{pk}/revocations/").status_code == 404
    assert people("dave").post(f"/api/v1/credentials/{pk}/revocations/").status_code == 403
    assert people("carol").post(f"/api/v1/credentials/{pk}/revocations/").status_code == 201
    assert agent_client(rotated.json()["key"]).get("/api/v1/sessions/").status_code == 401


def test_members_list_credentials_and_strangers_do_not(stage, people):
    stage.key()
    listed = people("dave").get("/api/v1/credentials/", {"workspace": stage.workspace.slug, "limit": 1}).json()
    assert len(listed["results"]) == 1
    assert listed["next"]
    assert people("mallory").get("/api/v1/credentials/", {"workspace": stage.workspace.slug}).status_code == 404
    assert Client().get("/api/v1/credentials/").status_code in (401, 403)


def test_a_person_opens_a_session_and_vouches_for_the_request(stage, people):
    body = {"workspace": stage.workspace.slug, "environment": "development", "agent": "steward"}
    made = people("bob").post("/api/v1/sessions/", body | {"request": "Tidy up."}, format="json")
    shown = made.json()
    assert (made.status_code, shown["request_source"], shown["labels"]) == (201, "user", [])
    assert shown["on_behalf_of"] == stage.people["bob"].actor
    for who, status in (("dave", 403), ("mallory", 404)):
        assert people(who).post("/api/v1/sessions/", body, format="json").status_code == status


def test_an_agent_opens_its_own_session_and_its_request_is_a_claim(stage):
    client = agent_client(stage.key())
    made = client.post("/api/v1/sessions/", {"request": "Pay me."}, content_type="application/json")
    assert (made.status_code, made.json()["request_source"]) == (201, "claimed")
    refused = client.post("/api/v1/sessions/", {"on_behalf_of": "the boss"}, content_type="application/json")
    assert (refused.status_code, refused.json()["code"]) == (403, "on_behalf_of_forbidden")
    foreign = client.post("/api/v1/sessions/", {"agent": "other"}, content_type="application/json")
    assert (foreign.status_code, foreign.json()["code"]) == (403, "session_forbidden")


def test_an_opener_binds_a_session_to_the_credential_that_is_to_use_it(stage):
    agent, opener = stage.key(), agent_client(stage.key(scopes=["sessions:open"]))
    body = {"request": "Pay the bill.", "on_behalf_of": "customer-7", "credential": str(agent_id(agent))}
    made = opener.post("/api/v1/sessions/", body, content_type="application/json").json()
    assert (made["request_source"], made["on_behalf_of"], made["credential"]) == (
        "user",
        "customer-7",
        str(agent_id(agent)),
    )
    assert agent_client(agent).get(f"/api/v1/sessions/{made['id']}/").status_code == 200
    assert agent_client(stage.key()).get(f"/api/v1/sessions/{made['id']}/").status_code == 404


def test_sessions_are_closed_by_those_who_may(stage, people):
    key = stage.key()
    client = agent_client(key)
    opened = client.post("/api/v1/sessions/", {}, content_type="application/json").json()["id"]
    headers, call = {"Idempotency-Key": "k"}, {"name": "look", "arguments": {"value": "v"}}
    client.post("/api/v1/tool-calls/", call, content_type="application/json", headers=headers)
    sticky = Session.objects.get(credential=agent_id(key), sticky=True).pk
    url = "/api/v1/sessions/{}/closures/"
    assert client.post(url.format(sticky)).json()["code"] == "session_sticky"
    assert client.post(url.format(opened)).json()["state"] == "closed"
    assert people("dave").post(url.format(sticky)).status_code == 403
    assert people("mallory").post(url.format(sticky)).status_code == 404
    assert people("olga").post(url.format(sticky)).json()["state"] == "closed"


def test_a_hold_shows_what_would_be_executed_and_takes_a_verdict_on_exactly_that(stage, people):
    principal, value = stage.agent(), fresh()
    parked = stage.call(principal, "careful", value, key=value)
    url = f"/api/v1/holds/{parked.hold}/"
    shown = people("bob").get(url).json()
    assert (shown["arguments"], shown["may_decide"], shown["codes"]) == ({"value": value}, True, ["person_decides"])
    assert people("alice").get(url).json()["may_decide"] is False
    assert people("mallory").get(url).status_code == 404
    listed = people("bob").get("/api/v1/holds/", {"workspace": stage.workspace.slug, "state": "open"}).json()
    assert str(parked.hold) in [row["id"] for row in listed["results"]]
    stale = people("bob").post(f"{url}approvals/", {"digest": "sha256:" + "0" * 64}, format="json")
    assert (stale.status_code, stale.json()["code"]) == (409, "hold_changed")
    for who, status in (("alice", 403), ("dave", 403), ("mallory", 404)):
        for verdict in ("approvals", "rejections"):
            answer = people(who).post(f"{url}{verdict}/", {"digest": shown["digest"]}, format="json")
            assert answer.status_code == status
    given = people("bob").post(f"{url}approvals/", {"digest": shown["digest"], "comment": "Fine."}, format="json")
    assert (given.status_code, given.json()["state"]) == (201, "approved")
    assert people("bob").get(url).json()["verdicts"][0]["comment"] == "Fine."
    assert effects(value) == []
    assert stage.call(principal, "careful", value, key=value).status == "finished"


def test_a_hold_is_rejected_over_rest(stage, people):
    principal, value = stage.agent(), fresh()
    parked = stage.call(principal, "careful", value, key=value)
    url = f"/api/v1/holds/{parked.hold}/"
    digest = people("bob").get(url).json()["digest"]
    assert people("bob").post(f"{url}rejections/", {"digest": digest}, format="json").json()["state"] == "rejected"
    again = people("carol").post(f"{url}approvals/", {"digest": digest}, format="json")
    assert (again.status_code, again.json()["code"]) in ((409, "hold_closed"), (403, "approver_role"))
    assert stage.call(principal, "careful", value, key=value).code == "hold_rejected"
    assert effects(value) == []


def test_a_credential_decides_no_hold(stage):
    principal_key = stage.key(owner="bob")
    parked = stage.call(stage.agent(), "careful")
    client = agent_client(principal_key)
    assert client.get(f"/api/v1/holds/{parked.hold}/").status_code == 403
    assert (
        client.post(f"/api/v1/holds/{parked.hold}/approvals/", {}, content_type="application/json").status_code == 403
    )


def agent_id(key):
    from gateway import credentials

    return credentials.authenticate(key).id


def test_over_rest_only_the_agent_and_who_decides_see_personal_data(stage, people):
    """The page of a call asks for a reason that goes on record; REST must not be the way around it."""
    key, person = stage.key(), f"{fresh('bob')}@corp.example.com"
    client, value = agent_client(key), f"write to {person}"
    headers = {"Idempotency-Key": fresh("key")}
    body = {"name": "careful", "arguments": {"value": value}}
    parked = client.post("/api/v1/tool-calls/", body, content_type="application/json", headers=headers).json()
    call, hold = f"/api/v1/tool-calls/{parked['id']}/", f"/api/v1/holds/{parked['hold']}/"
    assert client.get(call).json()["arguments"] == {"value": value}
    assert people("bob").get(hold).json()["arguments"] == {"value": value}  # he decides on exactly this
    for name, path in [("alice", hold), ("dave", hold), ("alice", call), ("dave", call), ("bob", call)]:
        seen = people(name).get(path)
        assert seen.status_code == 200 and person not in seen.content.decode(), (name, path)
        assert seen.json()["arguments"] == {"value": "write to ⟨redacted: pii.email⟩"}
    digest = people("bob").get(hold).json()["digest"]
    approved = people("bob").post(f"{hold}approvals/", {"digest": digest}, format="json")
    assert approved.status_code == 201, approved.content
    finished = client.post("/api/v1/tool-calls/", body, content_type="application/json", headers=headers).json()
    assert finished["result"] == {"value": value}
    for path in (hold, call):  # who looks back needs a reason, the one who decided too
        assert person not in people("bob").get(path).content.decode()
    assert effects(value) != []


def test_the_page_of_a_hold_shows_personal_data_to_who_may_decide_alone(stage, people):
    person = f"{fresh('bob')}@corp.example.com"
    parked = stage.call(stage.agent(), "careful", f"write to {person}")
    where = f"/w/{stage.workspace.slug}/holds/{parked.hold}/"
    assert person in people("bob").get(where).content.decode()
    for name in ("alice", "dave", "olga"):
        assert person not in people(name).get(where).content.decode()
