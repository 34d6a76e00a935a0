"""A tool in trouble is tried again only as long as its retry budget lasts; the contract bounds each call."""

import pytest
from django.test import override_settings

from gateway import retries
from gateway.models import RetryBudget
from gateway.transport.outcome import TransportFailed
from tests.gateway.stage import DURING, TOOLS, at_once, effects, fresh, query

TWICE = {f"twice{number}": TOOLS["look"] | {"retry": {"attempts": 2}} for number in range(8)}
_names = iter(TWICE)


@pytest.fixture(scope="module")
def _retrying(_shared, django_db_blocker):
    with django_db_blocker.unblock(), override_settings(PLACET_DECISION_TIMEOUT_MS=10_000):
        _shared.live(TWICE, agent="retrying")


@pytest.fixture
def agent(_retrying, stage):
    return stage.agent(agent="retrying")


@pytest.fixture
def tool():
    """The name of a tool that nobody has asked yet, which may be tried twice."""
    return next(_names)


@pytest.fixture(autouse=True)
def _at_once(monkeypatch):
    """No pauses between tries."""
    from gateway import transport

    monkeypatch.setattr(transport, "_PAUSE_SECONDS", 0.0)


def away(times):
    """Return a value on which the tool fails so many times, and answers then."""
    value, left = fresh(), [times]

    def fail():
        left[0] -= 1
        if left[0] >= 0:
            raise TransportFailed("tool_unreachable", "no")

    DURING[value] = fail
    return value


def spend(tool, thousandths=0):
    """Let the budget of a tool be used up."""
    query(
        "UPDATE gateway_retrybudget SET thousandths = %s, filled_at = clock_timestamp() WHERE name = %s",
        thousandths,
        tool,
    )


def test_a_retry_comes_out_of_the_tools_budget(stage, agent, tool):
    value = away(1)
    assert stage.call(agent, tool, value).status == "finished"
    assert len(effects(value)) == 2
    assert RetryBudget.objects.get(name=tool).thousandths // 1000 == retries.START // 1000 - 1


def test_without_a_budget_no_retry_happens_and_the_code_stays_the_failures(stage, agent, tool):
    stage.call(agent, tool, away(1))
    spend(tool)
    value, key = away(1), fresh("key")
    outcome = stage.call(agent, tool, value, key=key)
    assert (outcome.status, outcome.code, outcome.again) == ("failed", "tool_unreachable", True)
    assert len(effects(value)) == 1
    # A call that needs no retry goes on as ever, and a later attempt of the same call too.
    assert stage.call(agent, tool).status == "finished"
    assert stage.call(agent, tool, value, key=key).status == "finished"


def test_the_contract_bounds_the_retries_of_one_call_however_full_the_budget(stage, agent, tool):
    value = away(2)
    assert stage.call(agent, tool, value).code == "tool_unreachable"
    assert len(effects(value)) == 2


@override_settings(PLACET_RETRY_PERCENT=50)
def test_calls_earn_retries_by_their_share(stage, agent, tool):
    stage.call(agent, tool, away(1))
    spend(tool)
    refused = away(1)
    assert stage.call(agent, tool, refused).code == "tool_unreachable"
    for _ in range(3):
        stage.call(agent, tool)
    # Those four calls have earned two retries, and each of these half a one.
    granted = [stage.call(agent, tool, away(1)).status for _ in range(5)]
    assert granted == ["finished"] * 4 + ["failed"]


def test_time_earns_retries_for_a_tool_that_is_seldom_called(stage, agent, tool):
    stage.call(agent, tool, away(1))
    spend(tool)
    assert stage.call(agent, tool, away(1)).status == "failed"
    query("UPDATE gateway_retrybudget SET filled_at = now() - interval '11 s' WHERE name = %s", tool)
    assert stage.call(agent, tool, away(1)).status == "finished"
    assert stage.call(agent, tool, away(1)).status == "failed"


@override_settings(PLACET_RETRY_PERCENT=0)
def test_callers_at_once_take_no_more_retries_than_there_are(stage, agent, tool):
    stage.call(agent, tool, away(1))
    spend(tool, 3000)
    values = [away(1) for _ in range(8)]
    outcomes = at_once(*[lambda value=value: stage.call(agent, tool, value) for value in values])
    assert sorted(outcome.status for outcome in outcomes) == ["failed"] * 5 + ["finished"] * 3
