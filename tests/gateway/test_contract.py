"""Contracts: what fits, what does not, and schemas that cannot be used."""

import time

import jsonschema
import pytest

from audit.refusal import Refusal
from gateway import contract
from registry.resolve import Contract


def tool(schema, **more):
    name = f"sha256:{abs(hash(str(schema))):064x}"
    return Contract("tool", "t", name, {"input_schema": schema} | more)


OBJECT = {
    "type": "object",
    "properties": {"to": {"type": "string", "pattern": "^[a-z]+$"}, "n": {"type": "integer", "maximum": 9}},
    "required": ["to"],
    "additionalProperties": False,
}


@pytest.mark.parametrize(
    ("arguments", "path"),
    [
        ({}, ""),
        ({"to": "A"}, "/to"),
        ({"to": "a", "n": 10}, "/n"),
        ({"to": "a", "n": 1.5}, "/n"),
        ({"to": "a", "more": 1}, ""),
    ],
)
def test_arguments_that_do_not_fit_are_refused_with_their_place(arguments, path):
    with pytest.raises(Refusal) as refused:
        contract.check_arguments(tool(OBJECT), arguments)
    assert (refused.value.code, refused.value.field) == ("arguments_invalid", path)
    assert refused.value.extra["errors"][0]["path"] == path
    assert not jsonschema.Draft202012Validator(OBJECT).is_valid(arguments)


def test_arguments_that_fit_pass():
    contract.check_arguments(tool(OBJECT), {"to": "a", "n": 9})


@pytest.mark.parametrize(
    "schema",
    [
        {"$ref": "http://127.0.0.1:9/schema.json"},
        {"$ref": "file:///etc/passwd"},
        {"properties": {"a": {"$ref": "https://example.com/s"}}},
        {"type": "nonsense"},
        {"properties": {"a": {"pattern": "(?=a)b"}}},
        {"properties": {"a": {"pattern": "("}}},
        {"properties": {"a": {"pattern": "a{1000}{1000}"}}},
    ],
)
def test_a_schema_that_cannot_be_used_admits_nothing_and_fetches_nothing(schema):
    with pytest.raises(Refusal) as refused:
        contract.check_arguments(tool(schema), {"a": "b"})
    assert refused.value.code == "contract_invalid"


def test_a_pattern_takes_linear_time():
    started = time.process_time()
    with pytest.raises(Refusal):
        contract.check_arguments(tool({"properties": {"a": {"pattern": "^(a+)+$"}}}), {"a": "a" * 100_000 + "!"})
    assert time.process_time() - started < 5


def test_a_result_problem_names_the_place_and_not_the_value():
    agreed = tool({}, output_schema={"properties": {"a": {"type": "integer"}}})
    contract.check_result(agreed, {"a": 1})
    with pytest.raises(Refusal) as refused:
        contract.check_result(agreed, {"a": "a secret"})
    assert refused.value.code == "result_invalid"
    assert "secret" not in refused.value.detail
    assert "/a" in refused.value.detail


@pytest.mark.parametrize(
    "value", [{"a": float("nan")}, {"a": 2**60}, {"a": "\ud800"}, {"a": object()}, {"a": "x" * 1_048_577}]
)
def test_what_has_no_canonical_form_or_too_much_of_it_is_refused(value):
    with pytest.raises(Refusal) as refused:
        contract.check_size(value, code="arguments_too_large", what="arguments")
    assert refused.value.code == "arguments_too_large"


def test_a_models_arguments_are_messages():
    model = Contract("model", "m", "sha256:" + "1" * 64, {"provider": "scripted"})
    contract.check_arguments(model, {"messages": [{"role": "user", "content": "Go."}], "temperature": 0})
    for wrong in (
        {},
        {"messages": []},
        {"messages": [{"role": "boss", "content": ""}]},
        {"messages": [{"role": "user"}]},
    ):
        with pytest.raises(Refusal):
            contract.check_arguments(model, wrong)
