"""Keys of agents: shown once, kept as a hash, scoped, expiring, rotated with overlap, revoked under a lock."""

import hashlib
import threading
import time
from datetime import timedelta

import pytest
from django.db import transaction
from django.test import Client

from audit.refusal import Refusal
from gateway import credentials
from gateway.models import Credential
from registry import bearer, memberships, pdp_credentials, tokens
from registry.authentication import Authentication
from registry.models import Membership, PdpCredential
from tests.gateway.stage import DURING, at_once, effects, fresh, query

_WAITING = """
SELECT 1 FROM pg_stat_activity
WHERE usename = 'placet_web' AND wait_event_type = 'Lock' AND query LIKE '%%gateway_decide%%'
"""

EXECUTOR = {"environment": "development", "agent": "steward", "correlation_id": "test"}


def test_a_key_is_kept_as_its_hash_alone(stage):
    key = stage.key()
    principal = credentials.authenticate(key)
    assert (principal.workspace, principal.environment, principal.agent) == (
        stage.workspace.pk,
        "development",
        "steward",
    )
    rows = query("SELECT prefix, hash FROM gateway_key WHERE credential_id = %s", principal.id)
    assert [(prefix, bytes(kept)) for prefix, kept in rows] == [(key[:13], hashlib.sha256(key.encode()).digest())]
    told = query("SELECT body FROM audit_record WHERE workspace = %s", stage.workspace.pk)
    assert not [body for (body,) in told if key.encode() in bytes(body)]


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (lambda key: "", "credential_malformed"),
        (lambda key: key[:-1], "credential_malformed"),
        (lambda key: key[:20] + ("A" if key[20] != "A" else "B") + key[21:], "credential_malformed"),
        (lambda key: key + " ", "credential_malformed"),
        (lambda key: "placet_" + "0" * 43 + bearer.checksum("0" * 43), "credential_unknown"),
    ],
)
def test_what_is_no_key_of_ours_is_refused(stage, change, code):
    with pytest.raises(Refusal) as refused:
        credentials.authenticate(change(stage.key()))
    assert (refused.value.status, refused.value.code) == (401, code)


def test_an_expired_key_is_refused(stage):
    key = stage.key()
    query("UPDATE gateway_key SET expires_at = now() WHERE prefix = %s", key[:13])
    assert refusal(key) == "credential_expired"


def test_a_revoked_credential_is_refused_for_good(stage):
    key = stage.key()
    row = Credential.objects.get(pk=credentials.authenticate(key).id)
    for _ in range(2):
        credentials.revoke(row, actor=stage.people["adam"], now=stage.now)
    assert refusal(key) == "credential_revoked"
    assert trail(row) == ["gateway.credential.created", "gateway.credential.revoked"]
    with pytest.raises(Refusal) as refused:
        rotate(stage, row)
    assert refused.value.code == "credential_not_rotatable"


def test_a_credential_whose_owner_has_left_is_refused(own_stage):
    own_stage.live()
    key = own_stage.key(owner="carol")
    member = Membership.objects.get(workspace=own_stage.workspace, person=own_stage.people["carol"])
    memberships.deactivate(member, actor=own_stage.people["adam"], **own_stage.build.how)
    assert refusal(key) == "credential_orphaned"


def test_after_a_rotation_both_keys_are_the_same_caller_until_the_overlap_ends(stage):
    old, value = stage.key(), fresh()
    row = Credential.objects.get(pk=credentials.authenticate(old).id)
    new = rotate(stage, row)
    first, second = credentials.authenticate(old), credentials.authenticate(new)
    assert first == second
    stage.call(first, "put", value, key=value)
    assert stage.call(second, "put", value, key=value).replayed
    rotate(stage, row, overlap=timedelta(0))
    assert refusal(old) == refusal(new) == "credential_expired"
    assert len(effects(value)) == 1


def test_the_last_use_is_written_at_most_once_a_minute(stage):
    key = stage.key()
    for _ in range(3):
        credentials.authenticate(key)
    written = query("SELECT last_used_at, xmin::text FROM gateway_key WHERE prefix = %s", key[:13])
    credentials.authenticate(key)
    assert query("SELECT last_used_at, xmin::text FROM gateway_key WHERE prefix = %s", key[:13]) == written
    assert written[0][0] is not None


@pytest.mark.parametrize(
    ("wrong", "code"),
    [
        ({"environment": "moon"}, "environment_unknown"),
        ({"scopes": []}, "scope_unknown"),
        ({"scopes": ["everything"]}, "scope_unknown"),
        ({"owner": "mallory"}, "owner_not_member"),
    ],
)
def test_a_credential_that_makes_no_sense_is_not_made(stage, wrong, code):
    with pytest.raises(Refusal) as refused:
        stage.key(**wrong)
    assert refused.value.code == code


@pytest.mark.parametrize("days", [-1, 0, 500])
def test_a_key_expires_in_the_future_and_not_too_late(stage, days):
    row = Credential.objects.get(pk=stage.agent().id)
    with pytest.raises(Refusal) as refused:
        rotate(stage, row, expires_at=stage.now + timedelta(days=days))
    assert refused.value.code == "expiry_out_of_range"


def test_the_executors_credential_is_stopped_not_revoked(stage):
    executor = credentials.executor_principal(stage.workspace.pk, **EXECUTOR, now=stage.now)
    with pytest.raises(Refusal) as refused:
        credentials.revoke(Credential.objects.get(pk=executor.id), actor=stage.people["adam"], now=stage.now)
    assert refused.value.code == "credential_not_revocable"


def test_the_executors_credential_is_made_once_and_on_record(stage):
    how = EXECUTOR | {"agent": fresh("agent"), "correlation_id": fresh("made"), "now": stage.now}
    made = at_once(*[lambda: credentials.executor_principal(stage.workspace.pk, **how)] * 4)
    assert len({principal.id for principal in made}) == 1
    rows = query("SELECT event, actor FROM audit_record WHERE correlation_id = %s", how["correlation_id"])
    assert rows == [("gateway.credential.created", "system:executor")]


def test_what_was_decided_before_a_revocation_finishes_and_nothing_is_decided_after(stage):
    principal, value, later = stage.agent(), fresh(), fresh()
    row = Credential.objects.get(pk=principal.id)
    DURING[value] = lambda: at_once(lambda: credentials.revoke(row, actor=stage.people["adam"], now=stage.now))
    before, after = stage.call(principal, "put", value), stage.call(principal, "put", later)
    assert (before.status, after.status, after.code) == ("finished", "denied", "credential_revoked")
    assert effects(later) == []


def test_a_call_that_waits_for_a_revocation_is_denied_though_its_policy_had_allowed_it(stage):
    principal, value = stage.agent(), fresh()
    row = Credential.objects.get(pk=principal.id)
    revoking = threading.Event()

    def revoke():
        with transaction.atomic():
            credentials.revoke(row, actor=stage.people["adam"], now=stage.now)
            revoking.set()
            until = time.monotonic() + 20
            while not query(_WAITING, using="web") and time.monotonic() < until:
                time.sleep(0.01)

    def call():
        revoking.wait(20)
        return stage.call(principal, "put", value)

    _, outcome = at_once(revoke, call)
    assert (outcome.status, outcome.code, effects(value)) == ("denied", "credential_revoked", [])


def test_calls_and_a_revocation_at_once_execute_what_they_allowed_and_nothing_else(stage):
    principal, value = stage.agent(), fresh()
    row = Credential.objects.get(pk=principal.id)
    revoke = lambda: credentials.revoke(row, actor=stage.people["adam"], now=stage.now)  # noqa: E731 - one of many steps
    *outcomes, _ = at_once(*[lambda: stage.call(principal, "put", value)] * 8, revoke)
    assert {(one.status, one.code) for one in outcomes} <= {("finished", ""), ("denied", "credential_revoked")}
    assert len(effects(value)) == len([one for one in outcomes if one.status == "finished"])


def refusal(key):
    with pytest.raises(Refusal) as refused:
        credentials.authenticate(key)
    return refused.value.code


def rotate(stage, row, **more):
    how = {"expires_at": stage.now + timedelta(days=2), "actor": stage.people["adam"], "now": stage.now}
    return credentials.rotate(row, **(how | more))


def trail(row):
    about = "convert_from(body, 'UTF8')::jsonb #>> '{subjects,credential}'"
    return [event for (event,) in query(f"SELECT event FROM audit_record WHERE {about} = %s ORDER BY id", str(row.pk))]


@pytest.fixture
def makers(stage):
    """Ways to come by a key that lets its holder act in production, each a function of the proof that is given."""
    production, how = stage.build.environment("production"), {"actor": stage.people["adam"], "now": stage.now}
    until = stage.now + timedelta(days=1)
    told = how | {"correlation_id": "test"}
    agent = {"environment": "production", "agent": "steward", "owner": stage.people["alice"], "scopes": ["tools:call"]}
    recent = Authentication(stage.now, ("password",), enrolled=False)
    row = credentials.create(stage.workspace, expires_at=until, proof=recent, **agent, **how)[0]
    point = PdpCredential.objects.filter(environment=production, revoked_at=None).first()
    point = point or pdp_credentials.create(production, name="opa", expires_at=until, proof=recent, **told)[0]
    return {
        "agent": lambda proof: credentials.create(stage.workspace, expires_at=until, proof=proof, **agent, **how),
        "agent again": lambda proof: credentials.rotate(row, expires_at=until, proof=proof, **how),
        "opa": lambda proof: pdp_credentials.create(production, name="opa", expires_at=until, proof=proof, **told),
        "opa again": lambda proof: pdp_credentials.rotate(point, expires_at=until, proof=proof, **told),
    }


@pytest.fixture
def confirmed(stage):
    """adam's role counts in production: a second admin stands behind it, as behind what `init` founds."""
    assert memberships.roles_of(stage.people["adam"], stage.workspace.pk, stage.build.environment("production"))


@pytest.mark.parametrize("way", ["agent", "agent again", "opa", "opa again"])
def test_a_key_for_production_is_made_only_by_who_has_just_proved_who_they_are(stage, confirmed, makers, way):
    def keys():
        return query("SELECT count(*) FROM gateway_key") + query("SELECT count(*) FROM registry_pdpkey")

    stale = Authentication(stage.now - timedelta(hours=2), ("password",), enrolled=False)
    unasked = Authentication(stage.now, ("password",), enrolled=True)  # has a second factor and did not give it
    before, recorded = keys(), len(query("SELECT 1 FROM audit_record WHERE workspace = %s", stage.workspace.pk))
    for proof in (None, stale, unasked):
        with pytest.raises(Refusal) as refused:
            makers[way](proof)
        assert (refused.value.status, refused.value.code) == (403, "step_up_required")
    assert keys() == before
    assert len(query("SELECT 1 FROM audit_record WHERE workspace = %s", stage.workspace.pk)) == recorded
    makers[way](Authentication(stage.now, ("password",), enrolled=False))
    assert keys() != before
    body = query(
        "SELECT convert_from(body, 'UTF8') FROM audit_record WHERE workspace = %s ORDER BY id DESC LIMIT 1",
        stage.workspace.pk,
    )[0][0]
    assert '"authenticated":{' in body


def test_a_command_line_token_makes_a_key_for_development_and_none_for_production(stage):
    """A stolen token of twelve hours must not become a key of four hundred days."""
    adam = stage.people["adam"]
    _, secret = tokens.create(adam, name="laptop", hours=1, actor=adam.actor, now=stage.now, correlation_id="test")
    client = Client(headers={"Authorization": f"Bearer {secret}"})
    body = {"workspace": stage.workspace.slug, "agent": "steward", "scopes": ["tools:call"]}
    body["expires_at"] = (stage.now + timedelta(days=1)).isoformat()
    answers = {
        place: client.post("/api/v1/credentials/", body | {"environment": place}, content_type="application/json")
        for place in ("development", "production")
    }
    assert {place: answer.status_code for place, answer in answers.items()} == {"development": 201, "production": 403}
    assert answers["production"].json()["code"] == "step_up_required"
