"""Admission of policies: what is refused, by which check, and that nothing of it harms the process that asks."""

import json
import os
import threading
import time

import pytest

from registry import admission, policies
from registry.admission import bounds, builtins
from tests.policies.inputs import document

HEAD = "package policy\n\nimport future.keywords.not\n\n"
RULES = """default allow := false

allow if {
	quiet
	helper(input.call.tool.risk)
}

quiet if input.call.tool.effect == "read"

helper(risk) if risk in {"low", "medium"}
"""
TESTS = (
    "package policy_test\n\nimport future.keywords.not\n\n"
    "test_reads_are_allowed if {\n\tdata.policy.allow with input as read\n}\n\n"
    "test_effects_are_denied if {\n\tnot data.policy.allow with input as effect\n}\n"
)


def policy(rules=RULES, *, head=HEAD, tests=TESTS, more=None, data=None, **content):
    """Return a small policy that is admissible as it stands, with parts replaced."""
    cases = f"\nread := {json.dumps(document({'call': {'tool': {'effect': 'read'}}}), indent=1)}\n"
    cases += f"\neffect := {json.dumps(document({'call': {'tool': {'effect': 'unsafe'}}}), indent=1)}\n"
    return {
        "modules": {"policy.rego": head + rules} | (more or {}),
        "data": data or {},
        "tests": {"policy_test.rego": tests + cases} if isinstance(tests, str) else tests or {},
        "requires": "portable",
    } | content


def failed(content):
    """Return (name, output) of the first check that failed, None if all passed."""
    results = admission.check("policy", content)
    assert [one.name for one in results] == ["form", "text", "portable", "tests", "time", "deletion"]
    return next(((one.name, one.output) for one in results if not one.passed), None)


def test_the_small_policy_of_these_tests_is_admitted():
    results = admission.check("policy", policy())
    assert all(one.passed for one in results), results
    assert {one.name: one.output for one in results}["tests"] == "2 tests passed"


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (policy(modules={}), "a policy needs a module"),
        (policy(modules={"../x.rego": "package policy"}), "no plain path"),
        (policy(modules={"x.txt": "package policy"}), "no plain path"),
        (policy(modules={"x.rego": 7}), "must map file names to texts"),
        (policy(modules="package policy"), "must map file names to texts"),
        (policy(tests={"policy.rego": "package policy_test"}), "the name of a module"),
        (policy(modules={f"m{n}.rego": "package policy\n" for n in range(40)}), "at most 32 files"),
        (policy(modules={"x.rego": "package policy\n#" + "x" * bounds.MAX_BYTES}), "bytes; at most"),
        (policy(data={"price": 0.5}), "state it in millionths"),
        (policy(data={"n": 2**60}), "not canonical"),
        (policy(data=[1]), "data must be an object"),
        (policy(requires="opa"), "needs an OPA server"),
    ],
)
def test_a_form_that_cannot_be_a_policy_is_refused(content, says):
    name, output = failed(content)
    assert name == "form"
    assert says in output


@pytest.mark.parametrize(
    ("rules", "head", "says"),
    [
        ("x := " + "[" * 9 + "]" * 9, HEAD, "brackets nest 9 deep"),
        ("x := " + '{"a":' * 60 + "1" + "}" * 60, HEAD, "brackets nest 60 deep"),
        ("x := " + "(" * 20_000, HEAD, "brackets nest 20000 deep"),
        ("x := data.placet.decision", HEAD, "data may be read only as data.policy"),
        ("x := data[y]", HEAD, "data may be read only as data.policy"),
        ('decision := {"allow": true}', "package placet\n", "the package must be policy"),
        ("allow := true", f"package placet.p_{'a' * 64}\n", "the package must be policy"),
        ("x := 1\r\n", HEAD, "a character that may not stand here"),
    ],
)
def test_a_text_is_looked_at_before_any_parser_sees_it(rules, head, says):
    began = time.process_time()
    name, output = failed(policy(rules, head=head))
    assert name == "text"
    assert says in output
    assert time.process_time() - began < 5


SHADOWS = {
    "floor": f"package placet.{'p_' + policies.floor_digest()[7:]}\n\nallow := true\n",
    "router": "package placet\n\ndecision := {}\n",
    "router by rule": "package policy\n\nimport data.placet\n\nplacet.decision := true\n",
    "another release": "package placet.p_" + "b" * 64 + "\n\nallow := true\n",
    "baseline through data": "package policy\n\nx := data.placet\n",
    "through input": "package policy\n\nimport input as data\n\nallow := true\n",
    "hidden line": "package policy\n#\u2028package placet\nallow := true\n",
}


@pytest.mark.parametrize("target", sorted(SHADOWS))
def test_a_policy_that_reaches_for_floor_baseline_router_or_another_release_is_refused(target):
    name, _ = failed(policy(more={"evil.rego": SHADOWS[target]}))
    assert name == "text"


@pytest.mark.parametrize(
    ("rules", "says"),
    [
        ("allow := http.send({})", "http.send is not a function"),
        ("allow if time.now_ns() > 0", "time.now_ns is not a function"),
        ('allow if opa.runtime().env.HOME == "x"', "opa.runtime is not a function"),
        ('allow if rand.intn("x", 2) == 1', "rand.intn is not a function"),
        ("allow if count(numbers.range(1, 9)) > 0", "numbers.range is not a function"),
        ("allow if print(1)", "print is not a function"),
        ("allow if nonsense(1)", "nonsense is not a function"),
        ('allow if io.jwt.decode("x")', "io.jwt.decode is not a function"),
        ("allow if input.price > 0.5", "only integers within 2^53"),
        ("allow if input.price > 9007199254740993", "only integers within 2^53"),
        ("allow if input.a / 2 > 1", "division gives fractions"),
        ('allow if sprintf("%s", [1]) == "1"', "with %v only"),
        ("allow if sprintf(input.x, [1]) == input.y", "with %v only"),
        ("allow if regex.match(input.pattern, input.x)", "the pattern of regex.match must be a literal"),
        ("allow if [_, _] = walk(input)", "write walk(x, [path, value])"),
        ("allow if input.call.default", "a keyword as a field"),
        ('allow if true with input as {"a": 1}', "`with` belongs in tests"),
        ("allow if f(1)\n\nf(x) := f(x)", "recursion: f -> f"),
        ("allow if a\n\na if b\n\nb if a", "recursion"),
        ("allow if f(1)\n\nf(x) := g(x)\n\ng(x) := f(x)", "recursion"),
        ("allow if input.x == data.policy.nothing", "must name one of its rules"),
        ("allow if data.policy[input.x]", "must name one of its rules"),
        ("allow if count(data.policy) > 0", "must name one of its rules"),
        ("allow if some_rule\n\nx.y := 1\n\nsome_rule := 1", "a rule's name is one word"),
        ("allow if x\n\nx[1].z := 4", "a rule's name is one word"),
        ("allow if { some quiet in input.x }\n\nquiet := 1", "hides a rule"),
        ("allow if f(1)\n\nf(input) := 1", "hides a rule"),
        ("allow if { every input in [1] { input == 1 } }", "hides a rule"),
        ("allow if x\n\nx contains f.a if some f in input.l", "must be bound in its body first"),
        ('allow if x\n\nx contains {"k": f["a"]} if some f in input.l', "must be bound in its body first"),
        ("allow if x\n\nx[k] := f.a if some k, f in input.l", "must be bound in its body first"),
        ("allow if x\n\nx contains abs(f) if some f in input.l", "must be bound in its body first"),
        ("allow if count\n\ncount := true", "that is a builtin's name"),
        ("allow if test_x\n\ntest_x := true", "belong in the policy's tests"),
        ("allow(x) := true", "allow of package policy must be a plain rule"),
        ("deny := true", "package policy needs a rule allow"),
        ('allow if $"a{1}"', "invalid character"),
        ("allow if {", "expecting"),
    ],
)
def test_a_form_that_is_not_portable_is_refused_with_its_line(rules, says):
    name, output = failed(policy(rules))
    assert name in ("portable", "text")
    assert says in output
    assert (
        "policy.rego:" in output or "recursion" in output or "package policy needs" in output or "plain rule" in output
    )


def test_not_needs_the_import_that_closes_the_gap_between_engines():
    rules = "allow if not input.call.blocked\n"
    assert failed(policy(rules, head="package policy\n\n"))[1].startswith("policy.rego:1: import future.keywords.not")


def test_imports_are_followed_and_foreign_ones_refused():
    below = "package policy.money\n\nsmall if input.session.spend.cost_micro_usd < data.policy.most\n"
    rules = "import data.policy.money\n\n" + RULES.replace("\tquiet\n", "\tquiet\n\tmoney.small\n")
    assert failed(policy(rules, more={"money.rego": below}, data={"most": 5})) is None
    cyclic = below + "\nlarge if data.policy.allow\n\nsmaller if large\n"
    rules = rules.replace("money.small", "money.smaller")
    assert "recursion" in failed(policy(rules, more={"money.rego": cyclic}, data={"most": 5}))[1]
    assert "import rego.v2 is not portable" in failed(policy("import rego.v2\n\n" + RULES))[1]
    assert "may not be called count" in failed(policy("import input.call as count\n\n" + RULES))[1]


def test_data_may_not_stand_where_rules_stand():
    assert "data has a member allow" in failed(policy(data={"allow": True}))[1]
    below = {"money.rego": "package policy.money\n\nx := 1\n"}
    assert "data has a member money" in failed(policy(more=below, data={"money": {"x": 2}}))[1]
    assert "is both a rule and a package" in failed(policy(RULES + "\nmoney := 1\n", more=below))[1]


@pytest.mark.parametrize(
    ("tests", "check", "says"),
    [
        (None, "tests", "a policy needs tests"),
        ("package policy_test\n\nx := 1\n", "tests", "a policy needs tests"),
        (TESTS + "\ntest_wrong if {\n\tdata.policy.allow with input as effect\n}\n", "tests", "failed: test_wrong"),
        (TESTS + "\ntest_error if {\n\t1 / 0 == 1\n}\n", "tests", "test_error: "),
        (TESTS.replace("policy_test", "policy"), "portable", "the package of tests must be policy_test"),
        (TESTS + "\ntest_x if {\n\topa.runtime().env\n}\n", "portable", "not a function that tests may call"),
        (
            TESTS + '\ntest_part if {\n\tdata.policy.allow with input.call.tool.effect as "read"\n}\n',
            "portable",
            "`with` may replace the whole input",
        ),
    ],
)
def test_a_policy_without_good_tests_of_its_own_is_refused(tests, check, says):
    name, output = failed(policy(tests=tests))
    assert name == check
    assert says in output


def test_tests_cannot_make_the_policy_pass_by_adding_to_it():
    helping = TESTS + '\nallow := true\n\ntest_x if {\n\tdata.policy.allow with input as {"call": 1}\n}\n'
    assert failed(policy(tests=helping))[0] == "tests"


WIDENING = {
    # The classic: without `effect` the comparison is undefined and the denial is gone.
    "not equal": 'allow if not refused\n\nrefused if input.call.tool.effect != "read"\n',
    "a message that needs the attribute": (
        "allow if count(reasons) == 0\n\n"
        'reasons contains {"code": "effect", "message": said} if {\n\tnot quiet\n'
        '\tsaid := sprintf("%v may not", [input.call.tool.name])\n}\n\n'
        'quiet if input.call.tool.effect == "read"\n'
    ),
    "a label that is looked for": (
        'allow if not tainted\n\ntainted if "untrusted" in input.session.labels\n\n'
        'tainted if input.call.tool.effect in {"keyed", "unsafe"}\n'
    ),
}


@pytest.mark.parametrize("case", sorted(WIDENING))
def test_a_denial_that_vanishes_with_an_attribute_is_refused(case):
    name, output = failed(policy("default allow := false\n\n" + WIDENING[case]))
    assert name == "deletion"
    assert "becomes allow" in output
    assert "/call/tool" in output


def test_a_hold_that_vanishes_with_an_attribute_is_refused():
    rules = """default allow := false

allow if input.call.tool.effect in {"read", "keyed"}

obligations contains {"kind": "hold", "code": "person"} if input.call.tool.effect == "keyed"

obligations contains {"kind": "hold", "code": "price"} if input.session.spend.tokens >= 0
"""
    name, output = failed(policy(rules))
    assert name == "deletion"
    assert "without /session/spend a hold (no reason) becomes allow." in output


def test_a_policy_must_show_that_it_denies_something():
    always = TESTS.replace("\tnot data.policy.allow with input as effect", "\tdata.policy.allow with input as effect")
    name, output = failed(policy("default allow := true\n", tests=always))
    assert name == "deletion"
    assert "is denied or held" in output


def test_deletion_counts_only_complete_inputs():
    partly = TESTS + '\ntest_x if {\n\tnot data.policy.allow with input as {"call": {"tool": {"effect": "keyed"}}}\n}\n'
    results = {one.name: one for one in admission.check("policy", policy(tests=partly))}
    assert results["deletion"].passed
    assert results["deletion"].output.endswith("1 test inputs incomplete")


def test_a_policy_that_loops_is_killed_and_the_others_go_on(monkeypatch):
    """A nested walk over its own data: no recursion, no forbidden function, and no end for hours."""
    monkeypatch.setattr(bounds, "CPU_SECONDS", 2)
    data = {"l": list(range(2000))}
    loops = "".join(f"\tsome {x} in data.policy.l\n" for x in "abc")
    rules = RULES + f"\nallow if {{\n{loops}\ta + b + c < 0\n}}\n"
    found = []
    slow = threading.Thread(target=lambda: found.append(failed(policy(rules, data=data))))
    slow.start()
    # While the child burns its time, this process answers as before.
    assert failed(policy()) is None
    slow.join(bounds.WALL_SECONDS + 10)
    name, output = found[0]
    assert name == "tests"
    assert "did not come to an end within 2 s of CPU" in output


def test_a_policy_that_eats_memory_is_killed(monkeypatch):
    monkeypatch.setattr(bounds, "MEMORY_BYTES", 300 << 20)
    data = {"l": list(range(400))}
    triples = "; ".join(f"some {x} in data.policy.l" for x in "abc")
    rules = RULES + f"\nallow if count([[a, b, c] | {triples}]) < 0\n"
    name, output = failed(policy(rules, data=data))
    assert name == "tests"
    assert "crashed the engine" in output or "did not come to an end" in output


def test_a_slow_policy_is_refused():
    data = {"l": list(range(800))}
    rules = RULES + "\nallow if {\n\tsome a in data.policy.l\n\tsome b in data.policy.l\n\ta + b < 0\n}\n"
    tests = TESTS.replace(
        "\tnot data.policy.allow with input as effect", "\tnot data.policy.quiet with input as effect"
    )
    name, output = failed(policy(rules, data=data, tests=tests))
    assert name == "time"
    assert "ms of CPU; at most" in output


def test_the_subprocess_sees_no_secret_of_ours(monkeypatch):
    monkeypatch.setenv("DATABASE_URL", "postgresql://secret")
    assert set(bounds.ENVIRONMENT) == {"PATH", "LANG", "MIMALLOC_ARENA_RESERVE", "RUST_BACKTRACE"}
    assert failed(policy()) is None
    assert os.environ["DATABASE_URL"] == "postgresql://secret"


def test_the_allowlist_names_only_functions_that_the_engine_knows():
    from registry import rego

    for name in sorted(builtins.TESTS):
        arguments = {"walk": "1, x"}.get(name, "1")
        text = f"package policy\n\nx := {name}({arguments})\n"
        if name == "walk":
            text = "package policy\n\nx if walk(1, [_, _])\n"
        engine = rego.Engine({"m.rego": text})
        try:
            engine.evaluate("data.policy.x", "{}")
        except rego.RegoFailed as error:
            assert "could not find function" not in error.detail, name
