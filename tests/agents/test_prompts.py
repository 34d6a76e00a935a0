"""Prompts are rendered from approved templates, strictly: nothing is guessed, executed or expanded twice."""

import pytest

from agents import prompts
from audit.refusal import Refusal

ANY = {"type": "object"}


def render(template, inputs=None, *, schema=ANY, **more):
    """Render a template."""
    return prompts.render({"template": template, "variables": schema} | more, inputs or {})


def jinja(template, inputs=None, **more):
    """Render a template in the jinja2 dialect."""
    return render(template, inputs, dialect="jinja2", **more)


def refused(*given, call=render, **more):
    """Return the code with which a rendering is refused."""
    with pytest.raises(Refusal) as refusal:
        call(*given, **more)
    return refusal.value.code


def test_names_are_replaced_once_and_values_are_not_expanded():
    assert render("{{ a }}-{{b}}", {"a": "{{b}}", "b": "x"}) == "{{b}}-x"


def test_values_that_are_no_text_become_json():
    assert render("{{n}} {{t}} {{o}}", {"n": 3, "t": True, "o": {"b": [None], "a": 1}}) == '3 true {"a":1,"b":[null]}'


@pytest.mark.parametrize(
    "template", ["{{a.b}}", "{{ a|upper }}", "{{}}", "{{a", "a}}", "{{ a b }}", "{% if a %}{{a}}{{"]
)
def test_braces_that_are_no_name_are_refused(template):
    assert refused(template, {"a": "x"}) == "prompt_invalid"


def test_a_missing_input_is_refused():
    assert refused("{{a}}", {"b": 1}) == "inputs_invalid"


def test_inputs_have_to_fit_the_agreed_schema():
    schema = {"type": "object", "properties": {"a": {"type": "string", "maxLength": 3}}, "additionalProperties": False}
    assert render("{{a}}", {"a": "yes"}, schema=schema) == "yes"
    assert refused("{{a}}", {"a": "long"}, schema=schema) == "inputs_invalid"
    assert refused("{{a}}", {"a": "yes", "b": 1}, schema=schema) == "inputs_invalid"


def test_size_is_bounded():
    assert refused("{{a}}", {"a": "x" * 100_001}) == "inputs_too_large"
    assert refused("{{a}}" * 3, {"a": "x" * 90_000}) == "prompt_too_long"
    assert refused("{{a}}", {"a": "x" * 41}, max_input_tokens=10) == "prompt_too_long"
    assert render("{{a}}", {"a": "x" * 40}, max_input_tokens=10)


def test_jinja2_has_values_conditions_and_loops():
    template = "{% for i in items %}{{ loop.index }}:{{ i.name }} {% endfor %}{{ 'many' if items|length > 1 else '' }}"
    assert jinja(template, {"items": [{"name": "a"}, {"name": "b"}]}) == "1:a 2:b many"


@pytest.mark.parametrize(
    "template",
    [
        "{{ missing }}",
        "{{ items.__class__ }}",
        "{{ ''.__class__.__mro__ }}",
        "{{ items.append }}",
        "{{ items.append(1) }}",
        "{{ range(10**9) }}",
        "{{ 'x' * 10**9 }}",
        "{{ 'x'|center(10000000) }}",
        "{{ lipsum() }}",
        "{{ cycler }}",
        "{{ self }}",
        "{% set a = 1 %}",
        "{% include 'x' %}",
        "{% import 'x' as x %}",
        "{% macro f() %}{{ f() }}{% endmacro %}",
        "{% for a in items recursive %}{{ loop(items) }}{% endfor %}",
        "{% for a in items %}{% for b in items %}{% for c in items %}{% endfor %}{% endfor %}{% endfor %}",
        "{% for a in items %}{{ items|sort }}{% endfor %}",
        "{{ items|attr('pop') }}",
        "{% if %}",
        "{{ items[99] }}",
    ],
)
def test_jinja2_knows_nothing_else(template):
    assert refused(template, {"items": ["a"]}, call=jinja) == "prompt_invalid"


def test_jinja2_output_is_bounded():
    template = "{% for a in items %}{% for b in items %}{{ 'xxxxxxxxxxxxxxxxxxxx' }}{% endfor %}{% endfor %}"
    assert refused(template, {"items": [1] * 2000}, call=jinja) == "prompt_too_long"


@pytest.mark.parametrize(
    ("schema", "text", "fits"),
    [
        (None, "anything", True),
        ({"type": "object", "required": ["a"]}, '{"a":1}', True),
        ({"type": "object", "required": ["a"]}, '{"b":1}', False),
        ({"type": "object"}, "no JSON", False),
        ({"type": "object"}, '{"a":1,"a":2}', False),
        ({"type": "object"}, "[" * 100 + "]" * 100, False),
        ({"type": "string", "minLength": 2}, "ok", True),
        ({"type": "string", "minLength": 2}, "k", False),
        ({"enum": ["yes", "no"]}, '"yes"', True),
    ],
)
def test_an_answer_is_held_against_the_agreed_schema(schema, text, fits):
    assert (prompts.judge(schema, text) is None) is fits
