"""The floor and the starters: admissible, tested beside their rules, and alike to what the docs promise."""

import json
import re

import jsonschema_rs
import pytest

from registry import admission, policies, rego, rendering
from registry.admission import trials
from tests.policies.inputs import EXAMPLE

SHIPPED = ("floor", "baseline", "release")


@pytest.mark.parametrize("name", SHIPPED)
def test_a_shipped_policy_passes_its_own_admission_gate(name):
    results = admission.check("policy", policies.shipped(name))
    assert [(one.name, one.passed) for one in results] == [
        (check, True) for check in ("form", "text", "portable", "tests", "time", "deletion")
    ], results


@pytest.mark.parametrize("name", SHIPPED)
def test_every_rego_test_beside_the_rules_passes(name):
    content = policies.shipped(name)
    root = rendering.root("sha256:" + "a" * 64)
    modules = {path: rendering.render_text(text, root) for path, text in content["modules"].items()}
    tests = {path: rendering.render_text(text, root, tests=True) for path, text in content["tests"].items()}
    ran = trials.run(modules, {"placet": {root: content["data"]}}, tests, root=root)
    assert ran.failed == []
    assert ran.count == sum(len(re.findall(r"^test_\w+ if", text, re.M)) for text in content["tests"].values()) > 3


@pytest.mark.parametrize("name", SHIPPED)
def test_each_reason_code_of_a_shipped_policy_has_a_test(name):
    content = policies.shipped(name)
    codes = set(re.findall(r'"code": "(\w+)"', "".join(content["modules"].values())))
    tests = "".join(content["tests"].values())
    assert codes
    assert {code for code in codes if f'"{code}"' not in tests} == set()


@pytest.mark.parametrize("name", SHIPPED)
def test_a_shipped_policy_says_what_it_is_for(name):
    for text in policies.shipped(name)["modules"].values():
        assert text.startswith("# METADATA\n# title: ")
        # OPA and regorus answer `not` alike only with this import.
        assert "import future.keywords.not" in text
        for rule in ("allow", "reasons", "obligations"):
            assert re.search(rf"# title: {rule.title()}\n", text), rule


def test_the_frozen_schemas_are_json_schemas_and_the_example_fits():
    for name in ("decision-input.v1.json", "decision-output.v1.json"):
        schema = json.loads((policies.SCHEMAS / name).read_text())
        jsonschema_rs.meta.validate(schema)
        assert schema["additionalProperties"] is False
        assert set(schema["required"]) == set(schema["properties"])
    schema = json.loads((policies.SCHEMAS / "decision-input.v1.json").read_text())
    jsonschema_rs.validator_for(schema).validate(EXAMPLE)


def test_nothing_but_arguments_is_free_form_in_the_input():
    schema = json.loads((policies.SCHEMAS / "decision-input.v1.json").read_text())
    free = []

    def look(part, path):
        if isinstance(part, dict):
            if part.get("type") == "object" and part.get("additionalProperties") is not False:
                free.append(path)
            for name, member in part.items():
                look(member, f"{path}/{name}")
        elif isinstance(part, list):
            for at, member in enumerate(part):
                look(member, f"{path}/{at}")

    look(schema, "")
    assert free == ["/properties/call/properties/arguments"]


def test_the_floor_has_a_digest_without_a_row():
    assert re.fullmatch("sha256:[0-9a-f]{64}", policies.floor_digest())
    changed = policies.shipped("floor")
    changed["modules"]["policy.rego"] += "\n"
    assert policies.shipped("floor") != changed


def test_a_policy_that_does_not_ship_is_an_error():
    with pytest.raises(LookupError, match="ships with Placet"):
        policies.shipped("ceiling")


def test_a_shipped_text_uses_no_character_that_opa_fmt_would_change():
    # Tabs, no trailing blanks, one newline at the end: what `opa fmt` of 1.20.2 left alone.
    for name in SHIPPED:
        content = policies.shipped(name)
        for text in [*content["modules"].values(), *content["tests"].values()]:
            assert not re.search(r"[ \t]+$|^ +\S", text, re.M)
            assert text.endswith("\n")
            assert not text.endswith("\n\n")


def test_the_engine_says_which_one_it_is():
    assert re.fullmatch(r"regorus \d+\.\d+\.\d+", rego.ENGINE)
