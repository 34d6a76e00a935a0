"""Parked calls: a person decides exactly what they saw, once, and is not one of those concerned."""

import json
import signal

import pytest
from django.db import IntegrityError

from audit.refusal import Refusal
from gateway import calls, credentials, holds, pep, recall, sessions
from gateway.models import Hold
from registry import memberships, stops
from registry.models import Grant, Membership
from tests.gateway.stage import TOOLS, at_once, effects, events, fresh, let_time_pass, query, release_policy, state_of


def test_a_held_call_parks_without_a_worker_and_answers_the_same_again(stage, agent):
    value = fresh()
    outcomes = [stage.call(agent, "careful", value, key=value) for _ in range(2)]
    assert [(one.status, one.code) for one in outcomes] == [("parked", "person_decides")] * 2
    assert (outcomes[0].hold, outcomes[1].replayed) == (outcomes[1].hold, True)
    assert effects(value) == []
    assert events(outcomes[0].call) == ["call.decided"]
    assert query("SELECT 1 FROM gateway_lease WHERE call = %s", outcomes[0].call) == []


def test_an_approved_call_is_decided_again_and_executed_once(stage, agent):
    value = fresh()
    parked = stage.call(agent, "careful", value, key=value)
    approve(stage, parked)
    outcome = stage.call(agent, "careful", value, key=value)
    assert (outcome.status, outcome.attempt) == ("finished", 2)
    assert stage.call(agent, "careful", value, key=value).replayed
    assert len(effects(value)) == 1
    assert events(parked.call) == ["call.decided", "hold.approved", "call.decided", "call.completed"]
    assert hold_of(parked).state == "released"


def test_a_hold_can_be_released_without_its_caller(stage, agent):
    value = fresh()
    parked = stage.call(agent, "careful", value, key=value)
    with pytest.raises(Refusal) as refused:
        pep.release(parked.hold, now=stage.now)
    assert refused.value.code == "hold_open"
    approve(stage, parked)
    first, second = (pep.release(parked.hold, now=stage.now) for _ in range(2))
    assert (first.status, second.status, second.replayed) == ("finished", "finished", True)
    assert len(effects(value)) == 1


def test_a_rejected_call_is_denied_for_good(stage, agent):
    value = fresh()
    parked = stage.call(agent, "careful", value, key=value)
    reject(stage, parked)
    outcome = stage.call(agent, "careful", value, key=value)
    assert (outcome.status, outcome.code, outcome.again) == ("denied", "hold_rejected", False)
    assert effects(value) == []
    assert events(parked.call) == ["call.decided", "hold.rejected"]


def test_an_expired_hold_denies_its_call(stage, agent):
    value = fresh()
    parked = stage.call(agent, "careful", value, key=value)
    query("UPDATE gateway_hold SET expires_at = now() WHERE id = %s", parked.hold)
    assert stage.call(agent, "careful", value, key=value).code == "hold_expired"
    with pytest.raises(Refusal) as refused:
        approve(stage, parked)
    assert refused.value.code == "hold_closed"
    calls.sweep(stage.now)
    assert (state_of(parked.call), hold_of(parked).state) == ("denied", "expired")
    assert events(parked.call) == ["call.decided", "hold.expired"]
    assert effects(value) == []


@pytest.mark.parametrize("swept", [True, False])
def test_a_call_that_was_stopped_until_its_approval_ran_out_asks_a_person_anew(own_stage, swept):
    own_stage.live({"careful": TOOLS["careful"]})
    agent, value = own_stage.agent(), fresh()
    parked = own_stage.call(agent, "careful", value, key=value)
    approve(own_stage, parked)
    how = {"by": own_stage.people["olga"], **own_stage.build.how}
    stop = stops.set(own_stage.workspace, scope="tool", target="careful", reason="x", **how)
    assert own_stage.call(agent, "careful", value, key=value).code == "stopped"
    query("UPDATE gateway_hold SET expires_at = now() WHERE id = %s", parked.hold)
    if swept:
        calls.sweep(own_stage.now)
    stops.lift(stop, **how)
    again = own_stage.call(agent, "careful", value, key=value)
    assert (again.status, hold_of(parked).state) == ("parked", "expired")
    assert again.hold != parked.hold
    assert "hold.expired" in events(parked.call)
    assert effects(value) == []


def test_an_approval_that_ran_out_before_the_release_is_worth_nothing(stage, agent):
    value = fresh()
    parked = stage.call(agent, "careful", value, key=value)
    approve(stage, parked)
    query("UPDATE gateway_hold SET expires_at = now() WHERE id = %s", parked.hold)
    assert stage.call(agent, "careful", value, key=value).status == "denied"
    assert effects(value) == []


def test_a_verdict_on_other_bytes_does_not_count(stage, agent):
    parked = stage.call(agent, "careful")
    with pytest.raises(Refusal) as refused:
        holds.approve(parked.hold, digest="sha256:" + "0" * 64, **by(stage, "bob"))
    assert refused.value.code == "hold_changed"
    assert hold_of(parked).state == "open"


@pytest.mark.parametrize(
    ("who", "code"),
    [
        ("mallory", "not_found"),
        ("alice", "approver_excluded"),  # answers for the credential
        ("dave", "approver_role"),
        ("adam", "approver_role"),  # an admin is no reviewer
    ],
)
def test_who_may_not_decide_does_not(stage, agent, who, code):
    parked = stage.call(agent, "careful")
    for verdict in (holds.approve, holds.reject):
        with pytest.raises(Refusal) as refused:
            verdict(parked.hold, digest=hold_of(parked).digest, **by(stage, who))
        assert refused.value.code == code
    assert hold_of(parked).state == "open"


def test_the_person_on_whose_behalf_a_call_is_made_does_not_decide_it(stage, agent):
    session = sessions.open(stage.people["bob"], bind=agent, **where(stage))
    parked = stage.call(agent, "careful", session=session.pk)
    with pytest.raises(Refusal) as refused:
        approve(stage, parked, "bob")
    assert refused.value.code == "approver_excluded"


def test_the_person_behind_an_opener_does_not_decide_what_it_opened(stage, agent):
    opener = stage.agent(scopes=["sessions:open"], owner="bob")
    session = sessions.open(opener, bind=agent, on_behalf_of="customer-7", **where(stage))
    parked = stage.call(agent, "careful", session=session.pk)
    with pytest.raises(Refusal) as refused:
        approve(stage, parked, "bob")
    assert refused.value.code == "approver_excluded"


def test_who_started_the_run_does_not_decide_its_calls(stage, agent):
    run = {"id": "01a20631-45ca-780b-930b-31325331f336", "step": 1, "starter": stage.people["bob"].actor}
    parked = stage.call(agent, "careful", run=run)
    with pytest.raises(Refusal) as refused:
        approve(stage, parked, "bob")
    assert refused.value.code == "approver_excluded"


def test_one_person_decides_once(stage, agent):
    parked = stage.call(agent, "careful")
    approve(stage, parked)
    with pytest.raises(Refusal) as refused:
        approve(stage, parked)
    assert refused.value.code == "hold_closed"


def test_two_persons_at_once_on_one_hold_agree_on_one_end(stage):
    for _ in range(5):
        value, agent = fresh(), stage.agent()
        parked = stage.call(agent, "careful", value, key=value)
        digest = hold_of(parked).digest
        second = _reviewer(stage, "carol")
        told = at_once(
            lambda parked=parked, digest=digest: holds.approve(parked.hold, digest=digest, **by(stage, "bob")),
            lambda parked=parked, digest=digest, second=second: holds.reject(
                parked.hold, digest=digest, approver=second, now=stage.now, correlation_id="test"
            ),
        )
        refused = [one for one in told if isinstance(one, Refusal)]
        assert [one.code for one in refused] == ["hold_closed"]
        outcome = stage.call(agent, "careful", value, key=value)
        approved = hold_of(parked).state == "released"
        assert outcome.status == ("finished" if approved else "denied")
        assert len(effects(value)) == int(approved)


def test_many_releases_of_one_hold_at_once_execute_once(stage, agent):
    value = fresh()
    parked = stage.call(agent, "careful", value, key=value)
    approve(stage, parked)
    outcomes = at_once(*[lambda: pep.release(parked.hold, now=stage.now)] * 8)
    assert {outcome.status for outcome in outcomes} <= {"finished", "in_flight"}
    assert len(effects(value)) == 1


def test_a_stop_after_the_approval_wins(own_stage):
    own_stage.live({"careful": TOOLS["careful"]})
    agent, value = own_stage.agent(), fresh()
    parked = own_stage.call(agent, "careful", value, key=value)
    approve(own_stage, parked)
    stop = stops.set(
        own_stage.workspace,
        scope="tool",
        target="careful",
        reason="test",
        by=own_stage.people["olga"],
        **own_stage.build.how,
    )
    outcome = own_stage.call(agent, "careful", value, key=value)
    assert (outcome.status, outcome.code) == ("denied", "stopped")
    assert effects(value) == []
    stops.lift(stop, by=own_stage.people["olga"], **own_stage.build.how)
    assert own_stage.call(agent, "careful", value, key=value).status == "finished"


def test_a_hold_of_somebody_who_has_left_releases_nothing(own_stage):
    own_stage.live({"careful": TOOLS["careful"]})
    agent, value = own_stage.agent(owner="alice"), fresh()
    parked = own_stage.call(agent, "careful", value, key=value)
    approve(own_stage, parked)
    member = own_stage.people["alice"].memberships.get(workspace=own_stage.workspace)
    memberships.deactivate(member, actor=own_stage.people["adam"], **own_stage.build.how)
    with pytest.raises(Refusal) as refused:
        pep.release(parked.hold, now=own_stage.now)
    assert (refused.value.code, effects(value)) == ("credential_orphaned", [])


def test_a_revoked_credential_releases_nothing(stage, agent):
    value = fresh()
    parked = stage.call(agent, "careful", value, key=value)
    approve(stage, parked)
    credentials.revoke(credentials.Credential.objects.get(pk=agent.id), actor=stage.people["adam"], now=stage.now)
    assert stage.call(agent, "careful", value, key=value).code == "credential_revoked"
    assert pep.release(parked.hold, now=stage.now).status == "denied"
    assert effects(value) == []


def test_a_label_that_came_since_parks_again_for_its_new_reason(stage, agent):
    value = fresh()
    parked = stage.call(agent, "careful", value, key=value)
    approve(stage, parked)
    stage.call(agent, "web")
    again = stage.call(agent, "careful", value, key=value)
    assert (again.status, again.code) == ("parked", "untrusted_session")
    assert again.hold != parked.hold
    assert (hold_of(parked).state, hold_of(again).codes) == ("void", ["untrusted_session"])
    assert effects(value) == []
    approve(stage, again)
    assert stage.call(agent, "careful", value, key=value).code == "person_decides"


def test_an_approver_who_lost_the_role_since_does_not_count(own_stage):
    own_stage.live({"careful": TOOLS["careful"]})
    agent, value = own_stage.agent(), fresh()
    parked = own_stage.call(agent, "careful", value, key=value)
    approve(own_stage, parked)
    grant = Grant.objects.get(membership__person=own_stage.people["bob"], role="reviewer", revoked_at=None)
    memberships.revoke(grant, actor=own_stage.people["adam"], **own_stage.build.how)
    outcome = own_stage.call(agent, "careful", value, key=value)
    assert (outcome.status, outcome.code) == ("denied", "hold_void")
    assert effects(value) == []


def test_another_policy_since_voids_the_hold(own_stage):
    tools = {"careful": TOOLS["careful"]}
    own_stage.live(tools)
    agent, value = own_stage.agent(), fresh()
    parked = own_stage.call(agent, "careful", value, key=value)
    approve(own_stage, parked)
    own_stage.live(tools, policy=release_policy() | {"data": {"denied": ["other"], "held": ["careful"]}})
    outcome = own_stage.call(agent, "careful", value, key=value)
    assert (outcome.status, outcome.code, outcome.again) == ("denied", "hold_void", True)
    assert hold_of(parked).state == "void"
    assert own_stage.call(agent, "careful", value, key=value).status == "parked"
    assert effects(value) == []


def test_a_hold_that_is_over_is_over_for_whoever_writes_to_the_table(stage, agent):
    parked = stage.call(agent, "careful")
    reject(stage, parked)
    with pytest.raises(IntegrityError):
        query("UPDATE gateway_hold SET state = 'approved' WHERE id = %s", parked.hold)


def test_a_person_sees_the_arguments_as_they_would_be_executed(stage, agent):
    secret = "AKIA" + "IOSFODNN7EXAMPLF"
    parked = stage.call(agent, "careful", f"with {secret}")
    received, executed = recall.arguments_of(hold_of(parked).decided_record)
    assert secret in received["value"]
    assert secret not in executed["value"]


@pytest.mark.parametrize("point", ["gateway.reserved", "gateway.decided", "gateway.invoked", "gateway.completed"])
def test_a_release_whose_process_dies_executes_an_unsafe_call_at_most_once(stage, agent, victim, tmp_path, point):
    value, log = fresh(), tmp_path / "effects"
    log.touch()
    parked = stage.call(agent, "careless", value, key=value)
    approve(stage, parked)
    order = {"credential": str(agent.id), "tool": "careless", "value": value, "key": value, "point": point}
    assert victim(order | {"log": str(log)}) == str(signal.SIGKILL.value)
    let_time_pass(parked.call)
    again = stage.call(agent, "careless", value, key=value)
    done = [json.loads(line) for line in log.read_text().splitlines()] + effects(value)
    expected = {"gateway.reserved": "finished", "gateway.decided": "unknown", "gateway.invoked": "unknown"}
    assert again.status == expected.get(point, "finished")
    assert len(done) == (0 if point == "gateway.decided" else 1)


def approve(stage, outcome, who="bob"):
    return holds.approve(outcome.hold, digest=hold_of(outcome).digest, **by(stage, who))


def reject(stage, outcome, who="bob"):
    return holds.reject(outcome.hold, digest=hold_of(outcome).digest, **by(stage, who))


def hold_of(outcome):
    return Hold.objects.get(pk=outcome.hold)


def by(stage, who):
    return {"approver": stage.people[who], "now": stage.now, "correlation_id": "test"}


def where(stage):
    return {
        "workspace": stage.workspace.pk,
        "environment": "development",
        "agent": "steward",
        "now": stage.now,
        "correlation_id": "test",
    }


def _reviewer(stage, who):
    member = Membership.objects.get(workspace=stage.workspace, person=stage.people[who])
    if "reviewer" not in memberships.roles_of(stage.people[who], stage.workspace.pk):
        memberships.grant(member, "reviewer", environment=None, actor=stage.people["adam"], **stage.build.how)
    return stage.people[who]
