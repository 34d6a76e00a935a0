"""A decision is a value, and anything but a clear allow is a deny."""

import copy
import json

import jsonschema_rs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway import decision
from registry import policies

ALLOW = {
    "allow": True,
    "layers": {"floor": True, "baseline": True, "release": True},
    "reasons": [],
    "obligations": [],
    "labels": [],
}
HOLD = {"kind": "hold", "code": "person_decides", "role": "reviewer", "quorum": 1, "expires_s": 60}
REASON = {"code": "tool_denied", "message": "No.", "layer": "release"}
DENY = ALLOW | {"allow": False, "layers": ALLOW["layers"] | {"release": False}, "reasons": [REASON]}


def test_an_allow_of_all_layers_is_an_allow():
    found = decision.parse(ALLOW, engine="regorus 0.13.0", revision="sha256:1")
    assert (found.allow, found.verdict, found.failure) == (True, "allow", None)
    assert (found.engine, found.revision) == ("regorus 0.13.0", "sha256:1")


def test_a_hold_needs_a_person_and_a_deny_wins_over_it():
    assert decision.parse(ALLOW | {"obligations": [HOLD]}).verdict == "hold"
    assert decision.parse(DENY | {"obligations": [HOLD]}).verdict == "deny"


def test_reasons_keep_their_layer_and_codes_come_once():
    again = REASON | {"layer": "floor"}
    found = decision.parse(DENY | {"reasons": [REASON, again]})
    assert [reason.layer for reason in found.reasons] == ["release", "floor"]
    assert found.codes == ("tool_denied",)


def test_labels_and_obligations_are_kept():
    found = decision.parse(ALLOW | {"labels": ["pii", "pii"], "obligations": [{"kind": "notify", "role": "operator"}]})
    assert found.labels == ("pii",)
    assert found.obligations == ({"kind": "notify", "role": "operator"},)


def test_a_deny_without_a_reason_gets_one_that_names_the_layer():
    found = decision.parse(DENY | {"reasons": []})
    assert found.verdict == "deny"
    assert [(one.code, one.layer) for one in found.reasons] == [("denied_without_reason", "release")]


CASES = {
    "policy_undefined": [None],
    "policy_incomplete": [
        {},
        *({name: value for name, value in ALLOW.items() if name != missing} for missing in ALLOW),
        ALLOW | {"layers": {"floor": True, "baseline": True}},
        DENY | {"reasons": [{"message": "No.", "layer": "floor"}]},
        DENY | {"reasons": [{"code": "no", "layer": "floor"}]},
        ALLOW | {"obligations": [{"code": "x"}]},
        ALLOW | {"obligations": [{"kind": "hold"}]},
        ALLOW | {"obligations": [{"kind": "cap", "max": 1}]},
        ALLOW | {"obligations": [{"kind": "label"}]},
    ],
    "policy_malformed": [
        True,
        "allow",
        [],
        ALLOW | {"allow": "yes"},
        ALLOW | {"allow": 1},
        ALLOW | {"allow": None},
        ALLOW | {"layers": {"floor": True, "baseline": "true", "release": True}},
        ALLOW | {"layers": {"floor": True, "baseline": False, "release": True}},
        DENY | {"layers": ALLOW["layers"]},
        ALLOW | {"layers": []},
        ALLOW | {"reasons": {}},
        ALLOW | {"reasons": [1]},
        DENY | {"reasons": [REASON | {"code": 7}]},
        DENY | {"reasons": [REASON | {"code": "Not A Word"}]},
        DENY | {"reasons": [REASON | {"layer": "pdp"}]},
        ALLOW | {"obligations": ["hold"]},
        ALLOW | {"obligations": [{"kind": "cap", "path": 7, "max": 1}]},
        ALLOW | {"obligations": [{"kind": "hold", "code": ""}]},
        ALLOW | {"labels": [""]},
        ALLOW | {"labels": [1]},
        ALLOW | {"labels": ["x" * 201]},
        DENY | {"reasons": [REASON] * 1001},
    ],
}


@pytest.mark.parametrize(("code", "document"), [(code, one) for code, many in CASES.items() for one in many])
def test_a_document_that_is_no_decision_is_a_deny_with_its_own_code(code, document):
    found = decision.parse(document, engine="e", revision="r")
    assert (found.allow, found.verdict, found.failure) == (False, "deny", code)
    assert [(one.code, one.layer) for one in found.reasons] == [(code, "pdp")]
    assert (found.obligations, found.labels, found.engine, found.revision) == ((), (), "e", "r")


def test_obligations_that_the_schema_knows_are_let_through_to_who_carries_them_out():
    schema = jsonschema_rs.validator_for(json.loads((policies.SCHEMAS / "decision-output.v1.json").read_text()))
    for one in (
        HOLD,
        {"kind": "redact", "path": None, "kinds": ["secret"]},
        {"kind": "redact", "path": "/text", "finding": "secret.jwt"},
        {"kind": "cap", "path": "/n", "max": 3},
        {"kind": "cap", "path": "/s", "max_length": 3},
        {"kind": "label", "label": "untrusted"},
        {"kind": "require_idempotency_key"},
        {"kind": "something_later"},
    ):
        document = ALLOW | {"obligations": [one]}
        assert schema.is_valid(document), one
        assert decision.parse(document).obligations == (one,)


def test_a_failure_is_a_deny_with_its_code():
    found = decision.deny("pdp_timeout", "Too late.")
    assert (found.allow, found.verdict, found.failure, found.codes) == (False, "deny", "pdp_timeout", ("pdp_timeout",))


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 3) | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


@given(st.sampled_from([ALLOW, DENY]), st.data())
def test_no_mutation_turns_into_an_allow_that_the_schema_would_refuse(base, data):
    schema = jsonschema_rs.validator_for(json.loads((policies.SCHEMAS / "decision-output.v1.json").read_text()))
    document = copy.deepcopy(base)
    name = data.draw(st.sampled_from(sorted(document)))
    if data.draw(st.booleans()):
        del document[name]
    else:
        document[name] = data.draw(json_values)
    found = decision.parse(document)
    if found.allow:
        assert schema.is_valid(document)
        assert document["allow"] is True
