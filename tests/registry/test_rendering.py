"""Rendering: the author's root becomes the policy's own place, and nothing else can be named."""

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from registry import policies, rego, rendering
from registry.admission import portable

DIGEST = "sha256:" + "5" * 64
ROOT = rendering.root(DIGEST)


def render(text, **options):
    return rendering.render_text(text, ROOT, **options)


def test_package_and_references_move_to_the_place_of_the_policy():
    text = "package policy\n\nallow if data.policy.limits.calls > input.session.calls\n"
    assert render(text) == (
        f"package placet.{ROOT}\n\nallow if data.placet.{ROOT}.limits.calls > input.session.calls\n"
    )


def test_a_package_below_the_root_stays_below_it():
    assert render("package policy.money\nx := 1") == f"package placet.{ROOT}.money\nx := 1"


def test_an_import_of_the_root_keeps_the_name_that_it_gave():
    assert render("package policy.x\nimport data.policy\ny := policy.z") == (
        f"package placet.{ROOT}.x\nimport data.placet.{ROOT} as policy\ny := policy.z"
    )
    assert f"import data.placet.{ROOT} as p\n" in render("package policy\nimport data.policy as p\n")
    assert f"import data.placet.{ROOT}.money\n" in render("package policy\nimport data.policy.money\n")


@pytest.mark.parametrize(
    "line",
    [
        '# data.other.x, package other\nx := "data.other.x package other"',
        "x := `data.other\npackage other`",
        "x := input.data.other",
        'x := input["data"]',
        'x := "\\"data.other"',
    ],
)
def test_comments_texts_and_fields_are_left_alone(line):
    assert render(f"package policy\n{line}\n") == f"package placet.{ROOT}\n{line}\n"


@pytest.mark.parametrize(
    "text",
    [
        "package placet\n",
        f"package placet.{ROOT}\n",
        "package placet.p_1\nallow := true\n",
        "package policyx\n",
        "package other.policy\n",
        "package\npolicy\n",
        "package  policy\n",
        "package policy\npackage placet\n",
        "x := 1\n",
        "package policy\nimport data.placet\n",
        "package policy\nimport data\n",
        "package policy\nx := data\n",
        'package policy\nx := data["policy"]\n',
        'package policy\nx := data["placet"].decision\n',
        "package policy\nx := data.placet.decision\n",
        "package policy\nx := data .policy.y\n",
        "package policy\nx := data\n\t.policy.y\n",
        "package policy\nx := [data | true]\n",
        "package policy\nx if { some data in [1] }\n",
        "package policy\nx := data.policy_test.y\n",
        "package policy\nx := data # \n.policy\n",
        "package policy\r\nx := 1\n",
        "package policy\nx := 1 # \u2028package placet\n",
        "package policy\nx := 1 # \rpackage placet\n",
        "package policy\nx := \u200b1\n",
        "package policy\nx := \u00fc\n",
        'package policy\nx := "open\n',
        "package policy\nx := `open\n",
        "package policy\nx := 1 \x00\n",
        "\ufeffpackage policy\nx := 1\n",
    ],
)
def test_a_text_that_names_another_root_cannot_be_rendered(text):
    with pytest.raises(rendering.NotRenderable):
        render(text)


def test_tests_have_a_package_of_their_own():
    assert render("package policy_test\nx := data.policy.y\n", tests=True) == (
        f"package placet.{ROOT}_test\nx := data.placet.{ROOT}.y\n"
    )
    with pytest.raises(rendering.NotRenderable):
        render("package policy_test\n")


def test_the_digest_must_be_one():
    for wrong in ("", "sha256:", "sha256:" + "5" * 63, "sha256:" + "G" * 64, "sha256:" + "5" * 64 + "\n"):
        with pytest.raises(rendering.NotRenderable):
            rendering.root(wrong)


def test_files_stand_under_the_root_and_data_too():
    content = {"modules": {"a.rego": "package policy\n", "b/c.rego": "package policy.b\n"}, "data": {"z": 1, "a": [2]}}
    assert set(rendering.render(content, DIGEST)) == {f"{ROOT}/a.rego", f"{ROOT}/b/c.rego"}
    assert rendering.render_data(content, DIGEST) == {f"{ROOT}/data.json": '{"a":[2],"z":1}'}
    assert rendering.render_data({"modules": {}, "data": {}}, DIGEST) == {}


@pytest.mark.parametrize(
    ("text", "depth"), [("x := 1", 0), ("x := [{(1)}]", 3), ('x := "[[[[" # [[[[', 0), ("`[[`\n[]", 1)]
)
def test_brackets_are_counted_in_code_only(text, depth):
    assert rendering.deepest(text) == depth


words = st.sampled_from(
    [
        "data",
        "policy",
        "input",
        "x",
        "allow",
        "package",
        "import",
        "as",
        "some",
        "in",
        "if",
        "placet",
        "decision",
        "not",
    ]
)
pieces = st.one_of(
    words,
    st.sampled_from([".", " ", "\n", "\t", ":=", "[", "]", "{", "}", '"', "`", "#", "1", "1.", "|", ",", "\\", "$"]),
    st.sampled_from(["data.policy", "data.placet", "package policy\n", "import data.policy\n", "policy_test", ".data"]),
)


few = st.lists(pieces, min_size=1, max_size=5).map("".join)
lines = st.one_of(
    few.map(lambda some: f"x := {some}\n"),
    few.map(lambda some: f"y if {{ some z in {some} }}\n"),
    few.map(lambda some: f"import {some}\n"),
    few.map(lambda some: f"a contains b if b := [c | c := {some}]\n"),
    few.map(lambda some: f"f(data) := {some}\n"),
    few,
)


@settings(max_examples=600, deadline=None)
@given(st.lists(lines, max_size=4).map("".join))
def test_whatever_the_text_rendered_modules_stay_in_their_place(text):
    """Either it cannot be rendered, or the engine does not parse it, or each root in its tree is the policy's."""
    source = "package policy\n" + text
    try:
        rendered = render(source)
        if rendering.deepest(source) > 8:
            return
        tree = rego.parse({"m.rego": rendered})["m.rego"]
    except (rendering.NotRenderable, rego.RegoFailed):
        return
    module = portable.Module("m.rego", tree, rendered, ROOT)
    assert module.inside
    problems = portable.check({"m.rego": tree}, {"m.rego": rendered}, root=ROOT, data={})
    outside = [problem for problem in problems if "data may be read only" in problem]
    assert outside == []


@given(st.text(st.characters(codec="utf-8"), max_size=60))
def test_rendering_never_fails_in_another_way(text):
    try:
        render(text)
        rendering.deepest(text)
    except rendering.NotRenderable:
        pass


@pytest.mark.parametrize("name", ["floor", "baseline", "release"])
def test_rendering_changes_nothing_but_the_root(name):
    for text in policies.shipped(name)["modules"].values():
        assert render(text).replace(f"placet.{ROOT}", "policy") == text
        assert render(text).count("\n") == text.count("\n")
        code = "\n".join(line for line in render(text).splitlines() if not line.startswith("#"))
        assert not re.search(r"\bdata\.(?!placet\.p_)", code)
