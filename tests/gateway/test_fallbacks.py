"""When a tool is away and nothing has happened, the contract's fallback answers: governed, linked, and never silent."""

import json
import signal

import pytest
from django.test import Client, override_settings

from gateway import holds, pep
from gateway.models import Call, Hold
from gateway.transport.outcome import TransportFailed
from tests.gateway.stage import DURING, SCHEMA, TOOLS, at_once, effects, events, fresh, let_time_pass, query, records

AWAY = {"transport": {"kind": "python", "function": "nowhere"}}
OTHER = {"transport": {"kind": "python", "function": "stage"}}
TOOLSET = {
    "first": TOOLS["put"] | AWAY | {"fallback": "put"},
    "bold": TOOLS["launch"] | AWAY | {"fallback": "launch"},
    "timid": TOOLS["launch"] | {"fallback": "put"},
    "into_denied": TOOLS["put"] | AWAY | {"fallback": "forbidden"},
    "into_held": TOOLS["put"] | AWAY | {"fallback": "careful"},
    "into_away": TOOLS["put"] | AWAY | {"fallback": "second"},
    "second": TOOLS["put"] | AWAY | {"fallback": "put"},
    "flaky": TOOLS["put"] | {"fallback": "pay"},
    "narrow_minded": TOOLS["put"] | AWAY | {"fallback": "numbers"},
    "numbers": TOOLS["put"] | {"input_schema": SCHEMA | {"required": ["count"]}},
    "alone": TOOLS["put"] | AWAY,
} | {name: TOOLS[name] for name in ("put", "pay", "launch", "forbidden", "careful")}


@pytest.fixture(scope="module")
def _falling(_shared, django_db_blocker):
    with django_db_blocker.unblock(), override_settings(PLACET_DECISION_TIMEOUT_MS=10_000):
        _shared.live(TOOLSET, agent="falling")


@pytest.fixture
def agent(_falling, stage):
    return stage.agent(agent="falling")


def calls_of(agent):
    """Return (name, state, fallback, instead_of) of the agent's calls, in order."""
    return list(
        Call.objects.filter(credential=agent.id).order_by("pk").values_list("name", "state", "fallback", "instead_of")
    )


def test_the_fallback_answers_by_a_governed_call_of_its_own(stage, agent):
    value = fresh()
    outcome = stage.call(agent, "first", value)
    assert (outcome.status, outcome.answered_by, outcome.result) == ("finished", "put", {"value": value})
    assert len(effects(value)) == 1
    first = outcome.instead_of
    assert calls_of(agent) == [("first", "failed", "put", None), ("put", "completed", "", first)]
    assert events(first) == ["call.decided", "call.failed"]
    assert records(first)[1][1]["data"]["fallback"] == "put"
    decided = records(outcome.call)[0][1]
    assert (decided["data"]["name"], decided["data"]["verdict"]) == ("put", "allow")
    assert decided["subjects"]["instead_of"] == str(first)
    assert records(first)[0][1]["subjects"]["session"] == decided["subjects"]["session"]


def test_without_a_fallback_the_failure_is_the_answer(stage, agent):
    outcome = stage.call(agent, "alone")
    assert (outcome.status, outcome.code, outcome.answered_by) == ("failed", "tool_unreachable", "")
    assert len(calls_of(agent)) == 1


def test_the_same_key_replays_what_the_fallback_answered(stage, agent):
    value, key = fresh(), fresh("key")
    first = stage.call(agent, "first", value, key=key)
    again = stage.call(agent, "first", value, key=key)
    assert (again.status, again.replayed, again.call, again.answered_by) == ("finished", True, first.call, "put")
    assert len(effects(value)) == 1


def test_an_unsafe_tool_has_a_fallback_only_if_it_cannot_have_happened(stage, agent):
    value = fresh()
    outcome = stage.call(agent, "bold", value)
    assert (outcome.status, outcome.answered_by, len(effects(value))) == ("finished", "launch", 1)
    outcome = stage.call(agent, "timid", "lost")
    assert (outcome.status, outcome.code) == ("unknown", "tool_timeout")
    assert [name for name, *_ in calls_of(agent)] == ["bold", "launch", "timid"]


def test_a_tool_that_answers_with_an_error_has_answered(stage, agent):
    outcome = stage.call(agent, "flaky", "error")
    assert (outcome.status, outcome.code, len(calls_of(agent))) == ("finished", "tool_error", 1)


@pytest.mark.parametrize(("tool", "denied"), [("into_denied", "tool_denied"), ("narrow_minded", "arguments_invalid")])
def test_a_fallback_that_is_denied_leaves_the_first_failure(stage, agent, tool, denied):
    value = fresh()
    outcome = stage.call(agent, tool, value)
    assert (outcome.status, outcome.code, outcome.again) == ("failed", "tool_unreachable", True)
    (first, _, _, _), (_, state, _, _) = calls_of(agent)
    assert (first, state, effects(value)) == (tool, "denied", [])
    assert Call.objects.get(instead_of=outcome.call).code == denied


def test_there_is_one_level_only(stage, agent):
    value = fresh()
    outcome = stage.call(agent, "into_away", value)
    assert (outcome.status, outcome.code, outcome.again) == ("failed", "tool_unreachable", True)
    assert [name for name, *_ in calls_of(agent)] == ["into_away", "second"]
    assert effects(value) == []


def test_a_fallback_is_held_like_any_call_and_released_in_its_place(stage, agent):
    value, key = fresh(), fresh("key")
    parked = stage.call(agent, "into_held", value, key=key)
    assert (parked.status, effects(value)) == ("parked", [])
    hold = Hold.objects.get(pk=parked.hold)
    how = {"now": stage.now, "correlation_id": "test"}
    holds.approve(hold.pk, approver=stage.people["bob"], digest=hold.digest, **how)
    outcome = stage.call(agent, "into_held", value, key=key)
    assert (outcome.status, outcome.answered_by, len(effects(value))) == ("finished", "careful", 1)
    # And straight through the hold, as the executor's door does it.
    parked = stage.call(agent, "into_held", value, key=fresh("key"))
    hold = Hold.objects.get(pk=parked.hold)
    holds.approve(hold.pk, approver=stage.people["bob"], digest=hold.digest, **how)
    assert pep.release(hold.pk, now=stage.now).status == "finished"
    assert len(effects(value)) == 2


def test_once_the_fallback_acted_the_first_tool_is_not_asked_again_even_if_it_is_back(stage, agent):
    value, key = fresh(), fresh("key")
    _away_once(value)
    first = stage.call(agent, "flaky", value, key=key)
    assert (first.status, first.answered_by) == ("finished", "pay")
    again = stage.call(agent, "flaky", value, key=key)
    assert (again.status, again.replayed, again.answered_by) == ("finished", True, "pay")
    assert len(done(value)) == 1


def test_if_nothing_happened_there_either_the_first_tool_is_asked_again(stage, agent):
    value, key = fresh(), fresh("key")
    _away_once(value, times=2)
    outcome = stage.call(agent, "flaky", value, key=key)
    assert (outcome.status, outcome.again) == ("failed", True)
    outcome = stage.call(agent, "flaky", value, key=key)
    assert (outcome.status, outcome.answered_by, outcome.attempt) == ("finished", "", 2)
    assert len(done(value)) == 1
    assert stage.call(agent, "flaky", value, key=key).replayed


def test_callers_at_once_with_one_key_have_one_effect(stage, agent):
    for _ in range(5):
        value, key = fresh(), fresh("key")
        _away_once(value, times=2)
        for _ in range(3):
            at_once(*[lambda value=value, key=key: stage.call(agent, "flaky", value, key=key)] * 4)
        assert stage.call(agent, "flaky", value, key=key).status == "finished"
        assert len(done(value)) == 1


@pytest.mark.parametrize(
    "point", ["gateway.claimed", "gateway.reserved", "gateway.decided", "gateway.invoked", "gateway.completed"]
)
def test_whoever_dies_on_the_way_there_is_one_effect_of_each_key(stage, agent, victim, tmp_path, point):
    """The points are passed twice, by the first call and by the fallback; the fork dies at the second."""
    key, value, log = fresh("key"), fresh(), tmp_path / "log"
    log.touch()
    order = {"credential": str(agent.id), "tool": "first", "value": value, "key": key, "log": str(log)}
    assert int(victim(order | {"point": point, "skip": 1})) == signal.SIGKILL
    for (pk,) in query("SELECT id FROM gateway_call WHERE credential_id = %s", agent.id):
        let_time_pass(pk)
    outcome = stage.call(agent, "first", value, key=key)
    assert (outcome.status, outcome.answered_by) == ("finished", "put")
    keys = {effect["key"] for effect in effects(value)} | set(_logged(log))
    assert len(keys) == 1


def test_over_rest_the_answer_says_which_tool_gave_it(stage, _falling):
    client = Client(headers={"Authorization": f"Bearer {stage.key(agent='falling')}"})
    body = {"name": "first", "arguments": {"value": fresh()}}
    headers = {"Idempotency-Key": fresh("key")}
    answer = client.post("/api/v1/tool-calls/", body, content_type="application/json", headers=headers).json()
    assert (answer["status"], answer["answered_by"]) == ("finished", "put")
    first = client.get(f"/api/v1/tool-calls/{answer['instead_of']}/").json()
    assert (first["name"], first["fallback"], first["outcome"]["code"]) == ("first", "put", "tool_unreachable")


def _away_once(value, times=1):
    left = [times]

    def fail():
        left[0] -= 1
        if left[0] >= 0:
            raise TransportFailed("tool_unreachable", "no")
        _done.append(value)

    DURING[value] = fail


_done: list[str] = []


def done(value):
    """Return the effects of a tool that was away at first: those that got past it."""
    return [one for one in _done if one == value]


def _logged(log):
    return [json.loads(line)["key"] for line in log.read_text().splitlines()]
