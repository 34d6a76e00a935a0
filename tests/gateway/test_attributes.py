"""The decision input: what a policy sees of one call, to the letter of its schema."""

import json
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from uuid import UUID

import jsonschema_rs
import pytest

from gateway import attributes
from gateway.breakers import Seen
from gateway.exchange import Approval, Request
from gateway.facts import Claim, Facts
from gateway.limits import Reserved
from gateway.principal import Principal
from gateway.sessions import Entered
from registry.resolve import Contract

SCHEMA = jsonschema_rs.Draft202012Validator(
    json.loads((Path(__file__).parents[2] / "policies/schemas/decision-input.v1.json").read_text())
)
ID = UUID("01a20631-45ca-780b-930b-31325331f336")
DIGEST = "sha256:" + "0" * 64
TOOL = {"effect": "keyed", "risk": "high", "labels_out": ["untrusted", "external"], "labels_in": ["pii"]}


def facts(content=TOOL, kind="tool", arguments=None, **more):
    release = SimpleNamespace(
        agent="steward",
        digest=DIGEST,
        policy=DIGEST,
        baseline=DIGEST,
        environment="development",
        labels=("b", "a"),
        slot_id=ID,
    )
    made = Facts(
        Claim(ID, 1, 1),
        Principal("agent", ID, ID, "development", "steward", None, frozenset({"tools:call"}), None, f"credential:{ID}"),
        Request(kind, "mail", arguments or {}, "k", "c"),
        datetime(2026, 11, 22, 23, 59, tzinfo=UTC),
        session=Entered(ID, ID, DIGEST, "person:x", "customer-7", False, ("untrusted",)),
        release=release,
        contract=Contract(kind, "mail", DIGEST, content),
        reserved=Reserved([{"name": "budget.steps", "used": 1, "limit": 5}], 3, 20, 7, Seen(UUID(int=1))),
    )
    for name, value in more.items():
        setattr(made, name, value)
    return made


def test_the_input_is_what_its_schema_says():
    findings = [{"kind": "secret.aws", "path": "/to", "severity": "high"}]
    run = {"id": str(ID), "step": 2, "starter": "person:x"}
    approval = Approval(ID, "person:b", DIGEST, ("person_decides",), ())
    request = Request("tool", "mail", {"to": "a"}, "k", "c", run=run)
    document = attributes.build(facts(findings=findings, request=request, claim=Claim(ID, 1, 2, approval)))
    assert list(SCHEMA.iter_errors(document)) == []
    assert (document["run"], document["approval"]["codes"]) == (run, ["person_decides"])
    assert document["time"] == {"now": 1795391940000, "hour": 23, "weekday": "sunday"}
    assert document["provenance"] == []
    assert document["principal"]["on_behalf_of"] == "customer-7"
    assert document["call"]["tool"]["labels"] == ["external", "untrusted"]


@pytest.mark.parametrize(("provider", "labels"), [("scripted", []), ("openai", ["external"])])
def test_a_model_call_reads_and_leaves_the_house_unless_it_is_scripted(provider, labels):
    document = attributes.build(facts({"provider": provider}, kind="model"))
    tool = document["call"]["tool"]
    assert (tool["effect"], tool["risk"], tool["labels"]) == ("read", "low", labels)
    assert list(SCHEMA.iter_errors(document)) == []


@pytest.mark.parametrize(
    ("pointers", "arguments", "found"),
    [
        (["/to"], {"to": "a@b"}, [("/to", "a@b")]),
        (["/to"], {}, []),
        (["/to"], {"to": ["a", "b"]}, [("/to/0", "a"), ("/to/1", "b")]),
        (["/to"], {"to": {"x": 1, "a/b~": None}}, [("/to/x", 1), ("/to/a~1b~0", None)]),
        (["/to/1"], {"to": ["a", "b"]}, [("/to/1", "b")]),
        (["/to/9", "/to/x"], {"to": ["a"]}, []),
        (["/a~1b"], {"a/b": True}, [("/a~1b", True)]),
        (["/to"], {"to": 1.5}, [("/to", "1.5")]),
    ],
)
def test_each_value_that_says_where_data_goes_is_shown_with_its_place(pointers, arguments, found):
    document = attributes.build(facts(TOOL | {"destinations": pointers}, arguments=arguments))
    assert [(one["path"], one["value"]) for one in document["call"]["destinations"]] == found
    assert list(SCHEMA.iter_errors(document)) == []


def test_a_session_keeps_its_bucket_and_buckets_are_even():
    buckets = [attributes.bucket("salt", UUID(int=number)) for number in range(4000)]
    assert buckets == [attributes.bucket("salt", UUID(int=number)) for number in range(4000)]
    assert 0 <= min(buckets) <= max(buckets) < attributes.BUCKETS
    assert 1800 < len([one for one in buckets if one < attributes.BUCKETS // 2]) < 2200
    assert buckets[0] != attributes.bucket("another", UUID(int=0)) or buckets[1] != attributes.bucket(
        "another", UUID(int=1)
    )
