"""Who gets a bundle, what it costs to wait for one, and what a report may look like."""

import gzip
import json
import threading
import time
from datetime import timedelta

import pytest
from django.db import connection, connections
from django.test import Client

from registry import bundles, opa, pdp_credentials, pdps, waiters
from registry.models import Pdp, PdpKey
from tests.policies import bundling
from tests.registry.builders import policy

LONG_POLL = {"Prefer": "modes=snapshot,delta;wait=10"}


@pytest.fixture
def environment(build):
    return build.environment()


@pytest.fixture
def how(people, now):
    return {"actor": people["olga"], "now": now, "correlation_id": "test"}


@pytest.fixture
def made(environment, how, now):
    """A credential and its key."""
    return pdp_credentials.create(environment, name="opa", expires_at=now + timedelta(days=1), **how)


@pytest.fixture
def published(environment):
    return bundling.publish(environment, {"release": bundling.OPEN})


class Sidecar(Client):
    """A client that shows a key."""

    def __init__(self, environment, key):
        super().__init__(headers={"Authorization": f"Bearer {key}"} if key else {})
        self.where = f"{environment.workspace.slug}/{environment.name}"

    def bundle(self, where=None, **headers):
        headers = {name.replace("_", "-"): value for name, value in headers.items()}
        return self.get(f"/opa/bundles/{where or self.where}", headers=headers)

    def report(self, body, **more):
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        return self.post(f"/opa/status/{self.where}", raw, content_type="application/json", **more)


@pytest.fixture
def sidecar(environment, made):
    return Sidecar(environment, made[1])


def code(answer, status):
    assert answer.status_code == status, answer.content[:300]
    return answer.json()["code"]


def test_a_bundle_is_for_the_decision_points_of_its_environment_alone(environment, sidecar, published, workspace, how):
    assert sidecar.bundle().content == bundles.content_of(environment.pk, published.revision)
    assert code(Sidecar(environment, None).bundle(), 401) == "credential_missing"
    assert code(Sidecar(environment, "placet_nonsense").bundle(), 401) == "credential_malformed"
    assert code(sidecar.bundle(f"{workspace.slug}/staging"), 404) == "not_found"
    assert code(sidecar.bundle("elsewhere/development"), 404) == "not_found"
    # Neither does it open another door.
    assert code(sidecar.get("/api/v1/environments/"), 401) == "credential_unknown"


def test_a_key_ends_by_rotation_expiry_and_revocation(environment, made, how, now, people):
    row, first = made
    second = pdp_credentials.rotate(row, expires_at=now + timedelta(days=2), overlap=timedelta(0), **how)
    assert code(Sidecar(environment, first).bundle(), 401) == "credential_expired"
    assert code(Sidecar(environment, second).bundle(), 404) == "bundle_missing"
    assert PdpKey.objects.filter(credential=row, last_used_at__isnull=False).count() == 1
    pdp_credentials.revoke(row, **how | {"actor": people["carol"]})
    assert code(Sidecar(environment, second).bundle(), 401) == "credential_revoked"
    assert not PdpKey.objects.filter(hash=second.encode()).exists()


def test_the_token_of_the_instance_counts_on_this_machine_only(environment, published, settings):
    sidecar = Sidecar(environment, settings.PLACET_OPA_TOKEN)
    assert sidecar.bundle().status_code == 200
    answer = sidecar.get(f"/opa/bundles/{sidecar.where}", REMOTE_ADDR="10.0.0.7")
    assert code(answer, 401) == "credential_malformed"


def test_what_a_client_has_already_is_not_sent_again(sidecar, published):
    first = sidecar.bundle(Prefer="modes=snapshot,delta")
    assert (first["ETag"], first["Content-Type"]) == (f'"{published.revision}"', opa.BUNDLE_TYPE)
    again = sidecar.bundle(If_None_Match=first["ETag"])
    assert (again.status_code, again.content, again["ETag"]) == (304, b"", first["ETag"])
    assert sidecar.bundle(If_None_Match='W/"other", "more"').status_code == 200
    assert sidecar.bundle()["Content-Type"] == "application/gzip"
    head = sidecar.head(f"/opa/bundles/{sidecar.where}", headers=LONG_POLL)
    assert (head.status_code, head.content) == (200, b"")


def test_a_client_that_waits_is_answered_when_the_bundler_publishes(sidecar, published, build, settings):
    settings.PLACET_OPA_WAIT_SECONDS = 20
    answers = []

    def ask():
        answers.append(sidecar.bundle(If_None_Match=f'"{published.revision}"', **LONG_POLL | {"Prefer": "wait=20"}))
        connections.close_all()

    thread = threading.Thread(target=ask)
    thread.start()
    while waiters._waiting == 0:
        time.sleep(0.01)
    build.requested(build.version("policy", "baseline", policy("baseline")))
    revision = bundles.publish(build.environment().pk, now=build.how["now"], using="bundler")
    thread.join(30)
    assert answers[0].status_code == 200
    assert answers[0]["ETag"] == f'"{revision}"'


def test_nobody_waits_longer_than_the_settings_say(sidecar, published, settings):
    settings.PLACET_OPA_WAIT_SECONDS = 0
    known = {"If_None_Match": f'"{published.revision}"'}
    assert sidecar.bundle(**known, **LONG_POLL).status_code == 304
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM pg_listening_channels()")
        assert cursor.fetchone() == (0,)


def test_when_too_many_wait_the_next_one_is_told_to_poll(sidecar, published, settings):
    settings.PLACET_OPA_WAITERS = 0
    answer = sidecar.bundle(If_None_Match=f'"{published.revision}"', **LONG_POLL)
    # OPA long polls again at once after a 304; after a plain bundle it polls at its own pace.
    assert (answer.status_code, answer["Content-Type"]) == (200, "application/gzip")


def test_a_report_is_kept_and_the_next_one_replaces_it(sidecar, environment, published):
    failed = {"name": "placet", "code": "bundle_error", "message": "bad signature", "errors": [{"code": "x"}]}
    body = {"labels": {"id": "opa-1", "version": "1.20.2"}, "bundles": {"placet": failed}}
    assert (
        sidecar.report(gzip.compress(json.dumps(body).encode()), headers={"Content-Encoding": "gzip"}).status_code
        == 204
    )
    row = Pdp.objects.get(environment=environment, kind="opa", name="opa-1")
    assert (row.revision, row.problem, row.version) == ("", 'bad signature; {"code":"x"}', "1.20.2")
    body["bundles"] = {"other-name": {"active_revision": published.revision}}
    assert sidecar.report(body).status_code == 204
    row.refresh_from_db()
    assert (row.revision, row.problem) == (published.revision, "")
    (shown,) = pdps.shown().filter(environment=environment)
    assert (shown.current, shown.fresh) == (True, True)


def test_an_opa_with_a_name_is_the_same_one_after_a_restart(sidecar, environment, published):
    for started in ("5f3a", "9b1c"):
        body = {"labels": {"id": started, "name": "opa-1"}, "bundles": {"placet": {"active_revision": started}}}
        assert sidecar.report(body).status_code == 204
    assert [(row.name, row.revision) for row in Pdp.objects.filter(environment=environment)] == [("opa-1", "9b1c")]


@pytest.mark.parametrize(
    ("body", "status", "expected"),
    [
        (b"{", 400, "body_malformed"),
        (b"[]", 400, "status_malformed"),
        (b"{}", 400, "status_malformed"),
        (b'{"labels": {"id": "a", "name": 5}}', 400, "status_malformed"),
        (b'{"labels": {"id": 5}}', 400, "status_malformed"),
        (b'{"labels": {"id": ""}}', 400, "status_malformed"),
        (b'{"labels": {"id": "a"}, "bundles": [1]}', 400, "status_malformed"),
        (b'{"labels": {"id": "a"}, "bundles": {"b": {"active_revision": 5}}}', 400, "status_malformed"),
        (b" " * (opa.LARGEST_STATUS + 1), 413, "body_too_large"),
    ],
)
def test_what_is_no_report_is_refused(sidecar, environment, body, status, expected):
    assert code(sidecar.report(body), status) == expected
    assert not Pdp.objects.filter(environment=environment).exists()


@pytest.mark.parametrize(
    ("raw", "status", "expected"),
    [
        (gzip.compress(b" " * (40 << 20)), 413, "body_too_large"),
        (gzip.compress(b'{"labels": {"id": "a"}}')[:-9], 400, "body_malformed"),
        (b"nothing", 400, "body_malformed"),
    ],
    ids=["a bomb", "cut", "not gzip"],
)
def test_a_packed_report_is_unpacked_in_bounded_work(sidecar, environment, raw, status, expected):
    assert code(sidecar.report(raw, headers={"Content-Encoding": "gzip"}), status) == expected
    assert code(sidecar.report(b"", headers={"Content-Encoding": "br"}), 415) == "encoding_unsupported"


def test_an_environment_has_so_many_decision_points_and_forgets_the_silent_ones(sidecar, environment, monkeypatch, now):
    monkeypatch.setattr(pdps, "MOST", 2)
    for name in ("one", "two", "one"):
        assert sidecar.report({"labels": {"id": name}}).status_code == 204
    assert code(sidecar.report({"labels": {"id": "three"}}), 429) == "pdps_too_many"
    Pdp.objects.filter(environment=environment, name="two").update(last_seen=now - timedelta(days=2))
    pdps.forget_silent(now=now)
    assert sidecar.report({"labels": {"id": "three"}}).status_code == 204


def test_who_may_make_and_end_a_credential(environment, people, now, client_for, workspace):
    body = {
        "workspace": workspace.slug,
        "environment": environment.name,
        "expires_at": (now + timedelta(days=1)).isoformat(),
    }
    assert client_for(people["alice"]).post("/api/v1/pdp-credentials/", body).status_code == 403
    late = body | {"expires_at": (now + timedelta(days=500)).isoformat()}
    assert code(client_for(people["olga"]).post("/api/v1/pdp-credentials/", late), 400) == "expiry_out_of_range"
    answer = client_for(people["olga"]).post("/api/v1/pdp-credentials/", body)
    key = answer.json()["key"]
    assert (answer.status_code, answer["Cache-Control"]) == (201, "no-store")
    shown = client_for(people["olga"]).get(f"/api/v1/pdp-credentials/{answer.json()['id']}/")
    assert key not in shown.content.decode()
    assert shown.json()["keys"][0]["prefix"] == key[:13]


def test_the_settings_page_and_the_metrics_tell_what_each_serves(client_for, people, sidecar, environment, published):
    failed = {"active_revision": published.revision, "code": "bundle_error", "message": "bad <signature>"}
    sidecar.report({"labels": {"id": "opa-1"}, "bundles": {"placet": failed}})
    page = client_for(people["olga"]).get(f"/w/{environment.workspace.slug}/settings/").content.decode()
    assert "opa opa-1" in page
    assert "bad &lt;signature&gt;" in page
    text = client_for().get("/metrics").content.decode()
    about = f'{{environment="development",kind="opa",name="opa-1",workspace="{environment.workspace.slug}"}}'
    assert f"placet_pdp_current{about} 1.0" in text
    assert f"placet_pdp_problem{about} 1.0" in text
    listed = client_for(people["dave"]).get("/api/v1/pdps/", {"workspace": environment.workspace.slug}).json()
    assert [(row["name"], row["current"], row["problem"]) for row in listed["results"]] == [
        ("opa-1", True, "bad <signature>")
    ]
