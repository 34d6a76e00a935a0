"""A run is bounded: in steps, tokens, money, time, and in how often it may repeat itself. Each bound has its code."""

import pytest

from gateway.models import Counter
from tests.agents.acts import call, hurry, open_step, states_of, steps
from tests.gateway.stage import effects, fresh

PRICES = {"input_micro_usd_per_million_tokens": 1_000_000, "output_micro_usd_per_million_tokens": 1_000_000}


def endless(name="look"):
    """Return a script that calls a tool with another value each time, as long as it may."""
    asks = [{"when": {"step": step}, "call": [call(name, fresh())]} for step in range(1, 15)]
    return [*asks, {"say": "done"}]


def test_a_run_ends_when_its_steps_are_used_up(acts):
    run = acts.run(endless(), budgets={"steps": 4})
    assert (run.state, run.code, len(steps(run))) == ("failed", "budget_steps_exceeded", 4)


@pytest.mark.parametrize(("budget", "code"), [("tokens", "tokens"), ("cost_micro_usd", "cost_micro_usd")])
def test_a_run_ends_when_what_it_may_spend_is_spent(acts, budget, code):
    model = {"prices": PRICES, "parameters": {"max_output_tokens": 50}}
    run = acts.run(endless(), budgets={budget: 1200}, model=model)
    assert (run.state, run.code) == ("failed", f"budget_{code}_exceeded")
    assert 1 < len(steps(run)) < 15


def test_a_run_ends_when_its_time_is_over(acts):
    acts.scripted(endless(), budgets={"seconds": 600})
    run = acts.start()
    acts.work_once(run)
    Counter.objects.filter(pk=run.pk).update(started_at="2020-01-01T00:00:00Z")
    run = acts.work(run)
    assert (run.state, run.code) == ("failed", "budget_seconds_exceeded")


def test_a_run_that_asks_for_the_same_call_over_and_over_is_ended(acts):
    value = fresh()
    run = acts.run([{"call": [call("put")]}], goal=value)
    assert (run.state, run.code) == ("failed", "repetition")
    assert len(effects(value)) == 4


def test_a_run_that_goes_in_circles_is_ended(acts):
    one, two = fresh(), fresh()
    script = [
        {"when": {"tool": "look"}, "call": [call("put", two)]},
        {"call": [call("look", one)]},
    ]
    run = acts.run(script)
    assert (run.state, run.code) == ("failed", "cycle")
    assert (len(effects(one)), len(effects(two))) == (3, 2)


def test_a_full_limit_makes_the_run_wait_for_room_and_ask_again(acts):
    acts.scripted([{"when": {"step": 1}, "call": [call("narrow")]}, {"say": "done"}])
    run = acts.start()
    acts.work_once(run)
    tool = Counter.objects.filter(workspace_id=run.workspace_id, scope="tool:development:narrow")
    if not tool.exists():
        acts.call(acts.agent(agent=acts.last), "narrow")
    tool.update(under_way=2)
    acts.work_once(run)
    assert states_of(run) == ("waiting", "budget", "concurrency_exceeded")
    assert open_step(run).state == "retry_at"
    tool.update(under_way=0)
    hurry(open_step(run))
    assert acts.work(run).state == "succeeded"
