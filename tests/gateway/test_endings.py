"""What is committed while a call is being decided counts: who leaves, who loses a role, what was given back."""

from uuid import uuid4

import pytest
from django.db import connection

from gateway import evidence, holds, limits, pdp, pep
from gateway.models import Hold
from registry import memberships, resolve
from registry.models import Membership
from tests.gateway.stage import TOOLS, at_once, effects, events, fresh, let_time_pass, query


@pytest.fixture
def meanwhile(monkeypatch):
    """Return a function: let `act` commit on another connection while the next call is decided, before step `at`."""

    def let(act, at=(pdp, "decide")):
        step = getattr(*at)

        def later(*given, **named):
            monkeypatch.setattr(*at, step)
            [done] = at_once(act)
            assert not isinstance(done, Exception), done
            return step(*given, **named)

        monkeypatch.setattr(*at, later)

    return let


@pytest.fixture
def leaving(own_stage):
    """A stage, and functions that make one of its people leave or lose all roles."""
    own_stage.live({name: TOOLS[name] for name in ("put", "careful", "narrow")})

    def member(name):
        return Membership.objects.get(workspace=own_stage.workspace, person=own_stage.people[name])

    how = {"actor": own_stage.people["adam"], **own_stage.build.how}

    def lose(name):
        return [memberships.revoke(row, **how) for row in member(name).grants.all()]

    return own_stage, {"leaves": lambda name: memberships.deactivate(member(name), **how), "loses the role": lose}


def test_a_call_whose_owner_leaves_while_it_is_decided_is_denied(leaving, meanwhile):
    stage, acts = leaving
    agent, value = stage.agent(owner="dave"), fresh()
    assert stage.call(agent, "put").status == "finished"
    meanwhile(lambda: acts["leaves"]("dave"))
    outcome = stage.call(agent, "put", value)
    assert (outcome.status, outcome.code, outcome.again) == ("denied", "credential_orphaned", False)
    assert effects(value) == []
    assert events(outcome.call) == ["call.decided"]


@pytest.mark.parametrize("what", ["leaves", "loses the role"])
def test_a_hold_whose_approver_is_none_any_more_while_it_is_released_is_void(leaving, meanwhile, what):
    stage, acts = leaving
    value = fresh()
    parked = stage.call(stage.agent(), "careful", value)
    hold = Hold.objects.get(pk=parked.hold)
    holds.approve(hold.pk, approver=stage.people["bob"], digest=hold.digest, **stage.build.how)
    # Until here they were looked at, and from here on nobody asked again.
    meanwhile(lambda: acts[what]("bob"), at=(evidence, "append_difference"))
    outcome = pep.release(hold.pk, now=stage.now)
    assert (outcome.status, outcome.code) == ("denied", "hold_void")
    assert effects(value) == []
    hold.refresh_from_db()
    assert hold.state == "void"


def test_a_call_whose_reservation_was_given_back_is_not_executed_on_it(leaving, meanwhile):
    stage, _ = leaving
    agent, value = stage.agent(), fresh()

    def give_back():
        """Let the call have taken so long that its place counts as leaked, and somebody else needs it."""
        query("UPDATE gateway_lease SET until = now() - interval '1 s' WHERE call = %s", call_of(value))
        return limits.free_leaked()

    meanwhile(give_back)
    outcome = stage.call(agent, "narrow", value, key=value)
    assert (outcome.status, outcome.again) == ("in_flight", True)
    assert (effects(value), events(outcome.call)) == ([], [])
    let_time_pass(outcome.call)
    assert stage.call(agent, "narrow", value, key=value).status == "finished"
    assert len(effects(value)) == 1


def test_the_reservation_of_a_slow_decision_lasts_as_long_as_its_call(leaving, meanwhile):
    stage, _ = leaving
    agent, value = stage.agent(), fresh()
    meanwhile(lambda: query("UPDATE gateway_lease SET until = now() + interval '1 ms' WHERE call = %s", call_of(value)))
    assert stage.call(agent, "narrow", value, key=value).status == "finished"
    assert len(effects(value)) == 1


def test_what_was_reserved_anew_is_not_given_back_for_what_leaked_before(leaving):
    stage, _ = leaving
    call, session = uuid4(), uuid4()
    release = resolve.live(stage.workspace.pk, "development", "steward")

    def reserve(fence):
        limits.reserve(
            call=call,
            fence=fence,
            first=fence == 1,
            session=session,
            run=None,
            release=release,
            contract=release.tools["narrow"],
            arguments={},
            seconds=60,
        )

    def claim_anew():
        with connection.cursor() as cursor:
            limits.settle(cursor, call, limits.NOTHING)
        reserve(2)

    def between(execute, sql, *given):
        """Let the call be claimed anew after it was read that it leaked."""
        result = execute(sql, *given)
        if sql == limits._LEAKED:
            assert at_once(claim_anew) == [None]
        return result

    reserve(1)
    query("UPDATE gateway_lease SET until = now() - interval '1 s' WHERE call = %s", call)
    with connection.execute_wrapper(between):
        limits.free_leaked()
    assert query("SELECT fence FROM gateway_lease WHERE call = %s", call) == [(2,)]
    assert query("SELECT under_way FROM gateway_counter WHERE id = %s", session) == [(1,)]
    with connection.cursor() as cursor:
        limits.settle(cursor, call, limits.NOTHING)


def call_of(key):
    return query("SELECT id FROM gateway_call WHERE key = %s", key)[0][0]
