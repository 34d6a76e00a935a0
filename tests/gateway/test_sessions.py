"""Sessions: who may vouch for a user, what a session is bound to, and that labels only grow."""

import dataclasses

import pytest
from django.db import ProgrammingError

from audit import sealed
from audit.refusal import Refusal
from gateway import calls, credentials, sessions
from tests.gateway.stage import DURING, TOOLS, at_once, effects, fresh, query

EXECUTOR = {"environment": "development", "agent": "steward", "correlation_id": "test"}


def test_what_a_person_or_an_opener_says_the_user_asked_is_trusted_and_what_an_agent_says_is_not(stage, agent):
    opener = stage.agent(scopes=["sessions:open"])
    by_person = opened(stage, stage.people["bob"], user_request="Pay the bill.")
    by_opener = opened(stage, opener, user_request="Pay the bill.", on_behalf_of="customer-7")
    by_agent = opened(stage, agent, user_request="Pay the bill.")
    assert [row.request_source for row in (by_person, by_opener, by_agent)] == ["user", "user", "claimed"]
    assert [row.on_behalf_of for row in (by_person, by_opener, by_agent)] == [
        stage.people["bob"].actor,
        "customer-7",
        None,
    ]
    assert sealed.open_blob(by_opener.request) == "Pay the bill."


def test_an_agent_cannot_say_on_whose_behalf_it_acts(stage, agent):
    with pytest.raises(Refusal) as refused:
        opened(stage, agent, on_behalf_of="the boss")
    assert refused.value.code == "on_behalf_of_forbidden"


def test_a_person_acts_in_their_own_name(stage):
    with pytest.raises(Refusal) as refused:
        opened(stage, stage.people["bob"], on_behalf_of=stage.people["carol"].actor)
    assert refused.value.code == "on_behalf_of_forbidden"


def test_no_credential_has_both_a_call_scope_and_the_right_to_vouch(stage):
    with pytest.raises(Refusal) as refused:
        stage.key(scopes=["tools:call", "sessions:open"])
    assert refused.value.code == "scope_conflict"


def test_a_session_belongs_to_the_first_credential_that_uses_it(stage, agent):
    session = opened(stage, stage.people["bob"]).pk
    value = fresh()
    assert stage.call(agent, session=session).status == "finished"
    other = stage.call(stage.agent(), value=value, session=session)
    assert (other.status, other.code, effects(value)) == ("denied", "session_unknown", [])


def test_a_bound_session_is_nobody_elses_from_the_start(stage, agent):
    session = opened(stage, stage.people["bob"], bind=agent).pk
    assert stage.call(stage.agent(), session=session).code == "session_unknown"
    assert stage.call(agent, session=session).status == "finished"


def test_a_session_keeps_the_release_it_was_opened_with(own_stage):
    own_stage.live({"look": TOOLS["look"]})
    agent = own_stage.agent()
    session = opened(own_stage, own_stage.people["bob"], bind=agent)
    own_stage.live({"put": TOOLS["put"]})
    assert own_stage.call(agent, "look", session=session.pk).status == "finished"
    assert own_stage.call(agent, "put", session=session.pk).code == "tool_unknown"
    assert own_stage.call(agent, "put").status == "finished"


@pytest.mark.parametrize("wanted", ["gateway_sessionlabel", "gateway_holdapproval"])
def test_the_runtime_role_can_neither_change_nor_take_away_a_label_or_a_verdict(stage, wanted):
    for statement in (f"UPDATE {wanted} SET id = id", f"DELETE FROM {wanted}", f"TRUNCATE {wanted}"):
        with pytest.raises(ProgrammingError, match="permission denied"):
            query(statement)


def test_a_new_session_is_no_way_for_an_agent_to_lose_its_labels(stage, agent):
    stage.call(agent, "web")
    session = opened(stage, agent)
    assert sessions.labels_of(session.root_id) == ["untrusted"]
    assert stage.call(agent, "put", session=session.pk).code == "untrusted_session"
    fresh_start = opened(stage, stage.people["bob"], bind=agent)
    assert stage.call(agent, "put", session=fresh_start.pk).status == "finished"


def test_a_label_that_a_session_of_an_agent_gets_holds_for_its_other_sessions_too(stage, agent):
    first, second = opened(stage, agent), opened(stage, agent)
    stage.call(agent, "web", session=first.pk)
    assert stage.call(agent, "put", session=second.pk).code == "untrusted_session"
    assert stage.call(agent, "put").code == "untrusted_session"


def test_a_sub_session_shares_the_labels_of_its_parent_both_ways(stage, agent):
    parent = opened(stage, stage.people["bob"], bind=agent)
    child = opened(stage, agent, parent=parent.pk)
    stage.call(agent, "web", session=child.pk)
    assert stage.call(agent, "put", session=parent.pk).code == "untrusted_session"


def test_the_sticky_session_keeps_its_labels_when_a_release_or_its_time_ends_it(own_stage):
    own_stage.live({"web": TOOLS["web"], "put": TOOLS["put"]})
    agent = own_stage.agent()
    first = session_of(own_stage.call(agent, "web"))
    own_stage.live({"put": TOOLS["put"]})
    second = own_stage.call(agent, "put")
    query("UPDATE gateway_session SET expires_at = now() WHERE id = %s", session_of(second))
    third = own_stage.call(agent, "put")
    assert [one.code for one in (second, third)] == ["untrusted_session"] * 2
    assert len({first, session_of(second), session_of(third)}) == 3


def test_a_sticky_session_that_a_person_closed_takes_its_labels_with_it(stage, agent):
    session = session_of(stage.call(agent, "web"))
    sessions.close(session, by=stage.people["olga"], now=stage.now, correlation_id="test")
    assert stage.call(agent, "put").status == "finished"


def test_many_first_calls_at_once_share_one_sticky_session(stage, agent):
    outcomes = at_once(*[lambda: stage.call(agent)] * 8)
    assert {outcome.status for outcome in outcomes} == {"finished"}
    assert len({session_of(outcome) for outcome in outcomes}) == 1


def test_the_sticky_session_goes_without_a_name(stage, agent):
    session = session_of(stage.call(agent))
    assert stage.call(agent, session=session).code == "session_unknown"


@pytest.mark.parametrize(
    "ending", ["expires_at = now()", "opened_at = now() - interval '2 h'", "state = 'closed'", "state = 'expired'"]
)
def test_a_session_that_is_over_makes_no_calls_and_replays_none(stage, agent, ending):
    session, value = opened(stage, stage.people["bob"], bind=agent), fresh()
    query(f"UPDATE gateway_session SET {ending} WHERE id = %s", session.pk)
    outcome = stage.call(agent, "put", value, session=session.pk)
    assert (outcome.status, effects(value)) == ("denied", [])
    assert outcome.code in ("session_closed", "session_expired")


@pytest.mark.parametrize(("waits", "state"), [(True, "open"), (False, "expired")])
def test_a_session_is_not_idle_while_a_hold_of_it_waits_for_a_person(stage, agent, waits, state):
    session = opened(stage, stage.people["bob"], bind=agent)
    parked = stage.call(agent, "careful", session=session.pk)
    query("UPDATE gateway_counter SET touched_at = now() - interval '2 h' WHERE id = %s", session.pk)
    if not waits:
        query("UPDATE gateway_hold SET expires_at = now() WHERE id = %s", parked.hold)
    sessions.expire(now=stage.now)
    session.refresh_from_db()
    assert session.state == state
    assert (stage.call(agent, session=session.pk).status == "finished") == waits


def test_an_outcome_is_not_replayed_into_a_closed_session(stage, agent):
    session = opened(stage, stage.people["bob"], bind=agent)
    stage.call(agent, "look", "v", key="k", session=session.pk)
    sessions.close(session.pk, by=stage.people["bob"], now=stage.now, correlation_id="test")
    with pytest.raises(Refusal) as refused:
        stage.call(agent, "look", "v", key="k", session=session.pk)
    assert refused.value.code == "session_closed"


def test_a_call_that_uses_a_session_keeps_it_from_idling_out_and_the_sweeper_ends_the_idle(stage, agent):
    used, idle = (opened(stage, stage.people["bob"], bind=agent) for _ in range(2))
    query("UPDATE gateway_session SET opened_at = now() - interval '59 min' WHERE id IN (%s, %s)", used.pk, idle.pk)
    stage.call(agent, session=used.pk)
    query("UPDATE gateway_session SET opened_at = now() - interval '2 h' WHERE id IN (%s, %s)", used.pk, idle.pk)
    calls.sweep(stage.now)
    states = dict(query("SELECT id, state FROM gateway_session WHERE id IN (%s, %s)", used.pk, idle.pk))
    assert states == {used.pk: "open", idle.pk: "expired"}
    assert stage.call(agent, session=used.pk).status == "finished"


def test_a_session_of_another_agent_environment_or_workspace_cannot_be_opened_with_a_credential(stage, agent):
    for wrong in ({"agent": "other"}, {"environment": "staging"}, {"workspace": agent.id}):
        with pytest.raises(Refusal) as refused:
            opened(stage, agent, **wrong)
        assert refused.value.code == "session_forbidden"


def test_a_closed_session_denies_what_is_decided_later(stage, agent):

    session, value, later = opened(stage, stage.people["bob"], bind=agent), fresh(), fresh()
    how = {"by": stage.people["bob"], "now": stage.now, "correlation_id": "test"}
    DURING[value] = lambda: at_once(lambda: sessions.close(session.pk, **how))
    before = stage.call(agent, "put", value, session=session.pk)
    after = stage.call(agent, "put", later, session=session.pk)
    assert (before.status, after.status, effects(later)) == ("finished", "denied", [])


def test_the_executor_has_one_principal_per_agent_and_no_key(stage):
    principals = {credentials.executor_principal(stage.workspace.pk, **EXECUTOR, now=stage.now) for _ in range(3)}
    assert len(principals) == 1
    (executor,) = principals
    assert query("SELECT 1 FROM gateway_key WHERE credential_id = %s", executor.id) == []
    session = opened(stage, stage.people["bob"], bind=executor)
    assert stage.call(executor, session=session.pk).status == "finished"


def test_a_credential_that_starts_runs_binds_their_session_to_the_executor_and_keeps_its_labels(stage, agent):
    executor = credentials.executor_principal(stage.workspace.pk, **EXECUTOR, now=stage.now)
    stage.call(agent, "web")
    session = opened(stage, agent, bind=executor, idle=None, user_request="Go on.")
    assert (session.credential_id, session.request_source, session.idle_seconds) == (executor.id, "claimed", None)
    assert stage.call(executor, "put", session=session.pk).code == "untrusted_session"
    with pytest.raises(Refusal) as refused:
        opened(stage, agent, bind=dataclasses.replace(executor, agent="other"))
    assert refused.value.code == "session_forbidden"


def test_policies_of_open_sessions_stay_in_the_bundle(stage, agent):
    environment = stage.build.environment()
    session = opened(stage, stage.people["bob"], bind=agent)
    assert session.policy in sessions.policies_in_use(environment.pk, "bundler")


def opened(stage, by, **more):
    where = {"workspace": stage.workspace.pk, "environment": "development", "agent": "steward"}
    return sessions.open(by, **(where | {"now": stage.now, "correlation_id": "test"} | more))


def session_of(outcome):
    return query("SELECT session_id FROM gateway_call WHERE id = %s", outcome.call)[0][0]
