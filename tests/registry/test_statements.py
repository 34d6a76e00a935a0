"""Signed statements about versions: what a build system vouches for, and for how long anybody believes it."""

import base64
import json
from datetime import timedelta

import pytest

from audit.refusal import Refusal
from registry import clock, digest, quorum, signers, statements, versions
from registry.models import Signer
from tests.registry.builders import PROMPT, charter, founded
from tests.registry.signatures import envelope, key, pem, statement

GATES = [{"evidence": "provenance", "max_age_hours": 24, "kind": "prompt"}]


@pytest.fixture
def ci(workspace, people, now):
    """A build system: its key, which adam has added."""
    private = key()
    made = signers.add(
        workspace, name="CI", public_key=pem(private), actor=people["adam"], now=now, correlation_id="test"
    )
    return private, made


def bring(build, *envelopes, name="system"):
    """Store a prompt with statements about it."""
    return versions.create(
        build.workspace,
        kind="prompt",
        name=name,
        content=PROMPT,
        actor=build.people["alice"],
        provenance={"statements": list(envelopes)},
        **build.how,
    )


def verdicts(version):
    return [told.verdict for told in statements.read([version]).get(version.pk, [])]


def test_a_statement_about_these_bytes_by_a_known_key_is_verified(build, ci):
    named = digest.of("prompt", "system", PROMPT)
    version = bring(build, envelope(statement(named), ci[0]), envelope(statement(named), key(), ci[0]))
    assert version.digest == named
    assert verdicts(version) == ["unconfirmed", "unconfirmed"]


def test_an_ecdsa_key_vouches_as_well(build, workspace, adam, now):
    private = key(curve=True)
    signers.add(workspace, name="CI", public_key=pem(private), actor=adam, now=now, correlation_id="test")
    assert verdicts(bring(build, envelope(statement(digest.of("prompt", "system", PROMPT)), private))) == [
        "unconfirmed"
    ]


def test_other_bytes_an_unknown_key_and_a_changed_payload_are_told_apart(build, ci):
    named = digest.of("prompt", "system", PROMPT)
    changed = envelope(statement("sha256:" + "0" * 64), ci[0])
    changed["payload"] = base64.b64encode(json.dumps(statement(named)).encode()).decode()
    version = bring(build, envelope(statement("sha256:" + "0" * 64), ci[0]), envelope(statement(named), key()), changed)
    assert verdicts(version) == ["subject_other", "signer_unknown", "signer_unknown"]


def test_a_revoked_key_vouches_for_nothing_that_it_ever_signed(build, ci, carol):
    version = bring(build, envelope(statement(digest.of("prompt", "system", PROMPT)), ci[0]))
    before = verdicts(version)
    signers.revoke(ci[1], actor=carol, **build.how)
    assert (before, verdicts(version)) == (["unconfirmed"], ["signer_unknown"])


def test_a_key_of_another_workspace_is_unknown_here(build, ci, workspace):
    named = digest.of("prompt", "system", PROMPT)
    version = bring(build, envelope(statement(named), ci[0]))
    Signer.objects.using("owner").filter(pk=ci[1].pk).update(workspace=_other(build))
    assert verdicts(version) == ["signer_unknown"]


def _other(build):
    from registry import workspaces

    return workspaces.init(f"{build.workspace.slug}-2", "Other", admin=build.people["mallory"], now=build.how["now"])


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (lambda one: {"payload": one["payload"]}, "payloadType"),
        (lambda one: one | {"payloadType": "text/plain"}, "payloadType"),
        (lambda one: one | {"payload": "%%%"}, "base64"),
        (lambda one: one | {"payload": base64.b64encode(b"{}").decode()}, "_type"),
        (lambda one: one | {"payload": base64.b64encode(b'{"_type": 1, "_type": 2}').decode()}, "no JSON"),
        (lambda one: one | {"signatures": []}, "signatures"),
        (lambda one: one | {"signatures": ["x"]}, "base64"),
        (lambda one: "text", "envelope"),
    ],
)
def test_what_is_no_signed_statement_is_refused_and_nothing_is_stored(build, ci, spoil, says):
    good = envelope(statement(digest.of("prompt", "system", PROMPT)), ci[0])
    with pytest.raises(Refusal) as refused:
        bring(build, good, spoil(good))
    assert (refused.value.code, refused.value.field) == ("statement_invalid", "/provenance/statements/1")
    assert says in refused.value.detail
    assert not build.workspace.versions.filter(kind="prompt").exists()


def test_a_gate_asks_for_a_verified_statement_and_in_production_for_a_confirmed_key(build, people):
    founded(build)
    charter(build, gates=GATES)
    private = key()
    added = signers.add(build.workspace, name="CI", public_key=pem(private), actor=people["adam"], **build.how)
    bare = build.propose(build.version("prompt", "bare", PROMPT))
    vouched = bring(build, envelope(statement(digest.of("prompt", "system", PROMPT)), private))
    here, live = build.propose(vouched), build.propose(vouched, "production")

    def lacks(proposal):
        return "evidence_missing" in [missing.code for missing in quorum.missing(proposal)]

    assert (lacks(bare), lacks(here), lacks(live)) == (True, False, True)
    with pytest.raises(Refusal) as own:
        signers.confirm(added, actor=people["adam"], **build.how)
    assert own.value.code == "signer_own"
    with pytest.raises(Refusal) as stale:
        signers.confirm(added, actor=people["olga"], **build.how)
    assert (stale.value.code, lacks(live)) == ("step_up_required", True)
    signers.confirm(added, actor=people["olga"], proof=build.proof, **build.how)
    assert (verdicts(vouched), lacks(live), lacks(bare)) == (["verified"], False, True)
    signers.revoke(added, actor=people["carol"], **build.how)
    assert lacks(here) and lacks(live)


def test_neither_a_failed_scan_nor_an_old_statement_brought_again_vouches_for_a_build(build, ci):
    named = digest.of("prompt", "system", PROMPT)
    scan = statement(named, predicateType="https://example.com/scan/v1", predicate={"result": "failed"})
    version, here = bring(build, envelope(scan, ci[0])), build.environment()
    start = clock.read() - timedelta(hours=1)
    assert verdicts(version) == ["unconfirmed"]
    assert not statements.vouched(version, here, since=start)
    bring(build, envelope(statement(named), ci[0]))
    assert statements.vouched(version, here, since=start)
    after = max(told.at for told in statements.read([version])[version.pk])
    assert bring(build, envelope(statement(named), ci[0], key())).provenance.count() == 3
    assert not statements.vouched(version, here, since=after)


@pytest.mark.parametrize(
    ("actor", "given", "code"),
    [
        ("alice", None, "role_missing"),
        ("adam", "no key", "public_key_invalid"),
        ("adam", "rsa", "public_key_invalid"),
    ],
)
def test_only_an_admin_adds_a_key_and_only_one_that_can_be_used(workspace, people, now, trail, actor, given, code):
    from cryptography.hazmat.primitives.asymmetric import rsa

    text = {None: pem(key()), "rsa": pem(rsa.generate_private_key(65537, 2048))}.get(given, given)
    with pytest.raises(Refusal) as refused:
        signers.add(workspace, name="CI", public_key=text, actor=people[actor], now=now, correlation_id="test")
    assert (refused.value.code, trail()) == (code, [])
