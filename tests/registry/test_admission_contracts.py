"""Admission of the other kinds: what their JSON Schema cannot say."""

import pytest

from audit.refusal import Refusal
from registry import admission, content

OBJECT = {"type": "object", "properties": {"to": {"type": "string"}}}
TOOL = {"description": "Send.", "input_schema": OBJECT, "effect": "unsafe", "risk": "low"}
PROMPT = {"template": "Dear {{ name }}", "variables": {"type": "object", "properties": {"name": {"type": "string"}}}}


def failed(kind, content):
    return {one.name: one.output for one in admission.check(kind, content) if not one.passed}


def test_sound_contracts_pass():
    assert failed("tool", TOOL | {"destinations": ["/to"]}) == {}
    assert failed("prompt", PROMPT) == {}
    assert failed("prompt", PROMPT | {"dialect": "jinja2"}) == {}
    assert admission.check("agent", {"pins": []}) == []


@pytest.mark.parametrize(
    ("schema", "says"),
    [
        ({"type": "object", "properties": {"x": {"$ref": "https://example.com/s.json"}}}, "leads outside"),
        ({"$dynamicRef": "other.json"}, "leads outside"),
        ({"type": "objekt"}, "does not compile"),
        ({"type": "object", "properties": {"x": {"pattern": "(a)\\1"}}}, "linear-time patterns"),
        ({"type": "object", "properties": {"x": {"pattern": "^(?=a)"}}}, "linear-time patterns"),
        ({"type": "object", "properties": {"x": {"pattern": "(a{1000}){1000}{1000}"}}}, "linear-time patterns"),
    ],
)
def test_a_schema_that_cannot_be_used_is_refused(schema, says):
    assert says in failed("tool", TOOL | {"input_schema": schema})["schemas"]
    assert says in failed("prompt", PROMPT | {"output_schema": schema})["schemas"]


@pytest.mark.parametrize(
    ("schema", "pointer", "reaches"),
    [
        (OBJECT, "/to", True),
        (OBJECT, "/too", False),
        ({"type": "object", "properties": {"to": {"type": "array", "items": OBJECT}}}, "/to/0/to", True),
        ({"type": "object", "properties": {"to": {"type": "array", "items": OBJECT}}}, "/to/0/cc", False),
        ({"type": "object"}, "/anything", True),
        ({"type": "object", "additionalProperties": False}, "/to", False),
        ({"oneOf": [OBJECT, {"type": "object", "properties": {"cc": {}}}]}, "/cc", True),
        ({"oneOf": [OBJECT]}, "/cc", False),
        ({"$ref": "#/$defs/a", "$defs": {"a": OBJECT}}, "/to", True),
        ({"type": "object", "properties": {"a/b": {}}}, "/a~1b", True),
    ],
)
def test_a_destination_must_be_an_argument_that_there_can_be(schema, pointer, reaches):
    problems = failed("tool", TOOL | {"input_schema": schema, "destinations": [pointer]})
    assert ("pointers" not in problems) is reaches


MCP = {"kind": "mcp", "tool": "send", "definition": "sha256:" + "1" * 64}
HTTP = {"kind": "http", "endpoint": "forge", "method": "POST", "path": "/mail/{to}"}


@pytest.mark.parametrize("transport", [MCP | {"launcher": "mail"}, MCP | {"endpoint": "mail"}, HTTP])
def test_a_tool_is_reached_by_a_name_of_the_deployment(transport):
    assert content.check("tool", "send", TOOL | {"transport": transport})


@pytest.mark.parametrize(
    ("transport", "field"),
    [
        (MCP, "/content/transport"),
        (MCP | {"launcher": "mail", "endpoint": "mail"}, "/content/transport"),
        (MCP | {"endpoint": "https://mail.example/mcp"}, "/content/transport/endpoint"),
        (HTTP | {"url": "https://mail.example"}, "/content/transport"),
        (HTTP | {"path": "https://mail.example/"}, "/content/transport/path"),
        (HTTP | {"path": "@mail.example/"}, "/content/transport/path"),
        (HTTP | {"path": "/x?to={to}"}, "/content/transport/path"),
        (HTTP | {"path": "/x#{to}"}, "/content/transport/path"),
        (HTTP | {"path": "/%2e%2e/x"}, "/content/transport/path"),
        (HTTP | {"method": "CONNECT"}, "/content/transport/method"),
        (HTTP | {"headers": {"Authorization": "x"}}, "/content/transport"),
    ],
)
def test_a_contract_holds_no_address_and_no_header_of_its_own(transport, field):
    with pytest.raises(Refusal) as refused:
        content.check("tool", "send", TOOL | {"transport": transport})
    assert (refused.value.code, refused.value.field) == ("content_invalid", field)


@pytest.mark.parametrize("taken", ["messages", "model", "tools", "n", "max_tokens", "stream_options", "store"])
def test_the_parameters_of_a_model_cannot_say_what_the_call_says(taken):
    prices = {"input_micro_usd_per_million_tokens": 1, "output_micro_usd_per_million_tokens": 1}
    model = {"provider": "openai", "model": "m", "endpoint": "lab", "context_length": 8000, "prices": prices}
    assert content.check("model", "m", model | {"parameters": {"temperature": 0.2, "stream": True}})
    with pytest.raises(Refusal) as refused:
        content.check("model", "m", model | {"parameters": {taken: 1}})
    assert (refused.value.code, refused.value.field) == ("content_invalid", "/content/parameters")


CLOSED = OBJECT | {"required": ["to"], "additionalProperties": False}


@pytest.mark.parametrize(
    ("agreed", "schema", "says"),
    [
        ({"method": "GET", "path": "/x/{to}"}, CLOSED, None),
        ({"method": "POST", "path": "/x"}, OBJECT, None),
        ({"method": "GET", "path": "/x", "query": ["to"]}, CLOSED, None),
        ({"method": "GET", "path": "/x"}, CLOSED, "no body for to"),
        ({"method": "GET", "path": "/x/{to}"}, OBJECT | {"required": ["to"]}, "additionalProperties: false"),
        ({"method": "POST", "path": "/x/{to}"}, OBJECT, "must be a required argument"),
        ({"method": "POST", "path": "/x/{cc}"}, OBJECT | {"required": ["cc"]}, "describes no argument cc"),
        ({"method": "POST", "path": "/x", "query": ["cc"]}, OBJECT, "describes no argument cc"),
        ({"method": "POST", "path": "/x/{to}", "query": ["to"]}, CLOSED, "has two places"),
        ({"method": "POST", "path": "/x/{to}/{to}"}, CLOSED, "has two places"),
        ({"method": "POST", "path": "/x/../{to}"}, CLOSED, "the parts . and .."),
    ],
)
def test_every_argument_of_an_http_tool_needs_one_place(agreed, schema, says):
    transport = {"kind": "http", "endpoint": "forge", **agreed}
    problems = failed("tool", TOOL | {"input_schema": schema, "transport": transport})
    assert (says is None and problems == {}) or says in problems["placement"]


@pytest.mark.parametrize(
    ("template", "says"),
    [
        ("{{ name", "does not parse"),
        ("{{ nobody }}", "'nobody'"),
        ("{% include 'other' %}", "includes another"),
    ],
)
def test_a_jinja2_template_must_parse_and_declare_what_it_uses(template, says):
    assert says in failed("prompt", PROMPT | {"dialect": "jinja2", "template": template})["template"]
