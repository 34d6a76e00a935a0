"""The PDP over a real OPA server: what it says counts, and whatever goes wrong on the way is a deny with its code."""

import json
import os
import signal

import pytest

from gateway import pdp
from registry import bundles
from registry.models import Environment
from tests.gateway import opas
from tests.gateway.stage import effects, fresh, records


@pytest.fixture(scope="module")
def opa(_shared, django_db_blocker):
    """A sidecar with the stage's live bundle."""
    with django_db_blocker.unblock():
        workspace = _shared.workspace
        environment = Environment.objects.get(workspace=workspace, name="development")
        bundle = bundles.find(workspace.pk, "development", environment.bundle_revision)
    with opas.sidecar(bundle) as found:
        yield found


@pytest.fixture
def use(settings):
    """Return a function that chooses the engine and the OPA server's address."""

    def choose(url, mode="opa", **more):
        settings.PLACET_PDP, settings.OPA_URL = mode, url
        for name, value in more.items():
            setattr(settings, name, value)
        pdp.engine.cache_clear()

    yield choose
    pdp.engine.cache_clear()


@pytest.fixture
def wire(opa, use):
    """A wire to the sidecar that can be broken, in use."""
    opened = opas.Wire(opa.place.socket)
    use(opened.url)
    yield opened
    opened.down()


def make(stage, agent, name="look", wanted="finished"):
    """Make a call until OPA has its bundle; return (outcome, value)."""

    def call():
        value = fresh()
        outcome = stage.call(agent, name, value)
        return (outcome, value) if outcome.status == wanted else None

    return opas.wait(call, 10)


def decided(outcome):
    """Return the data of the call's decision record."""
    return next(body["data"] for event, body in records(outcome.call) if event == "gateway.call.decided")


def refused(stage, agent, code, name="put"):
    """Make a call and look at everything that a failure of the decision point has to leave behind."""
    value = fresh()
    outcome = stage.call(agent, name, value)
    assert (outcome.status, outcome.code) == ("denied", code)
    assert outcome.again
    assert effects(value) == []
    assert [event for event, _ in records(outcome.call)] == ["gateway.call.decided"]
    record = decided(outcome)
    assert (record["verdict"], record["code"], record["reasons"]) == ("deny", code, [code])
    return record


def test_an_opa_server_decides_and_says_by_which_bundle(stage, agent, opa, use):
    use(f"unix://{opa.place.socket}")
    outcome, value = make(stage, agent, "put")
    assert len(effects(value)) == 1
    record = decided(outcome)
    live = Environment.objects.get(workspace=stage.workspace, name="development").bundle_revision
    assert (record["engine"], record["revision"]) == ("opa 1.20.2", live)
    assert len(record["decision_id"]) == 36
    value = fresh()
    assert stage.call(agent, "forbidden", value).code == "tool_denied"
    assert effects(value) == []
    assert stage.call(agent, "careful", fresh()).status == "parked"


def test_tcp_is_as_good_and_takes_nothing_from_proxies_or_netrc(stage, agent, opa, use, tmp_path, monkeypatch):
    wire = opas.Wire(opa.place.socket, tcp=True)
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login somebody password else\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    use(wire.url)
    _, value = make(stage, agent, "put")
    assert len(effects(value)) == 1
    wire.down()
    refused(stage, agent, "pdp_unavailable")


def http(status, body=b"", *, head=b""):
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return b"HTTP/1.1 %d X\r\nContent-Length: %d\r\n%s\r\n%s" % (status, len(raw), head, raw)


def said(result=None, revision="sha256:" + "0" * 64):
    """Return what OPA says of a decision, of a bundle that we do not have."""
    body = {"provenance": {"version": "1.20.2", "bundles": {"placet": {"revision": revision}}}}
    return body if result is None else body | {"result": result}


def failing(code):
    return {"code": "internal_error", "message": "4711", "errors": [{"code": code, "message": "4711 secret"}]}


SHORT = {"PLACET_DECISION_TIMEOUT_MS": 300}
ALLOW = {"allow": True, "layers": dict.fromkeys(("floor", "baseline", "release"), True)}
WRONG = {
    "swallows the question": (("timeout",), "pdp_timeout", SHORT),
    "answers late": (("latency", 0.6), "pdp_timeout", SHORT),
    "drips": (("slicer", 0.05), "pdp_slow", SHORT),
    "resets": (("reset_peer",), "pdp_cut", {}),
    "closes in the head": (("limit_data", 20), "pdp_cut", {}),
    "closes in the body": (("limit_data", 200), "pdp_cut", {}),
    "speaks no HTTP": (("answer", b"SSH-2.0-OpenSSH_9.2\r\n"), "pdp_malformed", {}),
    "speaks no JSON": (("answer", http(200, b"<html>login</html>")), "pdp_malformed", {}),
    "answers a list": (("answer", http(200, [True])), "pdp_malformed", {}),
    "answers true": (("answer", http(200, True)), "pdp_malformed", {}),
    "names no bundle": (("answer", http(200, {"result": ALLOW})), "pdp_malformed", {}),
    "has no bundle of ours": (("answer", http(200, {"result": ALLOW, "provenance": {}})), "bundle_unknown", {}),
    "decided by another bundle": (("answer", http(200, said(ALLOW))), "bundle_unknown", {}),
    "answers too much": (("answer", http(200, b'"' + b"x" * 5_000_000 + b'"')), "pdp_oversize", {}),
    "redirects": (("answer", http(302, head=b"Location: http://127.0.0.1:1/\r\n")), "pdp_rejected", {}),
    "finds the input wrong": (("answer", http(400, {"code": "invalid_parameter"})), "pdp_rejected", {}),
    "knows no such path": (("answer", http(404)), "pdp_rejected", {}),
    "wants another token": (("answer", http(401, {"code": "unauthorized"})), "pdp_forbidden", {}),
    "fails": (("answer", http(500, b"oops")), "pdp_error", {}),
    "is overloaded": (("answer", http(503)), "pdp_rejected", {}),
    "fails in a builtin": (("answer", http(500, failing("eval_builtin_error"))), "policy_error", {}),
    "finds a conflict": (("answer", http(500, failing("eval_conflict_error"))), "policy_conflict", {}),
}


@pytest.mark.parametrize("case", sorted(WRONG))
def test_an_opa_server_that_does_wrong_allows_nothing(stage, agent, wire, settings, case):
    make(stage, agent, "put")
    toxic, code, more = WRONG[case]
    for name, value in more.items():
        setattr(settings, name, value)
    wire.toxic = toxic
    record = refused(stage, agent, code)
    assert (record["engine"], record["decision_id"]) == ("", "")
    assert "4711" not in json.dumps(record)
    wire.toxic = None
    settings.PLACET_DECISION_TIMEOUT_MS = 10_000
    _, value = make(stage, agent, "put")
    assert len(effects(value)) == 1


ODD = {
    "undefined": (None, "policy_undefined"),
    "null": ({"result": None}, "policy_undefined"),
    "a text for true": ({"result": ALLOW | {"allow": "true"}}, "policy_malformed"),
    "one for true": ({"result": ALLOW | {"allow": 1}}, "policy_malformed"),
    "only allow": ({"result": {"allow": True}}, "policy_incomplete"),
    "no reasons": ({"result": ALLOW}, "policy_incomplete"),
    "a layer that denied": (
        {"result": {"allow": True, "layers": ALLOW["layers"] | {"floor": False}, "reasons": []}},
        "policy_malformed",
    ),
}


@pytest.mark.parametrize("case", sorted(ODD))
def test_a_decision_that_is_none_allows_nothing(stage, agent, wire, case):
    live = Environment.objects.get(workspace=stage.workspace, name="development").bundle_revision
    result, code = ODD[case]
    wire.toxic = ("answer", http(200, said(revision=live) | (result or {})))
    refused(stage, agent, code)


def test_a_server_that_is_stopped_or_hangs_allows_nothing_and_is_asked_again_afterwards(stage, agent, opa, use):
    use(f"unix://{opa.place.socket}")
    make(stage, agent, "put")
    os.kill(opa.pid, signal.SIGSTOP)
    try:
        use(f"unix://{opa.place.socket}", **SHORT)
        refused(stage, agent, "pdp_timeout")
    finally:
        os.kill(opa.pid, signal.SIGCONT)
    use(f"unix://{opa.place.socket}", PLACET_DECISION_TIMEOUT_MS=10_000)
    make(stage, agent, "put")
    os.kill(opa.pid, signal.SIGKILL)
    opas.wait(lambda: opa.pid is None)
    refused(stage, agent, "pdp_unavailable")
    opas.wait(lambda: opa.watch() or opa.pid)  # as `manage.py opas` does all the time
    make(stage, agent, "put")


def test_an_idle_connection_that_was_closed_is_no_failure(stage, agent, wire):
    make(stage, agent, "put")
    for one in wire._open:
        one.shutdown(2)
    _, value = make(stage, agent, "put")
    assert len(effects(value)) == 1


def test_degradable_reads_are_decided_by_the_last_good_policies_while_opa_is_away(stage, agent, wire, settings):
    make(stage, agent, "put")
    wire.down()
    value = fresh()
    outcome = stage.call(agent, "rated_soft", value)
    assert (outcome.status, len(effects(value))) == ("finished", 1)
    record = decided(outcome)
    assert record["engine"].startswith("embedded:last_good regorus ")
    live = Environment.objects.get(workspace=stage.workspace, name="development").bundle_revision
    assert (record["revision"], record["decision_id"]) == (live, "")
    # A read that may not be degraded, and an effect, are denied.
    refused(stage, agent, "pdp_unavailable", "look")
    refused(stage, agent, "pdp_unavailable", "put")


def test_an_answer_that_is_wrong_is_no_reason_for_the_last_good_policies(stage, agent, wire):
    for toxic, code in ((("answer", http(200, b"{")), "pdp_malformed"), (("answer", http(401)), "pdp_forbidden")):
        wire.toxic = toxic
        refused(stage, agent, code, "rated_soft")


def test_each_environment_has_an_address_of_its_own(stage, settings):
    from gateway.pdp import place

    settings.OPA_URL = "http://opa-{workspace}-{environment}:8181"
    there = place.of(stage.workspace.pk, "development")
    assert (there.host, there.port, there.tls) == (f"opa-{stage.workspace.slug}-development", 8181, False)
    settings.OPA_URL = "unix:///run/{environment}.sock"
    assert place.of(stage.workspace.pk, "staging").socket == "/run/staging.sock"
    settings.OPA_URL = ""
    own = place.of(stage.workspace.pk, "staging").socket
    assert own.startswith(str(settings.PLACET_SOCKETS))
    assert len(own) < 107
    assert own != place.of(stage.workspace.pk, "development").socket
