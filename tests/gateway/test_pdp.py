"""The PDP over real evaluator processes: every failure is a deny with its own code, and calls beside it go on."""

import gzip
import io
import os
import signal
import socket
import subprocess
import sys
import tarfile
import threading
import time
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from joserfc.jwk import ECKey

from gateway import pdp, wire
from gateway.pdp import embedded
from registry import bundles, policies, rendering, workspaces
from tests.policies import bundling
from tests.policies.inputs import document

LOOP = "package policy\n\nallow if {\n" + "".join(f"\tsome {x} in data.policy.numbers\n" for x in "abcd")
LOOP += "\ta + b + c + d < 0\n}\n"


@pytest.fixture
def environment(workspace):
    return workspaces.environment(workspace.pk, "development")


def ask(published, release, *changes, deadline_ms=20_000, revision=None, **place):
    where = {"workspace": published.environment.workspace_id, "environment": published.environment.name} | place
    return pdp.decide(
        published.input(release, *changes), revision=revision or published.revision, deadline_ms=deadline_ms, **where
    )


def looping():
    return bundling.content(LOOP) | {"data": {"numbers": list(range(400))}}


READ = {"call": {"tool": {"effect": "read"}}}


def test_three_layers_decide_and_the_answer_names_engine_and_revision(environment):
    published = bundling.publish(environment, {"release": policies.shipped("release")})
    found = ask(published, "release")
    assert (found.verdict, found.failure, found.reasons) == ("allow", None, ())
    assert found.layers == {"floor": True, "baseline": True, "release": True}
    assert found.engine.startswith("regorus ")
    assert found.revision == published.revision


TABLE = [
    # what differs from the plain call, verdict, codes with their layers
    ({}, "allow", []),
    (READ, "allow", []),
    ({"call": {"kind": "model", "tool": {"effect": "read"}}}, "allow", []),
    ({"agent": {"environment": "lab"}}, "deny", [("unknown_environment", "floor")]),
    ({"limits": [{"name": "rate", "used": 2, "limit": 1}]}, "deny", [("limit_exceeded", "floor")]),
    (
        {"call": {"tool": {"effect": "unsafe", "risk": "high"}}},
        "deny",
        [("unsafe_high_risk", "floor"), ("destructive_call", "release")],
    ),
    ({"session": {"labels": ["untrusted"]}}, "hold", [("untrusted_session", "baseline")]),
    (
        {"session": {"labels": ["untrusted"]}, "call": {"tool": {"risk": "high"}}},
        "deny",
        [("untrusted_high_risk", "floor"), ("untrusted_session", "baseline")],
    ),
    (
        {
            "agent": {"environment": "production"},
            "call": {"tool": {"effect": "unsafe", "risk": "medium"}},
        },
        "hold",
        [("unsafe_in_production", "baseline")],
    ),
    (
        {
            "findings": [{"kind": "secret.jwt", "path": "/text", "severity": "high"}],
            "call": {"tool": {"labels": ["external"]}},
        },
        "deny",
        [("secret_leaves", "floor")],
    ),
]


@pytest.mark.parametrize(("change", "verdict", "codes"), TABLE)
def test_the_shipped_policies_together(environment, change, verdict, codes):
    published = bundling.publish(environment, {"release": policies.shipped("release")})
    place = {"agent": {"environment": "development"}}
    found = ask(published, "release", place, change)
    assert found.failure is None
    assert found.verdict == verdict
    assert [(reason.code, reason.layer) for reason in found.reasons] == codes


def test_an_approval_lifts_the_hold_that_it_was_given_for_and_no_other(environment):
    published = bundling.publish(environment, {"release": policies.shipped("release")})
    untrusted = {"session": {"labels": ["untrusted"]}}
    approval = {
        "id": "01936d5e-7f3a-7c1b-9d2e-000000000009",
        "approver": "person:01936d5e-7f3a-7c1b-9d2e-000000000002",
        "digest": "sha256:" + "0" * 64,
    }
    assert ask(published, "release", untrusted).verdict == "hold"
    assert ask(published, "release", untrusted, {"approval": approval | {"codes": ["untrusted_session"]}}).allow
    other = ask(published, "release", untrusted, {"approval": approval | {"codes": ["rule_of_two"]}})
    assert other.verdict == "hold"


FAILING = {
    "undefined": ('package policy\n\nallow if input.call.kind == "none"\n', "policy_undefined"),
    "wrong type": ('package policy\n\nallow := "yes"\n', "policy_malformed"),
    "wrong type of reasons": ("package policy\n\nallow := true\n\nreasons := [7]\n", "policy_error"),
    "wrong type of a code": (
        'package policy\n\nallow := true\n\nreasons := [{"code": 7, "message": "x"}]\n',
        "policy_malformed",
    ),
    "missing key": ('package policy\n\nallow := true\n\nreasons := [{"message": "x"}]\n', "policy_incomplete"),
    "missing key of an obligation": (
        'package policy\n\nallow := true\n\nobligations contains {"path": "/x"}\n',
        "policy_incomplete",
    ),
    "conflict": (
        "package policy\n\nallow := true if input.call.kind\n\nallow := false if input.agent.name\n",
        "policy_conflict",
    ),
    "builtin error": ("package policy\n\nallow if 1 / input.session.spend.tokens > 0\n", "policy_error"),
    "unknown builtin": ("package policy\n\nallow if nonsense(1)\n", "policy_error"),
    "rules in a circle": ("package policy\n\nallow if a\n\na if b\n\nb if a\n", "policy_recursive"),
    "panic": ('package policy\n\nallow if time.parse_duration_ns("1é") > 0\n', "policy_panic"),
    "crash": ("package policy\n\nallow if f(1)\n\nf(x) := f(x)\n", "pdp_crashed"),
    "memory": (
        "package policy\n\nallow if count(numbers.range(1, 100000000000)) > 0\n",
        "pdp_crashed",
    ),
    "overrun": (looping(), "pdp_timeout"),
}


@pytest.mark.parametrize("case", sorted(FAILING))
def test_a_policy_that_fails_denies_with_its_own_code_and_harms_nobody_else(environment, case):
    policy, code = FAILING[case]
    published = bundling.publish(environment, {"bad": policy, "good": policies.shipped("release")})
    beside, stop = [], threading.Event()

    def others():
        while not stop.is_set():
            beside.append(ask(published, "good", READ))

    threads = [threading.Thread(target=others) for _ in range(2)]
    for thread in threads:
        thread.start()
    try:
        found = ask(published, "bad")
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert (found.allow, found.verdict, found.failure) == (False, "deny", code)
    assert [(reason.code, reason.layer) for reason in found.reasons] == [(code, "pdp")]
    assert beside
    assert {one.failure for one in beside} == {None}
    assert all(one.allow for one in beside)
    assert ask(published, "good").allow


def test_what_went_wrong_is_told_without_the_arguments(environment):
    text = 'package policy\n\nallow if startswith(input.call.arguments.secret, "x")\n'
    published = bundling.publish(environment, {"bad": text})
    found = ask(published, "bad", {"call": {"arguments": {"secret": 271828}}})
    assert found.failure == "policy_error"
    assert "271828" not in repr(found)
    assert "policy.rego:3" in found.reasons[0].message


def test_without_a_branch_for_policy_or_baseline_there_is_no_decision(environment):
    published = bundling.publish(environment, {"release": bundling.OPEN})
    other = "sha256:" + "9" * 64
    assert ask(published, "release").allow
    assert ask(published, "release", {"agent": {"policy": other}}).failure == "policy_undefined"
    assert ask(published, "release", {"baseline": other}).failure == "policy_undefined"
    floor = published.policies["floor"]
    assert ask(published, "release", {"agent": {"policy": floor}}).failure == "policy_undefined"


def other_key():
    pem = ec.generate_private_key(ec.SECP256R1()).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return ECKey.import_key(pem)


def change_rule(raw):
    return gzip.compress(gzip.decompress(raw).replace(b"allow := true", b"allow := True"))


def drop_signature(raw):
    return repack(raw, lambda name: name.endswith("rego") or name.endswith("manifest"))


def smuggle(raw):
    return repack(raw, lambda name: True, {"/placet/more.rego": b"package placet.more\n"})


def repack(raw, keep, more=None):
    """Return the bundle with the files that `keep` names, and `more`."""
    with tarfile.open(fileobj=io.BytesIO(gzip.decompress(raw))) as old:
        files = {one.name: old.extractfile(one).read() for one in old if keep(one.name)} | (more or {})
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as new:
        for name, text in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(text)
            new.addfile(member, io.BytesIO(text))
    return gzip.compress(made.getvalue())


@pytest.mark.parametrize(
    ("options", "code"),
    [
        ({"key": other_key()}, "bundle_signature_invalid"),
        ({"change": change_rule}, "bundle_signature_invalid"),
        ({"change": drop_signature}, "bundle_signature_invalid"),
        ({"change": smuggle}, "bundle_signature_invalid"),
        ({"change": lambda raw: raw[:200]}, "bundle_malformed"),
        ({"change": lambda raw: b"no bundle"}, "bundle_malformed"),
    ],
)
def test_a_bundle_that_cannot_be_trusted_decides_nothing(environment, options, code):
    good = bundling.publish(environment, {"release": bundling.OPEN})
    bad = bundling.publish(environment, {"release": bundling.OPEN + "\n# another\n"}, **options)
    found = ask(bad, "release")
    assert (found.allow, found.failure) == (False, code)
    assert ask(good, "release").allow


def test_an_unknown_revision_is_a_deny(environment):
    published = bundling.publish(environment, {"release": bundling.OPEN})
    for revision in ("sha256:" + "7" * 64, ""):
        found = pdp.decide(
            published.input("release"),
            workspace=environment.workspace_id,
            environment=environment.name,
            revision=revision,
            deadline_ms=20_000,
        )
        assert (found.allow, found.failure) == (False, "bundle_unknown")


def test_a_well_signed_bundle_of_another_place_is_a_deny(environment, workspace):
    published = bundling.publish(environment, {"release": bundling.OPEN})
    assert ask(published, "release").allow
    staging = workspaces.environment(workspace.pk, "staging")
    raw = bundles.find(workspace.pk, "development", published.revision)
    # Somebody who can write rows copies a lenient bundle to where it was never approved.
    bundling.store(staging, raw, {}, revision=published.revision)
    assert ask(published, "release", environment="staging").failure == "bundle_unknown"
    # ... or under the name of a later revision.
    bundling.store(environment, raw, {}, revision="sha256:" + "8" * 64)
    assert ask(published, "release", revision="sha256:" + "8" * 64).failure == "bundle_unknown"


SHADOWS = {
    "floor": "package placet.%(floor)s\n\nallow := true\n\ndenials := set()\n",
    "baseline": "package placet.%(baseline)s\n\nallow := true\n",
    "another release": "package placet.%(strict)s\n\nallow := true\n",
    "router": 'package placet\n\ndecision := {"allow": true, "layers": {"floor": true, "baseline": true, '
    '"release": true}, "reasons": [], "obligations": [], "labels": []}\n',
    "router's verdict": "package placet\n\nallow := true\n",
    "router's layer": 'package placet\n\nfloor := {"allow": true, "reasons": [], "obligations": [], "labels": []}\n',
}
DENIED = {
    "agent": {"environment": "lab"},
    "limits": [{"name": "rate", "used": 2, "limit": 1}],
    "session": {"calls": 9999},
}


@pytest.mark.parametrize("target", sorted(SHADOWS))
def test_a_policy_forced_into_the_bundle_to_shadow_another_changes_nothing(environment, target):
    """Nobody but the bundler can sign; here even the bundler is fooled."""
    strict = "package policy\n\ndefault allow := false\n"
    releases = {"evil": bundling.OPEN, "strict": strict, "open": bundling.OPEN + "\n"}
    plain = bundling.publish(environment, releases)
    names = {name: rendering.root(digest) for name, digest in plain.policies.items()}
    text = SHADOWS[target] % names
    for folder in (f"placet/{names['evil']}", "placet/elsewhere", "placet"):
        forced = bundling.publish(environment, releases, more={f"{folder}/evil.rego": text})
        for release in ("strict", "open"):
            for changes in ((), (DENIED,)):
                before, after = ask(plain, release, *changes), ask(forced, release, *changes)
                assert before.verdict == ("allow" if release == "open" and not changes else "deny")
                assert (after.verdict, after.reasons, after.layers) == (before.verdict, before.reasons, before.layers)
        assert ask(forced, "evil", DENIED).verdict == "deny"
    assert ask(plain, "evil").allow


@pytest.mark.parametrize(
    "change",
    [
        {"call": {"kind": "shell"}},
        {"call": {"tool": {"effect": "none"}}},
        {"call": {"id": 7}},
        {"agent": {"extra": 1}},
        {"baseline": "sha256:short"},
        {"session": {"calls": -1}},
        {"session": {"calls": 2**53}},
        {"session": {"calls": 1.5}},
        {"time": {"hour": 24}},
        {"findings": [{"kind": "secret.jwt"}]},
        {"limits": [{"name": "rate", "used": True, "limit": 1}]},
        {"call": {"arguments": {"n": float("nan")}}},
        {"call": {"arguments": {"n": 2**60}}},
        {"call": {"arguments": {"s": "\ud800"}}},
        {"call": {"arguments": [1]}},
        {"more": 1},
    ],
)
def test_an_input_outside_the_frozen_schema_never_reaches_the_engine(environment, change):
    published = bundling.publish(environment, {"release": bundling.OPEN})
    found = ask(published, "release", change)
    assert (found.allow, found.failure) == (False, "input_invalid")


@pytest.mark.parametrize("missing", sorted(document()))
def test_an_input_without_a_required_member_is_a_deny(environment, missing):
    published = bundling.publish(environment, {"release": bundling.OPEN})
    whole = published.input("release")
    del whole[missing]
    found = pdp.decide(
        whole,
        workspace=environment.workspace_id,
        environment=environment.name,
        revision=published.revision,
        deadline_ms=20_000,
    )
    assert (found.allow, found.failure) == (False, "input_invalid")


def test_without_an_evaluator_every_call_is_denied(environment, settings, tmp_path):
    published = bundling.publish(environment, {"release": bundling.OPEN})
    settings.PLACET_SOCKETS = tmp_path
    settings.PLACET_PRIVATE_EVALUATORS = False
    assert ask(published, "release").failure == "pdp_unavailable"
    # A socket that nobody serves any more is no better.
    gone = socket.socket(socket.AF_UNIX)
    gone.bind(str(tmp_path / "evaluator-0.sock"))
    gone.close()
    assert ask(published, "release", deadline_ms=200).failure == "pdp_unavailable"
    # Nor is one behind which nobody answers.
    mute = socket.socket(socket.AF_UNIX)
    mute.bind(str(tmp_path / "evaluator-1.sock"))
    mute.listen(16)
    assert ask(published, "release", deadline_ms=200).failure == "pdp_timeout"
    mute.close()


def test_a_failure_inside_the_pdp_is_a_deny_and_not_an_exception(environment, monkeypatch):
    published = bundling.publish(environment, {"release": bundling.OPEN})

    class Broken:
        def evaluate(self, question):
            raise ZeroDivisionError

    class Nonsense:
        def evaluate(self, question):
            return pdp.Reply(b"{no json", "engine", published.revision)

    for engine in (Broken(), Nonsense()):
        monkeypatch.setattr(pdp, "engine", lambda engine=engine: engine)
        found = ask(published, "release")
        assert (found.allow, found.failure) == (False, "pdp_error")


def test_three_strikes_put_a_policy_in_quarantine_and_a_new_revision_gives_it_another_chance(environment):
    crash = "package policy\n\nallow if f(input.call.arguments.depth)\n\nf(x) := f(x) if x > 0\n\nf(0) := true\n"
    published = bundling.publish(environment, {"bad": crash, "good": bundling.OPEN})
    harmless, deep = {"call": {"arguments": {"depth": 0}}}, {"call": {"arguments": {"depth": 1}}}
    assert ask(published, "bad", harmless).allow
    for _ in range(3):
        assert ask(published, "bad", deep).failure == "pdp_crashed"
    deadline = time.monotonic() + 30
    while ask(published, "bad", harmless).failure != "policy_quarantined" and time.monotonic() < deadline:
        time.sleep(0.02)
    assert {ask(published, "bad", harmless).failure for _ in range(8)} == {"policy_quarantined"}
    assert ask(published, "good").allow
    again = bundling.publish(environment, {"bad": crash, "good": bundling.OPEN, "third": bundling.OPEN + "\n"})
    assert ask(again, "bad", harmless).allow


def pool_of_this_process():
    return embedded._private_pool()


def test_a_killed_evaluator_is_replaced_and_no_call_is_lost(environment):
    published = bundling.publish(environment, {"good": bundling.OPEN})
    assert ask(published, "good").allow
    pool = pool_of_this_process()
    before = [seat.born for seat in pool.seats]
    for seat in pool.seats:
        os.kill(seat.process.pid, signal.SIGKILL)
    assert ask(published, "good").allow
    assert [seat.born for seat in pool.seats] != before


def test_the_sockets_are_private(environment):
    pool = pool_of_this_process()
    for path in pool.paths:
        assert path.stat().st_mode & 0o777 == 0o600
        assert path.parent.stat().st_mode & 0o077 == 0


def test_nonsense_on_the_socket_ends_that_connection_only(environment):
    published = bundling.publish(environment, {"good": bundling.OPEN})
    assert ask(published, "good").allow
    pool = pool_of_this_process()
    before = [seat.born for seat in pool.seats]
    frames = [b"\xff\xff\xff\xff", b"\0\0\0\1x", wire.pack({"op": "other"}), wire.pack({"op": "decide"})]
    for path in pool.paths:
        for frame in [*frames, wire.pack({"op": "load", "workspace": 1}), b"\0\0\0\3[]\n"]:
            with socket.socket(socket.AF_UNIX) as connected:
                connected.settimeout(20)
                connected.connect(str(path))
                connected.sendall(frame)
                assert connected.recv(1) == b""
    assert ask(published, "good").allow
    assert [seat.born for seat in pool.seats] == before


def test_an_evaluator_knows_neither_django_nor_the_database():
    found = subprocess.run(
        [
            sys.executable,
            "-c",
            "import gateway.evaluator, sys; print([m for m in ('django', 'psycopg') if m in sys.modules])",
        ],
        capture_output=True,
        text=True,
        check=True,
        cwd=policies.DIRECTORY.parent,
    )
    assert found.stdout.strip() == "[]"


def test_evaluators_end_with_the_process_that_started_them(tmp_path):
    program = (
        "import sys, time, pathlib\nfrom gateway.evaluators import Pool\n"
        f"pool = Pool(pathlib.Path({str(tmp_path)!r}), count=2, keys=pathlib.Path({str(tmp_path)!r}))\npool.start()\n"
        "while not all(seat.process for seat in pool.seats): time.sleep(0.01)\n"
        "print(*[seat.process.pid for seat in pool.seats], flush=True)\ntime.sleep(600)\n"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, text=True, cwd=policies.DIRECTORY.parent
    )
    children = [int(pid) for pid in parent.stdout.readline().split()]
    assert len(children) == 2
    parent.kill()
    parent.wait()
    parent.stdout.close()
    deadline = time.monotonic() + 30
    while any(_lives(pid) for pid in children) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not any(_lives(pid) for pid in children)


def _lives(pid):
    try:
        return "State:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except FileNotFoundError:
        return False


def test_settings_that_name_no_engine_are_an_error(settings):
    settings.PLACET_PDP = "magic"
    pdp.engine.cache_clear()
    try:
        with pytest.raises(ValueError, match="PLACET_PDP must be one of embedded"):
            pdp.engine()
    finally:
        pdp.engine.cache_clear()
