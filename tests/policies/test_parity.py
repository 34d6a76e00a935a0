"""Both engines say the same about the shipped policies and the example: OPA itself is the measure."""

import copy
import random
import time

import orjson
import pytest

from gateway import decision
from gateway.pdp.opa import Opa
from gateway.pdp.question import PdpFailed, Question
from registry import bundlefile, bundles, policies, rego, router, workspaces
from tests.gateway import opas
from tests.gateway.test_pdp_opa import use
from tests.policies import bundling
from tests.policies.inputs import document

__all__ = ["use"]
GENERATED, MUTATED = 2_400, 2_400
EXAMPLE = policies.DIRECTORY.parent / "examples/repo-steward/manifests"
LABELS = ["untrusted", "pii", "secret", "external", "own"]
KINDS = ["secret.jwt", "secret.aws", "pii.email", "pii.card", "unicode.bidi", "injection.order", "markup.link"]
CODES = ["untrusted_session", "rule_of_two", "unsafe_high_risk", "person_decides", "unsafe_in_production"]
DIGEST = "sha256:" + "a" * 64


def _example():
    """Return the policy of the example's release, as its manifests say it."""
    folder = EXAMPLE / "policy"
    content = bundling.content((folder / "policy.rego").read_text())
    return content | {"data": orjson.loads((folder / "data.json").read_bytes())}


@pytest.fixture(scope="module")
def published(_shared, django_db_blocker):
    """A bundle with the starter and with the example's policy."""
    with django_db_blocker.unblock():
        environment = workspaces.environment(_shared.workspace.pk, "staging")
        return bundling.publish(environment, {"starter": policies.shipped("release"), "example": _example()})


@pytest.fixture(scope="module")
def engines(published, django_db_blocker):
    """Return a function: raw input -> what regorus and what OPA decide."""
    environment = published.environment
    with django_db_blocker.unblock():
        raw = bundles.find(environment.workspace_id, environment.name, published.revision)
    bundle = bundlefile.unpack(raw, keys=bundling.bundle_keys.pinned(bundling.settings.PLACET_KEYS))
    regorus = rego.Engine(bundle.modules, bundle.data)
    server = Opa()
    with opas.sidecar(raw) as sidecar:

        def both(document):
            return _decided(lambda: regorus.evaluate(router.DECISION, document.decode())), _decided(
                lambda: server.evaluate(_question(published, document)).result
            )

        both.url = f"unix://{sidecar.place.socket}"
        yield both


def _question(published, raw):
    place = published.environment
    until = time.monotonic() + 10
    return Question(raw, place.workspace_id, place.name, published.revision, "", "", until)


def _decided(evaluate):
    try:
        return decision.parse(orjson.loads(evaluate()))
    except rego.RegoFailed as failed:
        return decision.deny(failed.code, "")
    except PdpFailed as failed:
        return decision.deny(failed.code, "")


def _some(chance, values, most=3):
    return chance.sample(values, chance.randint(0, min(most, len(values))))


def generated(published, chance):
    """Return a decision input that a gateway could have made."""
    effect = chance.choice(["read", "idempotent", "keyed", "unsafe"])
    arguments = {"to": chance.choice(["alice@example.com", "x", ""]), "count": chance.randint(-3, 2**40)}
    places = _some(chance, ["/to", "/count", "/text"])
    approval = None
    if chance.random() < 0.4:
        approval = {
            "id": "01936d5e-7f3a-7c1b-9d2e-000000000009",
            "approver": "person:01936d5e-7f3a-7c1b-9d2e-000000000002",
            "digest": DIGEST,
            "codes": _some(chance, CODES),
        }
    return document(
        {
            "call": {
                "kind": chance.choice(["tool", "tool", "model"]),
                "tool": {
                    "name": chance.choice(["git_commit", "git_reset", "git_log", "notes_add", "git_create_branch"]),
                    "effect": effect,
                    "risk": chance.choice(["low", "medium", "high"]),
                    "labels": _some(chance, LABELS),
                    "accepts": _some(chance, LABELS),
                },
                "arguments": arguments,
                "destinations": [{"path": path, "value": "v"} for path in places],
            },
            "agent": {
                "policy": published.policies[chance.choice(["starter", "example"])],
                "environment": chance.choice(["development", "staging", "production", "lab"]),
            },
            "baseline": published.policies["baseline"],
            "session": {
                "labels": _some(chance, LABELS),
                "calls": chance.choice([0, 1, 50, 100, 101, 10_000]),
                "spend": {"tokens": chance.randint(0, 10**6), "cost_micro_usd": chance.choice([0, 10**6, 10**9])},
            },
            "findings": [
                {"kind": kind, "path": chance.choice(["/to", "/text"]), "severity": chance.choice(["low", "high"])}
                for kind in _some(chance, KINDS)
            ],
            "provenance": [
                {"path": path, "source": "user", "tool": None, "field": None, "trusted": chance.random() < 0.5}
                for path in _some(chance, ["/to", "/count", "/text"])
            ],
            "approval": approval,
            "limits": [{"name": "rate", "used": chance.randint(0, 4), "limit": 3} for _ in range(chance.randint(0, 2))],
        }
    )


ODD = [None, True, False, 0, -1, 2**53 - 1, "", "secret.", "\u0000", "é", [], {}, [None], {"a": 1}, "untrusted", [[]]]


def mutated(inputs, chance):
    """Return an input with one to three members deleted, or replaced by something odd; its policies stay named."""
    changed = copy.deepcopy(inputs)
    for _ in range(chance.randint(1, 3)):
        place, name = chance.choice(list(_places(changed)))
        if chance.random() < 0.5:
            del place[name]
        else:
            place[name] = copy.deepcopy(chance.choice(ODD))
    return changed


def _places(value):
    pairs = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for name, member in list(pairs):
        if name not in ("baseline", "policy", "agent"):
            yield value, name
        yield from _places(member)


def _alike(one):
    return one.allow, one.failure, one.reasons, one.obligations, one.labels, one.layers


def test_both_engines_give_identical_decisions(published, engines, use, db):
    use(engines.url)
    opas.wait(lambda: engines(orjson.dumps(published.input("starter")))[1].failure is None)
    chance = random.Random(20_261_125)
    verdicts, codes = set(), set()
    for _ in range(GENERATED):
        inputs = generated(published, chance)
        own, other = engines(orjson.dumps(inputs))
        assert _alike(own) == _alike(other), inputs
        verdicts.add(own.verdict)
        codes |= set(own.codes)
    assert verdicts == {"allow", "deny", "hold"}
    assert len(codes) > 12, codes


def test_mutated_inputs_are_never_allowed_by_one_engine_alone(published, engines, use, db):
    """They would never pass the frozen schema: this is about what is left if it had a hole."""
    use(engines.url)
    opas.wait(lambda: engines(orjson.dumps(published.input("starter")))[1].failure is None)
    chance = random.Random(42)
    answered = allowed = 0
    for _ in range(MUTATED):
        inputs = mutated(generated(published, chance), chance)
        own, other = engines(orjson.dumps(inputs))
        if own.failure is None and other.failure is None:
            answered += 1
            allowed += own.allow
            assert own.allow == other.allow, inputs
    assert answered > MUTATED / 2
    assert allowed > 0
