"""A tool that is away is not asked until a probe has found it back, whichever process asks."""

import signal
import threading
import time

import pytest
from django.test import Client, override_settings

from gateway import breakers
from gateway.models import Breaker
from tests.gateway.stage import DURING, TOOLS, at_once, effects, events, fresh, query, records

THREE = {"PLACET_BREAKER_FAILURES": 3}
# Tools of these tests alone, because a breaker is everybody's.
OWN = {f"flaky{number}": TOOLS["look"] for number in range(20)}


@pytest.fixture(scope="module")
def flaky_stage(_shared, django_db_blocker):
    """The shared stage with an agent of its own, whose tools no other test asks."""
    with django_db_blocker.unblock(), override_settings(PLACET_DECISION_TIMEOUT_MS=10_000):
        _shared.live(OWN, agent="flaky")
    return _shared


@pytest.fixture
def tool():
    """The name of a tool that nobody has asked yet."""
    return next(_names)


_names = iter(OWN)


@pytest.fixture
def agent(flaky_stage, stage):
    return stage.agent(agent="flaky")


@pytest.fixture
def call(stage, agent, tool):
    """Return a function: value -> the outcome of a call of the tool."""

    def make(value=None, **more):
        with override_settings(**THREE):
            return stage.call(agent, tool, value, **more)

    return make


def row_of(tool):
    return Breaker.objects.filter(name=tool).first()


def moves(tool):
    """Return the events about a tool's breaker, in order, with who said so."""
    rows = query(
        """SELECT event, actor, convert_from(body, 'UTF8')::jsonb #>> '{data,by}' FROM audit_record
           WHERE event LIKE 'gateway.breaker.%%' AND convert_from(body, 'UTF8')::jsonb #>> '{data,name}' = %s
           ORDER BY id""",
        tool,
    )
    return [(event.removeprefix("gateway.breaker."), actor, by) for event, actor, by in rows]


def let_probe(tool):
    """Let the time of the next probe have come."""
    query("UPDATE gateway_breaker SET probe_at = now() - interval '1 s' WHERE name = %s", tool)


def open_it(call):
    for _ in range(3):
        assert call("unreachable").code == "tool_unreachable"


def test_a_tool_that_is_away_is_not_asked_any_more(call, tool):
    open_it(call)
    value = fresh()
    outcome = call(value)
    assert (outcome.status, outcome.code, outcome.again) == ("failed", "breaker_open", True)
    assert 1 <= outcome.retry_after <= 30
    assert effects(value) == []
    # It was allowed, and that is on record; so is that nothing was executed.
    assert events(outcome.call) == ["call.decided", "call.failed"]
    assert records(outcome.call)[0][1]["data"]["verdict"] == "allow"
    assert moves(tool) == [("opened", "system:gateway", "call")]


def test_the_same_key_succeeds_once_the_tool_is_back(call, tool):
    open_it(call)
    value, key = fresh(), fresh("key")
    assert call(value, key=key).code == "breaker_open"
    let_probe(tool)
    outcome = call(value, key=key)
    assert (outcome.status, outcome.attempt) == ("finished", 2)
    assert len(effects(value)) == 1
    assert row_of(tool).state == "closed"
    assert [event for event, _, _ in moves(tool)] == ["opened", "closed"]


def test_a_probe_that_fails_opens_the_breaker_for_longer(call, tool):
    open_it(call)
    first = row_of(tool)
    let_probe(tool)
    assert call("unreachable").code == "tool_unreachable"
    second = row_of(tool)
    assert (second.state, call().code) == ("open", "breaker_open")
    assert second.probe_at - second.opened_at == 2 * (first.probe_at - first.opened_at)
    assert [event for event, _, _ in moves(tool)] == ["opened", "opened"]


def test_of_many_callers_exactly_one_is_the_probe(call, tool):
    open_it(call)
    let_probe(tool)
    value, gate = fresh(), threading.Event()
    DURING[value] = lambda: gate.wait(20)
    left = [7]
    lock = threading.Lock()

    def ask():
        outcome = call(value)
        if outcome.code == "breaker_open":
            with lock:
                left[0] -= 1
                if not left[0]:
                    gate.set()
        return outcome

    outcomes = at_once(*[ask] * 8)
    assert sorted(outcome.code for outcome in outcomes) == [""] + ["breaker_open"] * 7
    assert len(effects(value)) == 1
    assert row_of(tool).state == "closed"


@override_settings(PLACET_BREAKER_PROBES=3)
def test_a_breaker_closes_when_all_of_its_probes_are_answered(call, tool):
    open_it(call)
    let_probe(tool)
    seen = []
    for _ in range(3):
        assert call().status == "finished"
        seen.append(row_of(tool).state)
    assert seen == ["half_open", "half_open", "closed"]


def test_answers_make_up_for_failures(call, tool):
    for _ in range(4):
        call("unreachable")
        call("unreachable")
        assert call().status == "finished"
        assert call().status == "finished"
    assert (row_of(tool).state, row_of(tool).failures) == ("closed", 0)
    open_it(call)
    assert call().code == "breaker_open"


def test_old_failures_are_forgotten(call, tool):
    call("unreachable")
    call("unreachable")
    query("UPDATE gateway_breaker SET failed_at = now() - interval '2 minutes' WHERE name = %s", tool)
    call("unreachable")
    assert (row_of(tool).state, row_of(tool).failures) == ("closed", 1)


def test_a_tool_that_answers_with_errors_is_not_away(call, tool):
    for _ in range(5):
        assert call("error").code == "tool_error"
    assert row_of(tool) is None
    assert call().status == "finished"


def test_a_denied_call_says_nothing_about_its_tool(stage, agent, tool):
    with override_settings(**THREE):
        for _ in range(5):
            assert stage.call(agent, tool, arguments={}).status == "denied"
    assert row_of(tool) is None


def test_an_impatient_caller_takes_no_tool_from_the_others(call, tool):
    for _ in range(5):
        assert call("lost", deadline=time.monotonic() + 20).code == "tool_timeout"
    assert row_of(tool) is None
    for _ in range(3):
        assert call("lost").code == "tool_timeout"
    assert row_of(tool).state == "open"


def test_what_an_older_call_reports_changes_nothing(call, stage, agent, tool):
    """It was let pass while the breaker was closed, and comes back when a probe has closed it again."""
    value = fresh()

    def meanwhile():
        open_it(call)
        let_probe(tool)
        assert call().status == "finished"
        query("UPDATE gateway_breaker SET failures = 2 WHERE name = %s", tool)

    DURING[value] = meanwhile
    assert call(value).status == "finished"
    assert (row_of(tool).state, row_of(tool).failures) == ("closed", 2)


def test_a_probe_whose_process_dies_gives_its_place_back(call, stage, agent, tool, victim, tmp_path):
    open_it(call)
    let_probe(tool)
    order = {"credential": str(agent.id), "tool": tool, "value": fresh(), "key": fresh("key")}
    assert int(victim(order | {"point": "gateway.probing", "log": str(tmp_path / "log")})) == signal.SIGKILL
    assert row_of(tool).state == "half_open"
    assert call().code == "breaker_open"
    query("UPDATE gateway_breaker SET probe_until = now() - interval '1 s' WHERE name = %s", tool)
    assert call().status == "finished"
    assert row_of(tool).state == "closed"


def test_an_operator_closes_a_breaker_and_nobody_else_does(call, stage, tool, client_for):
    open_it(call)
    address = f"/api/v1/breakers/{row_of(tool).pk}/"
    alice, olga = client_for(stage.people["alice"]), client_for(stage.people["olga"])
    assert alice.get(address).json()["state"] == "open"
    assert alice.post(f"{address}resets/").status_code == 403
    assert client_for(stage.people["mallory"]).post(f"{address}resets/").status_code == 404
    assert call().code == "breaker_open"
    answer = olga.post(f"{address}resets/")
    assert (answer.status_code, answer.json()["state"]) == (201, "closed")
    assert call().status == "finished"
    actor = stage.people["olga"].actor
    assert moves(tool) == [("opened", "system:gateway", "call"), ("closed", actor, "reset")]


def test_over_rest_a_tool_that_is_away_is_a_503_that_says_when_to_come_back(call, stage, tool):
    open_it(call)
    client = Client(headers={"Authorization": f"Bearer {stage.key(agent='flaky')}"})
    body = {"name": tool, "arguments": {"value": "v"}}
    headers = {"Idempotency-Key": fresh("key")}
    answer = client.post("/api/v1/tool-calls/", body, content_type="application/json", headers=headers)
    assert (answer.status_code, answer.json()["code"], answer.json()["again"]) == (503, "breaker_open", True)
    assert 1 <= int(answer.headers["Retry-After"]) <= 30
    assert breakers.AWAY.isdisjoint(breakers.ANSWERED)
