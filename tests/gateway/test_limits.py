"""Rate, concurrency and budgets hold under any number of callers, and what a dead process took is given back."""

import threading
from datetime import UTC, datetime

import pytest
from django.test import override_settings

from audit import sealed
from gateway import calls, holds, pep, transport
from gateway.models import Hold
from gateway.transport.outcome import TransportFailed
from tests.gateway.stage import DURING, MESSAGES, TOOLS, at_once, effects, fresh, let_time_pass, query

RUN = "01a20631-45ca-780b-930b-3132533{:05x}"


def test_no_more_calls_of_a_tool_are_under_way_than_its_contract_allows(stage, agent):
    value, at_work, most, both, gate = fresh(), [], [], threading.Event(), threading.Event()

    def work():
        at_work.append(value)
        most.append(len(at_work))
        if len(at_work) == 2:
            both.set()
        gate.wait(20)
        at_work.pop()

    def ask():
        outcome = stage.call(agent, "narrow", value)
        if outcome.status == "denied":
            both.wait(20)  # the two that have the places may not have begun yet
            gate.set()
        return outcome

    DURING[value] = work
    outcomes = at_once(*[ask] * 6)
    assert max(most) == 2
    assert {outcome.code for outcome in outcomes} == {"", "concurrency_exceeded"}
    assert all(outcome.again for outcome in outcomes if outcome.status == "denied")
    assert len(effects(value)) == len([one for one in outcomes if one.status == "finished"])
    assert under_way("narrow") == 0


def test_the_places_of_dead_processes_are_given_back_when_they_are_needed(stage, agent, victim, tmp_path):
    values = [fresh(), fresh()]
    for value in values:
        order = {
            "credential": str(agent.id),
            "tool": "narrow",
            "value": value,
            "key": value,
            "log": str(tmp_path / "log"),
        }
        victim(order | {"point": "gateway.reserved"})
    assert under_way("narrow") == 2
    assert stage.call(agent, "narrow").code == "concurrency_exceeded"
    for value in values:
        let_time_pass(query("SELECT id FROM gateway_call WHERE key = %s", value)[0][0])
    assert stage.call(agent, "narrow").status == "finished"
    assert under_way("narrow") == 0


def test_the_sweeper_gives_back_what_a_dead_process_reserved(stage, agent, victim, tmp_path):
    value = fresh()
    order = {"credential": str(agent.id), "tool": "narrow", "value": value, "key": value, "log": str(tmp_path / "log")}
    victim(order | {"point": "gateway.reserved"})
    let_time_pass(query("SELECT id FROM gateway_call WHERE key = %s", value)[0][0])
    assert calls.sweep(stage.now)["leases_freed"] >= 1
    assert under_way("narrow") == 0


def test_a_budget_of_steps_is_never_exceeded_by_callers_at_once(own_stage):
    own_stage.live({"put": TOOLS["put"]}, budgets={"steps": 5})
    agent = own_stage.agent()
    value = fresh()
    outcomes = at_once(*[lambda: own_stage.call(agent, "put", value)] * 12)
    assert len([one for one in outcomes if one.status == "finished"]) == 5
    assert {one.code for one in outcomes} == {"", "budget_steps_exceeded"}
    assert len(effects(value)) == 5


def test_asking_again_with_the_same_key_is_no_way_around_a_budget_of_steps(own_stage):
    own_stage.live({"put": TOOLS["put"], "careful": TOOLS["careful"]}, budgets={"steps": 2})
    agent, value, key = own_stage.agent(), fresh(), fresh("key")
    parked = own_stage.call(agent, "careful", value, key=fresh("parked"))
    assert own_stage.call(agent, "put", fresh()).status == "finished"
    for _ in range(3):
        refused = own_stage.call(agent, "put", value, key=key)
        assert (refused.status, refused.code, refused.again) == ("denied", "budget_steps_exceeded", True)
    assert effects(value) == []
    # What was counted when it parked goes on: it is no further step.
    hold = Hold.objects.get(pk=parked.hold)
    now = datetime.now(UTC)
    holds.approve(hold.pk, approver=own_stage.people["bob"], digest=hold.digest, now=now, correlation_id="test")
    assert pep.release(hold.pk, now=now).status == "finished"
    assert len(effects(value)) == 1


def test_the_budget_of_a_run_counts_over_its_sessions_and_not_other_runs(own_stage):
    own_stage.live({"put": TOOLS["put"]}, budgets={"steps": 2})
    agents = [own_stage.agent(), own_stage.agent()]
    first, second = ({"id": RUN.format(number), "step": 1, "starter": None} for number in (1, 2))
    assert [own_stage.call(one, "put", run=first).status for one in agents] == ["finished"] * 2
    assert own_stage.call(agents[0], "put", run=first).code == "budget_steps_exceeded"
    assert own_stage.call(agents[0], "put", run=second).status == "finished"


def test_a_budget_of_tokens_is_reserved_before_and_settled_after_the_call(own_stage):
    arguments = MESSAGES | {"max_output_tokens": 100}
    own_stage.live({"put": TOOLS["put"]}, budgets={"tokens": 400})
    agent = own_stage.agent()
    used = 0
    while (outcome := own_stage.call(agent, kind="model", name="script", arguments=arguments)).status == "finished":
        used += sum(outcome.result["usage"].values())
        assert used <= 400
    assert outcome.code == "budget_tokens_exceeded"
    assert tokens_of(agent) == [(used,)]


def test_what_an_unknown_call_reserved_counts_as_used(own_stage, monkeypatch):
    def lost(*given, **named):
        raise TransportFailed("tool_timeout", "maybe")

    own_stage.live({"put": TOOLS["put"]})
    agent = own_stage.agent()
    monkeypatch.setattr(transport, "invoke", lost)
    arguments = MESSAGES | {"max_output_tokens": 1000}
    assert own_stage.call(agent, kind="model", name="script", arguments=arguments).status == "unknown"
    assert tokens_of(agent)[0][0] >= 1000


def test_a_budget_of_seconds_runs_from_the_first_call_on(own_stage):
    own_stage.live({"put": TOOLS["put"]}, budgets={"seconds": 3600})
    agent = own_stage.agent()
    assert own_stage.call(agent, "put").status == "finished"
    query(
        "UPDATE gateway_counter SET started_at = now() - interval '2 h' WHERE workspace_id = %s", own_stage.workspace.pk
    )
    assert own_stage.call(agent, "put").code == "budget_seconds_exceeded"


def test_the_policy_sees_every_counter_after_its_reservation(own_stage):
    own_stage.live({"narrow": TOOLS["narrow"]}, budgets={"steps": 5, "tokens": 100})
    outcome = own_stage.call(own_stage.agent(), "narrow")
    record = query("SELECT decided_record FROM gateway_call WHERE id = %s", outcome.call)[0][0]
    seen = sealed.open_value(record, "/data/input")
    assert seen["limits"] == [
        {"name": "budget.steps", "used": 1, "limit": 5},
        {"name": "budget.tokens", "used": 0, "limit": 100},
        {"name": "concurrency", "used": 1, "limit": 2},
    ]
    assert (seen["session"]["calls"], seen["provenance"]) == (1, [])


def test_a_tools_rate_holds_for_all_callers_together(stage, valkey):
    agents, value = [stage.agent() for _ in range(3)], fresh()
    outcomes = at_once(*[lambda agent=agent: stage.call(agent, "rated", value) for agent in agents * 3])
    assert len([one for one in outcomes if one.status == "finished"]) == 3
    assert {one.code for one in outcomes} == {"", "rate_limited"}
    assert len(effects(value)) == 3
    assert all(one.retry_after >= 1 for one in outcomes if one.code)


@pytest.mark.parametrize(("tool", "status"), [("rated", "denied"), ("rated_soft", "finished")])
def test_without_the_rate_counter_only_degradable_reads_go_on(stage, agent, tmp_path, tool, status):
    value = fresh()
    with override_settings(CACHE_URL=f"redis+unix://:open@{tmp_path}/nobody.sock"):
        outcome = stage.call(agent, tool, value)
    assert outcome.status == status
    assert len(effects(value)) == (1 if status == "finished" else 0)
    if status == "denied":
        assert (outcome.code, outcome.again) == ("rate_unavailable", True)


def test_a_rate_counter_that_dies_in_between_denies_too(stage, agent, valkey):
    assert stage.call(agent, "rated").status == "finished"
    valkey.kill()
    valkey.wait()
    assert stage.call(agent, "rated").code == "rate_unavailable"


def under_way(tool):
    return query("SELECT sum(under_way) FROM gateway_counter WHERE scope = %s", f"tool:development:{tool}")[0][0]


def tokens_of(agent):
    return query(
        "SELECT k.tokens FROM gateway_counter k JOIN gateway_session s ON s.id = k.id WHERE s.credential_id = %s",
        agent.id,
    )
