"""What OPA servers log is compared with what we asked: a decision behind our back, or another one, is an alarm."""

import gzip
import json
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest
from django.db import connections
from django.test import Client

from audit import records
from gateway import decision_logs, gist, opa_log, pdp
from gateway.models import Alarm, Attempt, DecisionLog
from registry import pdp_credentials
from tests.gateway.stage import fresh, query
from tests.sidecar import Opa, served, wait

ALLOWED = {
    "allow": True,
    "layers": {"floor": True, "baseline": True, "release": True},
    "labels": [],
    "reasons": [],
    "obligations": [],
}


@pytest.fixture
def key(stage):
    """A key of the OPA servers of the development environment."""
    how = {"actor": stage.people["olga"], "now": stage.now, "correlation_id": "test"}
    until = stage.now + timedelta(days=1)
    return pdp_credentials.create(stage.build.environment(), name="opa", expires_at=until, **how)[1]


@pytest.fixture
def upload(stage, key):
    """Return a function: decisions -> the answer to an upload of them, as OPA packs it."""
    client = Client(headers={"Authorization": f"Bearer {key}", "Content-Encoding": "gzip"})
    path = f"/opa/logs/{stage.workspace.slug}/development"

    def send(*events, raw=None):
        body = gzip.compress(json.dumps(list(events)).encode() if raw is None else raw)
        return client.post(path, body, content_type="application/json")

    return send


@pytest.fixture
def asked(stage, agent):
    """Return a function: tool -> the attempt of a call that an OPA server decided, by its answer."""

    def call(name="look", said=ALLOWED):
        outcome = stage.call(agent, name)
        query(
            "UPDATE gateway_attempt SET decision_id = %s, gist = %s, log_state = 'expected' WHERE call_id = %s",
            fresh("decision"), gist.of_result(said), outcome.call,
        )  # fmt: skip
        return Attempt.objects.get(call=outcome.call)

    return call


def event(call=None, *, decision_id=None, result=ALLOWED, at=None, **more):
    """Return one decision as OPA's mask leaves it."""
    return {
        "labels": {"id": "opa-1", "version": "1.20.2"},
        "decision_id": decision_id or fresh("decision"),
        "bundles": {"placet": {"revision": "sha256:1"}},
        "path": "placet/decision",
        "input": {"call": {"id": str(call or uuid4()), "kind": "tool"}, "agent": {"name": "steward"}},
        "result": result,
        "timestamp": (at or datetime.now(UTC)).isoformat(),
        **more,
    }


def state(one):
    row = DecisionLog.objects.get(decision_id=one["decision_id"])
    return row.state, row.why


def alarms(stage, kind, since):
    return list(Alarm.objects.filter(workspace_id=stage.workspace.pk, kind=kind, at__gte=since))


@pytest.fixture
def since(stage):
    return query("SELECT clock_timestamp()")[0][0]


def test_a_log_of_what_we_asked_is_matched_and_kept_as_digests_alone(stage, asked, upload, since):
    attempt, secret = asked(), fresh("secret")
    one = event(attempt.call_id, decision_id=attempt.decision_id)
    one["input"]["call"]["arguments"] = {"value": secret}
    assert upload(one).status_code == 204
    assert state(one) == ("matched", "")
    attempt.refresh_from_db()
    assert attempt.log_state == "logged"
    assert alarms(stage, "bypassed", since) + alarms(stage, "mismatched", since) == []
    row = DecisionLog.objects.get(decision_id=attempt.decision_id)
    assert secret not in str([getattr(row, field.name) for field in row._meta.fields])
    assert (row.pdp, row.revision, row.allow) == ("opa-1", "sha256:1", True)


def test_a_decision_that_no_call_asked_for_is_an_alarm_with_a_record_a_count_and_a_row(
    stage, asked, upload, client_for, since
):
    unknown, attempt = event(), asked()
    elsewhere = event(attempt.call_id, path="placet/p_1/allow")
    nameless = event() | {"input": {}}
    before = _counted("bypassed")
    assert upload(unknown, elsewhere, nameless).status_code == 204
    assert [state(one) for one in (unknown, elsewhere, nameless)] == [
        ("bypassed", "call_unknown"),
        ("bypassed", "other_path"),
        ("bypassed", "call_missing"),
    ]
    (alarm,) = alarms(stage, "bypassed", since)
    assert (alarm.count, alarm.pdp, alarm.environment) == (3, "opa-1", "development")
    assert alarm.reasons == {"call_unknown": 1, "other_path": 1, "call_missing": 1}
    record = records.get(alarm.record)
    assert (record.event, record.body["data"]["count"]) == ("gateway.decision.bypassed", 3)
    assert _counted("bypassed") == before + 3
    listed = client_for(stage.people["dave"]).get("/api/v1/alarms/", {"workspace": stage.workspace.slug}).json()
    assert listed["results"][0]["id"] == str(alarm.pk)
    page = client_for(stage.people["olga"]).get(f"/w/{stage.workspace.slug}/settings/").content.decode()
    assert "call_unknown" in page


def test_the_same_upload_twice_is_one_alarm(stage, upload, since):
    one = event()
    for _ in range(2):
        assert upload(one, one).status_code == 204
    assert [alarm.count for alarm in alarms(stage, "bypassed", since)] == [1]


def test_a_call_of_another_workspace_or_environment_is_none(stage, asked, own_stage, since, now):
    attempt = asked()
    one = event(attempt.call_id, decision_id=attempt.decision_id)
    for place in (own_stage.build.environment(), stage.build.environment("staging")):
        assert decision_logs.receive(place, [one], now=now, correlation_id="test") == 1
        row = DecisionLog.objects.get(
            decision_id=one["decision_id"], environment=place.name, workspace_id=place.workspace_id
        )
        assert (row.state, row.why) == ("bypassed", "call_unknown")
    attempt.refresh_from_db()
    assert attempt.log_state == "expected"


def test_another_result_than_ours_is_an_alarm(stage, asked, upload, since):
    attempt = asked()
    denied = ALLOWED | {"allow": False, "reasons": [{"code": "no", "layer": "release"}]}
    one = event(attempt.call_id, decision_id=attempt.decision_id, result=denied)
    assert upload(one).status_code == 204
    assert state(one) == ("mismatched", "other_result")
    (alarm,) = alarms(stage, "mismatched", since)
    assert alarm.calls == [str(attempt.call_id)]


def test_a_second_ask_of_the_same_attempt_is_tolerated_and_an_allow_of_what_we_denied_is_not(
    stage, asked, upload, since
):
    allowed, denied = asked("look"), asked("forbidden", ALLOWED | {"allow": False})
    hedge = event(allowed.call_id)
    refused = event(denied.call_id, result=ALLOWED | {"allow": False, "labels": ["other"]})
    assert upload(hedge, refused).status_code == 204
    assert {state(hedge), state(refused)} == {("matched", "asked_again")}
    assert alarms(stage, "mismatched", since) == []
    tried = event(denied.call_id)
    assert upload(tried).status_code == 204
    assert state(tried) == ("mismatched", "denied_here")
    # A question under the name of a call that was decided long ago is nobody's second ask.
    later = event(allowed.call_id, at=datetime.now(UTC) + timedelta(minutes=5))
    assert upload(later).status_code == 204
    assert state(later)[0] == "waiting"
    _age("received_at", later)
    decision_logs.reconcile(now=datetime.now(UTC))
    assert state(later) == ("bypassed", "not_asked")


def test_an_answer_that_came_too_late_for_us_is_no_alarm(stage, asked, upload, since):
    attempt = asked("forbidden", None)
    query("UPDATE gateway_attempt SET code = 'pdp_timeout', decision_id = '', gist = '' WHERE id = %s", attempt.pk)
    one = event(attempt.call_id)
    assert upload(one).status_code == 204
    assert state(one) == ("matched", "asked_again")


def test_a_decision_whose_log_never_comes_is_an_alarm_once_and_a_late_log_still_counts(
    stage, asked, upload, since, settings
):
    attempts = [asked(), asked()]
    settings.PLACET_OPA_LOG_GRACE_SECONDS = 60
    decision_logs.reconcile(now=datetime.now(UTC))
    asked_for = {attempt.decision_id for attempt in attempts}
    assert not any(asked_for & set(alarm.decisions) for alarm in alarms(stage, "unlogged", since))
    ids = [attempt.pk for attempt in attempts]
    query("UPDATE gateway_attempt SET decided_at = decided_at - interval '2 minutes' WHERE id = ANY (%s)", ids)
    for _ in range(2):
        decision_logs.reconcile(now=datetime.now(UTC))
    (alarm,) = [one for one in alarms(stage, "unlogged", since) if asked_for & set(one.decisions)]
    assert asked_for <= set(alarm.decisions)
    assert records.get(alarm.record).event == "gateway.decision.unlogged"
    assert upload(event(attempts[0].call_id, decision_id=attempts[0].decision_id)).status_code == 204
    attempts[0].refresh_from_db()
    assert attempts[0].log_state == "logged"


def test_matched_logs_are_forgotten_and_alarming_ones_are_not(stage, asked, upload):
    attempt = asked()
    matched, bypassed = event(attempt.call_id, decision_id=attempt.decision_id), event()
    upload(matched, bypassed)
    for one in (matched, bypassed):
        _age("received_at", one, days=8)
    _as_worker(decision_logs.reconcile, now=datetime.now(UTC))
    left = DecisionLog.objects.filter(decision_id__in=[matched["decision_id"], bypassed["decision_id"]])
    assert [row.state for row in left] == ["bypassed"]


@pytest.mark.parametrize(
    ("raw", "status", "code"),
    [
        (b"{", 400, "body_malformed"),
        (b"{}", 400, "log_malformed"),
        (b"[1]", 400, "log_malformed"),
        (json.dumps([{**event(), "decision_id": "a\0b"}]).encode(), 400, "log_malformed"),
        (json.dumps([{**event(), "labels": {}}]).encode(), 400, "log_malformed"),
        (json.dumps([{**event(), "timestamp": "noon"}]).encode(), 400, "log_malformed"),
        (json.dumps([event(), {**event(), "labels": {"id": "opa-2"}}]).encode(), 400, "log_malformed"),
        (b"[" + b"1," * opa_log.MOST + b"1]", 413, "log_too_long"),
        (b" " * (opa_log.LARGEST + 1), 413, "body_too_large"),
    ],
)
def test_what_is_no_log_is_refused_and_nothing_of_it_is_kept(stage, upload, raw, status, code):
    before = DecisionLog.objects.count()
    answer = upload(raw=raw)
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert DecisionLog.objects.count() == before


@pytest.mark.parametrize("at", ["0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00"])
def test_a_time_that_python_cannot_read_again_keeps_no_log_from_being_compared(stage, asked, upload, at):
    attempt = asked()
    assert upload({**event(attempt.call_id), "timestamp": at}).status_code == 400
    decision_logs.reconcile(now=datetime.now(UTC))


def test_a_log_is_from_the_decision_points_of_its_environment_alone(stage, key):
    path = f"/opa/logs/{stage.workspace.slug}/staging"
    client = Client(headers={"Authorization": f"Bearer {key}"})
    assert client.post(path, b"[]", content_type="application/json").status_code == 404
    assert Client().post(path, b"[]", content_type="application/json").status_code == 401


def test_a_real_opa_logs_what_it_decided_for_us_and_gives_away_who_asks_it_behind_our_back(
    stage, agent, key, tmp_path, settings, since
):
    environment = stage.build.environment()
    with served() as url, Opa(tmp_path, url=url, environment=environment, key=key) as server:
        settings.PLACET_PDP, settings.OPA_URL = "opa", server.url
        pdp.engine.cache_clear()
        try:
            wait(lambda: stage.call(agent).decision.allow)
            allowed, denied = stage.call(agent), stage.call(agent, "forbidden")
            assert (allowed.status, denied.status) == ("finished", "denied")
            assert allowed.decision.engine.startswith("opa ")
            for outcome in (allowed, denied):
                wait(lambda call=outcome.call: Attempt.objects.get(call=call).log_state == "logged")
            assert alarms(stage, "bypassed", since) + alarms(stage, "mismatched", since) == []
            row = DecisionLog.objects.get(decision_id=Attempt.objects.get(call=allowed.call).decision_id)
            assert (row.state, row.call, row.allow) == ("matched", allowed.call, True)
            server.decide({"call": {"id": str(uuid4())}})
            alarm = wait(lambda: next(iter(alarms(stage, "bypassed", since)), None))
            assert alarm.reasons == {"call_unknown": 1}
        finally:
            pdp.engine.cache_clear()


def _counted(kind):
    from gateway import telemetry

    return telemetry.ALARMS.labels(kind)._value.get()


def _age(column, one, days=1):
    with connections["owner"].cursor() as cursor:
        cursor.execute(
            f"UPDATE gateway_decisionlog SET {column} = {column} - %s * interval '1 day' WHERE decision_id = %s",
            [days, one["decision_id"]],
        )


def _as_worker(step, **how):
    """Call `step` with the rights of the sweeper."""
    worker, usual = connections["worker"], connections["default"]
    connections["default"], worker.alias = worker, "default"
    try:
        return step(**how)
    finally:
        worker.alias, connections["default"] = "worker", usual
