"""The database goes away in the middle of a call: nothing runs unrecorded, and what is not on record is not told."""

import pytest
from django.db import transaction

from audit.refusal import Refusal
from gateway import attributes, calls
from tests.audit import trails
from tests.gateway.stage import DURING, effects, fresh, let_time_pass, query, state_of


def test_a_connection_lost_before_the_decision_refuses_the_call(stage, agent, monkeypatch):

    value, build = fresh(), attributes.build
    monkeypatch.setattr(attributes, "build", lambda facts: _cut() or build(facts))
    with pytest.raises(Refusal) as refused:
        stage.call(agent, "put", value, key=value)
    assert (refused.value.status, refused.value.code, effects(value)) == (503, "decision_unrecorded", [])
    monkeypatch.undo()
    let_time_pass(query("SELECT id FROM gateway_call WHERE key = %s", value)[0][0])
    assert stage.call(agent, "put", value, key=value).status == "finished"
    assert len(effects(value)) == 1


def test_a_decision_whose_commit_was_lost_in_silence_executes_nothing(stage, agent, monkeypatch):
    value = fresh()
    # As if the decision put a label on the session: then more than one statement makes a transaction.
    monkeypatch.setattr(calls, "_together", lambda more: transaction.atomic())
    monkeypatch.setattr(calls.tokens, "keep", lambda cursor, facts: trails.lose_commit())
    with pytest.raises(Refusal) as refused:
        stage.call(agent, "put", value, key=value)
    assert (refused.value.status, refused.value.code, effects(value)) == (503, "decision_unrecorded", [])
    monkeypatch.undo()
    call = query("SELECT id FROM gateway_call WHERE key = %s", value)[0][0]
    assert state_of(call) == "claimed"
    let_time_pass(call)
    assert stage.call(agent, "put", value, key=value).status == "finished"
    assert len(effects(value)) == 1


def test_after_a_connection_lost_while_the_tool_works_only_what_is_on_record_is_told(stage, agent):
    value = fresh()
    DURING[value] = _cut
    outcome = stage.call(agent, "pay", value)
    DURING.pop(value)
    # Whoever asks the database in between, the breaker say, finds the loss and makes the connection anew.
    told = (outcome.status, state_of(outcome.call))
    assert told in {("finished", "completed"), ("unknown", "decided")}
    assert len(effects(value)) == 1


def test_a_connection_lost_before_the_outcome_is_recorded_withholds_it(stage, agent, monkeypatch):
    value, finish = fresh(), calls.finish
    monkeypatch.setattr(calls, "finish", lambda *given, **named: _cut() or finish(*given, **named))
    outcome = stage.call(agent, "pay", value, key=value)
    assert (outcome.status, outcome.code, outcome.result, outcome.again) == (
        "unknown",
        "outcome_unrecorded",
        None,
        True,
    )
    assert state_of(outcome.call) == "decided"
    monkeypatch.undo()
    let_time_pass(outcome.call)
    again = stage.call(agent, "pay", value, key=value)
    assert (again.status, again.attempt) == ("finished", 2)
    assert len({effect["key"] for effect in effects(value)}) == 1


def _cut():
    """End the connection of this thread as a crash of the server would."""
    backend = query("SELECT pg_backend_pid()")[0][0]
    query("SELECT pg_terminate_backend(%s)", backend, using="web")
