"""Shadow mode: two engines are asked; one that is on trial may forbid, may be away, and may never allow."""

import os
import signal

import pytest

from gateway import telemetry
from gateway.pdp import shadow
from registry.models import Environment
from tests.gateway import opas
from tests.gateway.stage import effects, fresh, records
from tests.gateway.test_pdp_opa import ALLOW, decided, http, make, opa, said, use

__all__ = ["opa", "use"]
DENY = {"allow": False, "layers": ALLOW["layers"] | {"release": False}}
EMPTY = {"reasons": [], "obligations": [], "labels": []}
REASON = {"code": "on_a_whim", "message": "No.", "layer": "release"}


@pytest.fixture
def wire(stage, agent, opa, use, monkeypatch):
    """A wire to the second engine, which is ready."""
    monkeypatch.setattr(shadow, "PATIENCE_SECONDS", 5.0)
    opened = opas.Wire(opa.place.socket)
    use(opened.url)
    make(stage, agent, "put")
    use(opened.url, "shadow")
    yield opened
    opened.down()


@pytest.fixture
def second_says(stage, wire):
    """Return a function that puts a decision into the second engine's mouth."""
    live = Environment.objects.get(workspace=stage.workspace, name="development").bundle_revision

    def say(decision):
        wire.toxic = ("answer", http(200, said(decision, revision=live)))

    return say


def compared():
    return telemetry.SHADOWED.labels("compared")._value.get()


def differences(what):
    return telemetry.DIFFERENCES.labels(what)._value.get()


def differed(outcome):
    """Return the data of the record that the engines differed over a call, None if there is none."""
    found = [body["data"] for event, body in records(outcome.call) if event == "gateway.pdp.differed"]
    return found[0] if found else None


def test_engines_that_agree_leave_no_trace(stage, agent, wire):
    before = compared()
    for name, status in (("put", "finished"), ("forbidden", "denied"), ("careful", "parked")):
        outcome, value = make(stage, agent, name, wanted=status)
        assert differed(outcome) is None
        assert len(decided(outcome)["decision_id"]) == 36
        assert decided(outcome)["engine"].startswith("regorus ")
        assert len(effects(value)) == (status == "finished")
    assert compared() >= before + 3
    assert wire.questions >= 3


def test_a_call_that_only_one_of_them_allows_is_denied(stage, agent, second_says):
    second_says(DENY | EMPTY | {"reasons": [REASON]})
    before = differences("allow")
    value = fresh()
    outcome = stage.call(agent, "put", value)
    assert (outcome.status, outcome.code, effects(value)) == ("denied", "pdp_differed", [])
    record = differed(outcome)
    assert record["differs"] == ["allow", "reasons"]
    assert record["first"]["engine"].startswith("regorus ")
    assert record["second"]["engine"] == "opa 1.20.2"
    assert record["first"]["decision"] != record["second"]["decision"]
    assert value not in str(record)
    assert differences("allow") == before + 1
    # The second one alone allows nothing either.
    second_says(ALLOW | EMPTY)
    value = fresh()
    outcome = stage.call(agent, "forbidden", value)
    assert (outcome.status, outcome.code, effects(value)) == ("denied", "pdp_differed", [])
    assert "allow" in differed(outcome)["differs"]


@pytest.mark.parametrize(
    ("change", "differs"),
    [
        ({"reasons": [REASON]}, ["reasons"]),
        ({"labels": ["pii"]}, ["labels"]),
        ({"obligations": [{"kind": "notify", "code": "x"}]}, ["obligations"]),
    ],
)
def test_a_difference_in_other_things_is_told_and_the_first_engine_counts(stage, agent, second_says, change, differs):
    second_says(ALLOW | EMPTY | change)
    value = fresh()
    outcome = stage.call(agent, "put", value)
    assert (outcome.status, len(effects(value))) == ("finished", 1)
    assert differed(outcome)["differs"] == differs
    assert outcome.labels == ()


def test_a_second_engine_that_finds_no_decision_differs_too(stage, agent, wire):
    wire.toxic = ("answer", http(500, {"code": "x", "errors": [{"code": "eval_conflict_error"}]}))
    value = fresh()
    outcome = stage.call(agent, "put", value)
    assert (outcome.status, outcome.code, effects(value)) == ("denied", "pdp_differed", [])
    assert differed(outcome)["differs"] == ["allow", "failure"]


def test_a_second_engine_that_is_away_takes_no_call_down_and_is_left_alone_for_a_while(stage, agent, opa, wire):
    make(stage, agent, "put")
    wire.down()
    for _ in range(3):
        outcome, value = make(stage, agent, "put")
        assert len(effects(value)) == 1
        assert differed(outcome) is None
    assert telemetry.SHADOWED.labels("pdp_unavailable")._value.get() >= 1
    assert telemetry.SHADOWED.labels("away")._value.get() >= 1


def test_a_second_engine_that_hangs_is_not_waited_for(stage, agent, opa, use, monkeypatch):
    use(f"unix://{opa.place.socket}", "shadow")
    monkeypatch.setattr(shadow, "PATIENCE_SECONDS", 0.01)
    late = telemetry.SHADOWED.labels("late")._value.get()
    os.kill(opa.pid, signal.SIGSTOP)
    try:
        _, value = make(stage, agent, "put")
    finally:
        os.kill(opa.pid, signal.SIGCONT)
    assert len(effects(value)) == 1
    assert telemetry.SHADOWED.labels("late")._value.get() == late + 1
