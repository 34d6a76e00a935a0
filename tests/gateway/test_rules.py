"""The rule behind a reason, and the steps of the line, as far as texts and records tell."""

from gateway.views import line, rules
from registry import policies

FLOOR = policies.shipped("floor")["modules"]


def test_the_rule_that_gives_a_code_is_found_whole():
    rule = rules.giving(FLOOR, "untrusted_high_risk")
    assert rule.module == "policy.rego" and rule.text.startswith("denials contains {")
    assert rule.text.endswith("\n}") and "not bounded_risk" in rule.text
    assert FLOOR["policy.rego"].split("\n")[rule.line - 1] == rule.text.split("\n")[0]


def test_every_code_that_the_shipped_policies_give_has_a_rule():
    import re

    for name in ("floor", "baseline", "release"):
        modules = policies.shipped(name)["modules"]
        for text in modules.values():
            for code in re.findall(r'"code": "([a-z_]+)"', text):
                rule = rules.giving(modules, code)
                assert rule is not None and f'"{code}"' in rule.text, (name, code)


def test_a_question_for_a_person_is_found_by_its_reason_and_not_by_its_obligation():
    modules = policies.shipped("release")["modules"]
    rule = rules.giving(modules, "person_decides")
    assert rule.text.splitlines()[-1].startswith("reasons contains") and "asks if" not in rule.text


def test_a_code_that_no_text_gives_has_no_rule():
    assert rules.giving(FLOOR, "no_such_code") is None
    assert rules.giving({"a.rego": '# "no_such_code"\npackage policy'}, "no_such_code") is None


def gone(**changes):
    base = {"verdict": "allow", "state": "completed", "code": "", "document": {"findings": [], "limits": []}}
    base |= {"decided": {"engine": "embedded", "obligations": []}, "outcome": {"duration_ms": 7, "labels": ["pii"]}}
    return line.Gone(**base | {"changed": 0, "erased": False} | changes)


def tones(**changes):
    return [step.tone for step in line.steps(gone(**changes))]


def test_there_are_always_eleven_steps_and_a_denial_ends_at_the_one_that_gave_its_code():
    assert tones() == ["allow"] * 11
    for number, codes in line.ENDS.items():
        for code in codes:
            steps = line.steps(gone(verdict="deny", state="denied", code=code, outcome=None))
            assert [step.number for step in steps] == list(range(1, 12))
            assert [step.number for step in steps if step.tone == "deny"] == [number]
            assert all(step.said == "Not reached." for step in steps if step.number > number and step.number != 8)
    # A policy's own code, and one that nobody knows, are the decision's.
    assert tones(verdict="deny", state="denied", code="custom_rule", outcome=None)[5] == "deny"


def test_every_code_of_the_line_that_denies_before_a_policy_speaks_is_known_here():
    from gateway.reasons import REASONS

    codes = {code for codes in line.ENDS.values() for code in codes}
    assert codes <= set(REASONS)


def test_what_is_not_known_is_not_told_as_done():
    held = line.steps(gone(verdict="hold", state="parked", code="untrusted_session", outcome=None))
    assert held[5].tone == "hold" and held[8].said.startswith("Not executed")
    lost = line.steps(gone(state="unknown", code="outcome_unknown", outcome={"duration_ms": None}))
    assert lost[8].said == "Nobody can tell whether it was executed."
    under_way = line.steps(gone(state="decided", outcome=None))
    assert under_way[8].said == "Under way." and under_way[10].said == "Not reached."
    erased = line.steps(gone(document=None, erased=True))
    assert erased[3].said == "Erased with its data subject."
