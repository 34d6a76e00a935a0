"""The OPA servers that we run: they take our bundles and no others, stay closed, and leave no value behind."""

import contextlib
import gzip
import hashlib
import http.client
import json
import os
import signal
import socket
import stat
import subprocess
import sys
from io import StringIO
from pathlib import Path

import pytest
from django.conf import settings as django_settings
from django.core.management import CommandError, call_command

from gateway import pdp, sidecars, telemetry
from gateway.pdp import place
from registry import bundle_keys, bundles, policies, workspaces
from registry.models import Pdp
from tests import embedded
from tests.gateway import opas
from tests.gateway.test_pdp import change_rule, drop_signature, other_key, smuggle
from tests.gateway.test_pdp_opa import use
from tests.policies import bundling

__all__ = ["use"]


@pytest.fixture
def environment(workspace):
    return workspaces.environment(workspace.pk, "development")


@pytest.fixture
def registry():
    found = opas.Registry()
    yield found
    found.close()


def publish(environment, text=bundling.OPEN, **more):
    """Return (what was published, its bytes)."""
    published = bundling.publish(environment, {"release": text}, **more)
    return published, bundles.find(environment.workspace_id, environment.name, published.revision)


def ask(published, *changes, release="release"):
    return pdp.decide(
        published.input(release, *changes),
        workspace=published.environment.workspace_id,
        environment=published.environment.name,
        revision=published.revision,
        deadline_ms=10_000,
    )


def through(sidecar, use):
    use(f"unix://{sidecar.place.socket}")
    opas.wait(lambda: sidecar.place.socket.exists() and raw(sidecar, "GET", "/health")[0] == 200)


def raw(sidecar, method, path, body=b"", *, token=""):
    """Return (status, body) of a request on the sidecar's socket."""
    connection = http.client.HTTPConnection("localhost", timeout=10)
    connection.sock = socket.socket(socket.AF_UNIX)
    with contextlib.closing(connection):
        connection.sock.settimeout(10)
        try:
            connection.sock.connect(str(sidecar.place.socket))
        except OSError:
            return 0, b""
        connection.request(method, path, body, {"Authorization": f"Bearer {token}"} if token else {})
        answer = connection.getresponse()
        return answer.status, answer.read()


@pytest.mark.parametrize(
    "options",
    [{"change": change_rule}, {"change": drop_signature}, {"change": smuggle}, {"key": other_key()}],
    ids=["tampered", "unsigned", "smuggled", "other key"],
)
def test_opa_takes_a_bundle_that_we_signed_and_refuses_every_other(environment, registry, use, options):
    good, bundle = publish(environment)
    bad, spoilt = publish(environment, bundling.OPEN + "\n# another\n", **options)
    with opas.sidecar(spoilt, registry=registry, pin=bundle) as sidecar:
        through(sidecar, use)
        opas.wait(lambda: len(registry.asked) >= 2)
        assert ask(bad).failure == "bundle_unknown"
        assert raw(sidecar, "GET", "/health?bundles=true")[0] == 500
        registry.bundle = bundle
        opas.wait(lambda: ask(good).allow)
        # What it has it keeps, whatever is sent afterwards.
        registry.bundle = spoilt
        seen = len(registry.asked)
        opas.wait(lambda: len(registry.asked) >= seen + 2)
        assert ask(good).allow


def test_opa_decides_while_the_registry_is_down_and_after_a_restart_too(environment, registry, use):
    published, bundle = publish(environment)
    with opas.sidecar(bundle, registry=registry) as sidecar:
        through(sidecar, use)
        opas.wait(lambda: ask(published).allow)
        registry.close()
        assert ask(published).allow
        sidecar.stop()
        assert ask(published).failure == "pdp_unavailable"
        opas.wait(lambda: sidecar.watch() or sidecar.pid)
        opas.wait(lambda: ask(published).allow)


def test_another_revision_may_answer_if_it_is_one_of_ours_and_holds_both_policies(
    environment, workspace, registry, use
):
    """While a bundle spreads OPA is ahead of the gateway, or behind it; the digests say what was decided by."""
    policy = policies.shipped("release")
    live = bundling.publish(environment, {"release": policy, "leaving": bundling.OPEN})
    newer = bundling.publish(environment, {"release": policy, "coming": bundling.OPEN + "\n# coming\n"})
    with opas.sidecar(bundles.find(workspace.pk, "development", newer.revision), registry=registry) as sidecar:
        through(sidecar, use)
        opas.wait(lambda: ask(newer).failure is None)
        before = telemetry.UNEXPECTED._value.get()
        found = ask(live)
        assert (found.allow, found.failure, found.revision) == (True, None, newer.revision)
        assert telemetry.UNEXPECTED._value.get() == before + 1
        # The router has no branch for a policy that is not in it.
        assert ask(live, release="leaving").failure == "policy_undefined"
        assert ask(newer, release="coming").allow
        # A well signed bundle of another environment decides nothing here.
        staging = bundling.publish(workspaces.environment(workspace.pk, "staging"), {"release": policy})
        elsewhere = pdp.decide(
            newer.input("release"),
            workspace=workspace.pk,
            environment="staging",
            revision=staging.revision,
            deadline_ms=10_000,
        )
        assert (elsewhere.allow, elsewhere.failure) == (False, "bundle_unknown")


def test_two_keys_overlap_while_a_new_one_takes_over(environment, registry, use, settings, tmp_path):
    old, before = publish(environment)
    fresh_key = other_key()
    new, after = publish(environment, bundling.OPEN + "\n# later\n", key=fresh_key)
    pems = [key.as_pem(private=False).decode() for key in (*bundle_keys.pinned(settings.PLACET_KEYS), fresh_key)]
    settings.PLACET_KEYS = tmp_path
    (tmp_path / "bundle.pub").write_text("".join(pems))
    with opas.sidecar(before, registry=registry) as sidecar:
        through(sidecar, use)
        opas.wait(lambda: ask(old).allow)
        first = sidecar.pid
        sidecar.pin(before)
        assert sidecar.pid == first
        registry.bundle = after
        sidecar.pin(after)
        opas.wait(lambda: sidecar.watch() or sidecar.pid)
        opas.wait(lambda: ask(new).allow)
        # A key that is not pinned changes nothing.
        second = sidecar.pid
        sidecar.pin(publish(environment, bundling.OPEN + "\n# evil\n", key=other_key())[1])
        assert sidecar.pid == second
        assert ask(new).allow


CLOSED = [
    ("GET", "/v1/policies"),
    ("PUT", "/v1/policies/evil"),
    ("DELETE", "/v1/policies/system"),
    ("GET", "/v1/data"),
    ("POST", "/v1/data"),
    ("PUT", "/v1/data/placet"),
    ("PATCH", "/v1/data/placet"),
    ("GET", "/v1/data/system/tokens"),
    ("POST", "/v1/data/system/authz/allow"),
    ("POST", "/v0/data/placet/decision"),
    ("POST", "/v1/query"),
    ("POST", "/v1/compile"),
    ("POST", "/"),
    ("GET", "/v1/config"),
    ("GET", "/v1/status"),
    ("GET", "/metrics"),
    ("GET", "/v1/data/placet/decision"),
    ("POST", "/v1/data/placet/decision"),
    ("POST", "/v1/data/placet/decision?strict-builtin-errors=true&explain=full"),
]


def test_opa_is_closed_but_for_the_one_decision_and_only_with_the_token(environment, registry, use):
    published, bundle = publish(environment)
    question = json.dumps({"input": published.input("release")}).encode()
    open_path = "/v1/data/placet/decision?strict-builtin-errors=true"
    with opas.sidecar(bundle, registry=registry) as sidecar:
        through(sidecar, use)
        opas.wait(lambda: ask(published).allow)
        for token in ("", "wrong", django_settings.PLACET_OPA_TOKEN):
            assert raw(sidecar, "POST", open_path, question, token=token)[0] == 401, token
        for method, path in CLOSED:
            assert raw(sidecar, method, path, question, token=django_settings.OPA_TOKEN)[0] == 401, (method, path)
        status, body = raw(sidecar, "POST", open_path, question, token=django_settings.OPA_TOKEN)
        assert (status, json.loads(body)["result"]["allow"]) == (200, True)
        assert stat.S_IMODE(sidecar.place.socket.stat().st_mode) == 0o600
        use(f"unix://{sidecar.place.socket}", OPA_TOKEN="wrong")
        assert ask(published).failure == "pdp_forbidden"


def test_what_opa_logs_holds_names_digests_and_codes_and_no_value(environment, registry, use):
    published, bundle = publish(environment, policies.shipped("release"))
    secret = "4111-1111-1111-1111"
    with opas.sidecar(bundle, registry=registry) as sidecar:
        through(sidecar, use)
        opas.wait(lambda: ask(published).failure is None)
        finding = {"kind": "secret.jwt", "path": f"/{secret}", "severity": "high"}
        found = ask(published, {"call": {"arguments": {"to": secret}}, "findings": [finding]})
        assert found.decision_id
        opas.wait(lambda: any(found.decision_id in event["decision_id"] for event in events(registry)))
    event = next(event for event in events(registry) if event["decision_id"] == found.decision_id)
    assert event["bundles"] == {"placet": {"revision": published.revision}}
    assert event["input"]["call"] == {"id": published.input("release")["call"]["id"], "kind": "tool"}
    assert event["input"]["agent"]["policy"] == published.policies["release"]
    assert event["result"]["allow"] == found.allow
    assert [one["code"] for one in event["result"]["reasons"]] == list(found.codes)
    assert secret not in json.dumps(events(registry))
    assert {path for path, _ in registry.logs} == {"/opa/logs/w/development"}
    assert {path for path, _ in registry.reports} == {"/opa/status/w/development"}
    assert set(registry.authorized) == {f"Bearer {django_settings.PLACET_OPA_TOKEN}"}


def events(registry):
    return [event for _, body in registry.logs for event in json.loads(gzip.decompress(body))]


def test_no_secret_stands_on_the_command_line_in_the_configuration_or_in_the_environment(environment, registry, use):
    _, bundle = publish(environment)
    with opas.sidecar(bundle, registry=registry) as sidecar:
        through(sidecar, use)
        seen = Path(f"/proc/{sidecar.pid}/cmdline").read_bytes() + Path(f"/proc/{sidecar.pid}/environ").read_bytes()
        kept = django_settings.PLACET_HOME / "opa" / sidecar.place.socket.stem
        for file in kept.glob("*.json"):
            assert stat.S_IMODE(file.stat().st_mode) == 0o600
            seen += file.read_bytes()
        for secret in (django_settings.OPA_TOKEN, django_settings.PLACET_OPA_TOKEN, django_settings.SECRET_KEY):
            assert secret.encode() not in seen
        assert b"PLACET_HOME" not in seen


def test_the_command_keeps_a_server_for_an_environment_and_leaves_nothing_behind(environment, registry, use):
    published, bundle = publish(environment)
    registry.bundle = bundle
    variables = embedded.environment(django_settings.PLACET_HOME) | {
        "PLACET_PROCESS": "web",
        "PORT": registry.url.rpartition(":")[2],
        "PATH": f"{opas.binary().parent}{os.pathsep}{os.environ['PATH']}",
        "DJANGO_SETTINGS_MODULE": "config.settings",
    }
    command = [sys.executable, str(embedded.ROOT / "manage.py"), "opas", "--environment", str(environment.pk)]
    path = place.own(environment.workspace_id, environment.name)
    use("")
    for sign in (signal.SIGTERM, signal.SIGKILL):
        process = subprocess.Popen(command, env=variables, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            opas.wait(lambda: ask(published).allow)
            # Activations wait for it before it has reported for the first time.
            assert Pdp.objects.get(environment=environment, kind="opa").revision == ""
            (child,) = _children(process.pid)
            if sign == signal.SIGTERM:
                os.kill(child, signal.SIGKILL)
                opas.wait(lambda process=process, child=child: set(_children(process.pid)) - {child})
                opas.wait(lambda: ask(published).allow)
                (child,) = _children(process.pid)
        finally:
            process.send_signal(sign)
            process.wait(30)
        opas.wait(lambda child=child: not Path(f"/proc/{child}").exists() or _zombie(child))
        assert ask(published).failure == "pdp_unavailable"
    assert registry.asked[0] == f"/opa/bundles/{environment.workspace.slug}/development"
    assert not path.exists() or path.is_socket()


def test_an_opa_of_ones_own_runs_with_what_the_command_prints(environment, registry, use, settings, tmp_path):
    published, bundle = publish(environment)
    registry.bundle, settings.PLACET_URL = bundle, registry.url
    (tmp_path / "registry.token").write_text("its own key\n")
    printed = StringIO()
    where = [environment.workspace.slug, environment.name, "--persistence", str(tmp_path / "kept")]
    call_command("opa_config", *where, "--token-path", str(tmp_path / "registry.token"), stdout=printed)
    (tmp_path / "config.json").write_text(printed.getvalue())
    digest = hashlib.sha256(b"the-gateways-token").hexdigest()
    (tmp_path / "tokens.json").write_text(json.dumps({"system": {"tokens": [digest]}}))
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    command = [opas.binary(), "run", "--server", "--addr", f"127.0.0.1:{port}", "--authentication", "token"]
    command += ["--authorization", "basic", "--config-file", "config.json", "--skip-version-check"]
    command += [*sidecars.POLICIES, "tokens.json"]
    process = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        use(f"http://127.0.0.1:{port}", OPA_TOKEN="the-gateways-token")
        opas.wait(lambda: ask(published).allow)
        assert registry.authorized[0] == "Bearer its own key"
        use(f"http://127.0.0.1:{port}", OPA_TOKEN="another")
        assert ask(published).failure == "pdp_forbidden"
    finally:
        process.kill()
        process.wait()
    with pytest.raises(CommandError, match="no environment lab"):
        call_command("opa_config", environment.workspace.slug, "lab", *where[2:], "--token-path", "x")


def test_the_name_of_a_bundles_key_is_read_without_trust():
    assert sidecars.key_of(b"no bundle") == ""
    assert sidecars.key_of(gzip.compress(b"no archive")) == ""


def _children(pid):
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            if int(path.read_text().rpartition(")")[2].split()[1]) == pid:
                found.append(int(path.parent.name))
    return found


def _zombie(pid):
    with contextlib.suppress(OSError):
        return "State:\tZ" in Path(f"/proc/{pid}/status").read_text()
    return True
