"""docs/reference/policies.md knows every code that a decision point or a shipped policy can give, and no other."""

import json
import re
from pathlib import Path

from registry import policies

ROOT = policies.DIRECTORY.parent
PAGE = (ROOT / "docs/reference/policies.md").read_text()
SOURCES = (
    "gateway/pdp/__init__.py",
    "gateway/pdp/embedded.py",
    "gateway/pdp/opa.py",
    "gateway/pdp/shadow.py",
    "gateway/evaluator.py",
    "gateway/decision.py",
    "registry/rego.py",
    "registry/bundlefile.py",
)


def test_every_code_of_the_decision_point_is_documented():
    found = set()
    for name in SOURCES:
        text = (ROOT / name).read_text()
        found |= set(re.findall(r'"((?:pdp|policy|bundle)_[a-z_]+|input_invalid|denied_without_reason)"', text))
    found -= {"policy_test"}
    assert len(found) > 15
    assert {code for code in found if f"| `{code}` |" not in PAGE} == set()


def test_every_code_of_a_shipped_policy_is_documented_with_its_verdict():
    for name in ("floor", "baseline", "release"):
        text = policies.shipped(name)["modules"]["policy.rego"]
        denials = set(re.findall(r'denials contains \{"code": "(\w+)"', text))
        holds = set(re.findall(r'(?:holds|reasons) contains \{"code": "(\w+)"', text))
        assert denials
        assert {code for code in denials if f"| `{code}` | deny |" not in PAGE} == set()
        assert {code for code in holds if f"| `{code}` | hold |" not in PAGE} == set()


def test_every_member_of_the_input_is_documented():
    schema = json.loads((policies.SCHEMAS / "decision-input.v1.json").read_text())
    table = PAGE[PAGE.index("**Input**") : PAGE.index("**Output**")]
    for name, part in schema["properties"].items():
        assert f"| `{name}` |" in table
        inner = (
            part if "properties" in part else next((one for one in part.get("anyOf", []) if "properties" in one), {})
        )
        for member in inner.get("properties", {}):
            assert f"`{member}`" in table, f"{name}.{member}"


def test_every_admission_check_is_documented():
    for name in ("form", "text", "portable", "tests", "time", "deletion", "schemas", "pointers", "template"):
        assert f"`{name}`" in PAGE[PAGE.index("## Admission") : PAGE.index("## Bundles")]
    assert Path(ROOT / "registry/admission/builtins.py").exists()
