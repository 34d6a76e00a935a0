"""The same key again: replays, further attempts, and what becomes of a call whose process died."""

import signal

import pytest

from audit.refusal import Refusal
from gateway import calls, pep, transport
from tests.gateway.stage import DURING, at_once, effects, events, fresh, let_time_pass, query, state_of


def test_the_same_request_replays_the_stored_outcome_without_a_second_execution(stage, agent):
    value = fresh()
    first = stage.call(agent, "launch", value, key=value)
    second = stage.call(agent, "launch", value, key=value)
    assert (second.status, second.replayed, second.result) == ("finished", True, first.result)
    assert (second.call, second.receipts, second.labels) == (first.call, first.receipts, first.labels)
    assert len(effects(value)) == 1
    assert events(first.call) == ["call.decided", "call.completed"]


def test_a_denial_is_replayed_with_its_reasons(stage, agent):
    first = stage.call(agent, "forbidden", "v", key="denied")
    second = stage.call(agent, "forbidden", "v", key="denied")
    assert (second.status, second.code, second.replayed) == ("denied", "tool_denied", True)
    assert [r.message for r in second.decision.reasons] == [r.message for r in first.decision.reasons]
    assert second.message == first.message


@pytest.mark.parametrize(
    "other", [{"value": "another"}, {"name": "put"}, {"session": "01a20631-45ca-780b-930b-31325331f336"}]
)
def test_a_key_stands_for_one_call_only(stage, agent, other):
    stage.call(agent, "look", "v", key="mine")
    asked = {"name": "look", "value": "v", "key": "mine"} | other
    with pytest.raises(Refusal) as refused:
        stage.call(agent, **asked)
    assert (refused.value.status, refused.value.code) == (422, "key_reused")
    assert effects("another") == []


def test_two_credentials_may_use_the_same_key(stage):
    value = fresh()
    outcomes = [stage.call(stage.agent(), "look", value, key="same") for _ in range(2)]
    assert [outcome.replayed for outcome in outcomes] == [False, False]
    assert len({effect["key"] for effect in effects(value)}) == 2


def test_fifty_requests_with_one_key_at_once_execute_once(stage, agent):
    value = fresh()
    asked = stage.request("put", value, key=value)
    outcomes = at_once(*[lambda: pep.call(agent, asked, now=stage.now)] * 50)
    assert len(effects(value)) == 1
    assert {outcome.status for outcome in outcomes} <= {"finished", "in_flight"}
    assert len([outcome for outcome in outcomes if outcome.status == "finished" and not outcome.replayed]) == 1
    assert pep.call(agent, asked, now=stage.now).replayed


def test_while_a_call_is_under_way_the_same_request_is_told_so(stage, agent):
    value, told = fresh(), []
    asked = stage.request("put", value)
    DURING[value] = lambda: told.extend(at_once(lambda: pep.call(agent, asked, now=stage.now)))
    assert pep.call(agent, asked, now=stage.now).status == "finished"
    assert [(outcome.status, outcome.retry_after) for outcome in told] == [("in_flight", 1)]
    assert len(effects(value)) == 1


def test_what_never_reached_the_tool_may_be_tried_again_with_the_same_key(stage, agent):
    first = stage.call(agent, "launch", "unreachable", key="again")
    second = stage.call(agent, "launch", "unreachable", key="again")
    assert [(one.status, one.code, one.again) for one in (first, second)] == [("failed", "tool_unreachable", True)] * 2
    assert (second.call, second.attempt) == (first.call, 2)
    assert events(first.call) == ["call.decided", "call.failed"] * 2


@pytest.mark.parametrize("tool", ["look", "put", "pay"])
def test_a_repeatable_call_with_an_unknown_outcome_gets_a_new_decision_and_keeps_its_key(stage, agent, tool):
    before = len(effects("lost"))
    outcomes = [stage.call(agent, tool, "lost", key="k") for _ in range(2)]
    assert [(one.status, one.attempt, one.again) for one in outcomes] == [("unknown", 1, True), ("unknown", 2, True)]
    assert len({effect["key"] for effect in effects("lost")[before:]}) == 1
    assert events(outcomes[0].call) == ["call.decided", "call.lost"] * 2


def test_a_keyed_call_is_not_repeated_after_its_dedup_window(stage, agent):
    before = len(effects("lost"))
    first = stage.call(agent, "pay", "lost", key="k")
    query("UPDATE gateway_call SET repeatable_until = now() - interval '1 s' WHERE id = %s", first.call)
    second = stage.call(agent, "pay", "lost", key="k")
    assert (second.status, second.attempt, second.replayed) == ("unknown", 1, True)
    assert len(effects("lost")) == before + 1


def test_an_unsafe_call_with_an_unknown_outcome_waits_for_a_person(stage, agent):
    before = len(effects("lost"))
    first = stage.call(agent, "launch", "lost", key="k")
    second = stage.call(agent, "launch", "lost", key="k")
    assert [(one.status, one.again) for one in (first, second)] == [("unknown", False)] * 2
    assert len(effects("lost")) == before + 1
    assert state_of(first.call) == "unknown"


def test_a_person_settles_that_it_happened(stage, agent):
    lost = stage.call(agent, "launch", "lost", key="k")
    settled = _settle(stage, lost, "olga", "happened", {"seen": True})
    again = stage.call(agent, "launch", "lost", key="k")
    assert (settled.status, again.status, again.result) == ("finished", "finished", {"seen": True})
    assert events(lost.call) == ["call.decided", "call.lost", "call.settled"]


def test_a_person_settles_that_it_did_not_happen_and_the_key_may_be_used_again(stage, agent):
    before = len(effects("lost"))
    lost = stage.call(agent, "launch", "lost", key="k")
    settled = _settle(stage, lost, "olga", "did_not_happen")
    assert (settled.status, settled.code) == ("failed", "settled_did_not_happen")
    again = stage.call(agent, "launch", "lost", key="k")
    assert (again.attempt, len(effects("lost"))) == (2, before + 2)


@pytest.mark.parametrize(
    ("who", "code"), [("mallory", "not_found"), ("dave", "role_missing"), ("alice", "role_missing")]
)
def test_only_who_may_settle_settles(stage, agent, who, code):
    lost = stage.call(agent, "launch", "lost")
    with pytest.raises(Refusal) as refused:
        _settle(stage, lost, who, "happened")
    assert refused.value.code == code
    assert state_of(lost.call) == "unknown"


def test_a_finished_call_cannot_be_settled(stage, agent):
    done = stage.call(agent, "launch")
    with pytest.raises(Refusal) as refused:
        _settle(stage, done, "olga", "did_not_happen")
    assert refused.value.code == "call_not_unknown"


def test_an_error_of_the_transport_counts_as_perhaps_executed(stage, agent, monkeypatch):
    outcome = stage.call(agent, "launch", "bug")
    assert (outcome.status, outcome.code, outcome.again) == ("unknown", "tool_protocol_error", False)
    monkeypatch.setattr(transport, "invoke", lambda *given, **named: 1 / 0)
    outcome = stage.call(agent, "launch")
    assert (outcome.status, outcome.code, outcome.again) == ("unknown", "outcome_unknown", False)


def test_the_sweeper_tells_of_calls_whose_process_died(stage, agent, victim, tmp_path):
    value, log = fresh(), tmp_path / "effects"
    _die(victim, agent, "put", value, "gateway.invoked", log)
    call = query("SELECT id FROM gateway_call WHERE credential_id = %s AND key = %s", agent.id, value)[0][0]
    let_time_pass(call)
    calls.sweep(stage.now)
    assert (state_of(call), events(call)) == ("unknown", ["call.decided", "call.lost"])
    assert stage.call(agent, "put", value, key=value).attempt == 2


def test_a_late_answer_replaces_unknown(stage, agent):
    value = fresh()

    def overtaken():
        call = query("SELECT id FROM gateway_call WHERE key = %s", value)[0][0]
        let_time_pass(call)
        calls.sweep(stage.now)

    DURING[value] = lambda: at_once(overtaken)
    outcome = stage.call(agent, "launch", value, key=value)
    assert (outcome.status, state_of(outcome.call)) == ("finished", "completed")
    assert events(outcome.call) == ["call.decided", "call.lost", "call.completed"]


def test_an_answer_that_a_further_attempt_has_overtaken_counts_no_more(stage, agent):
    value, second = fresh(), []
    asked = stage.request("put", value, key=value)

    def overtaken():
        DURING.pop(value)
        let_time_pass(query("SELECT id FROM gateway_call WHERE key = %s", value)[0][0])
        second.append(pep.call(agent, asked, now=stage.now))

    DURING[value] = lambda: at_once(overtaken)
    first = pep.call(agent, asked, now=stage.now)
    assert (first.status, second[0].status, second[0].attempt) == ("in_flight", "finished", 2)
    assert len({effect["key"] for effect in effects(value)}) == 1


def test_a_key_is_free_again_after_its_time_and_never_while_the_outcome_is_unknown(stage, agent):
    done, lost = stage.call(agent, "look", "v", key="old"), stage.call(agent, "launch", "lost", key="kept")
    query("UPDATE gateway_call SET expires_at = now() WHERE credential_id = %s", agent.id)
    calls.sweep(stage.now)
    assert stage.call(agent, "look", "other", key="old").call != done.call
    with pytest.raises(Refusal):
        stage.call(agent, "launch", "other", key="kept")
    assert state_of(lost.call) == "unknown"


def test_an_erased_outcome_is_gone_and_is_not_executed_again(stage, agent):
    from audit import sealed

    value = fresh()
    first = stage.call(agent, "put", value, key=value)
    session = query("SELECT session_id FROM gateway_call WHERE id = %s", first.call)[0][0]
    sealed.erase(
        stage.workspace.pk, f"session:{session}", actor=stage.people["adam"].actor, now=stage.now, correlation_id="test"
    )
    with pytest.raises(Refusal) as refused:
        stage.call(agent, "put", value, key=value)
    assert (refused.value.status, refused.value.code) == (410, "outcome_erased")
    assert len(effects(value)) == 1


def _settle(stage, outcome, who, what, result=None):
    return pep.settle(
        outcome.call, person=stage.people[who], outcome=what, result=result, now=stage.now, correlation_id="test"
    )


def _die(victim, agent, tool, value, point, log):
    """Make the call in a process that is killed at `point`."""
    order = {"credential": str(agent.id), "tool": tool, "value": value, "key": value, "point": point, "log": str(log)}
    assert victim(order) == str(signal.SIGKILL.value)
