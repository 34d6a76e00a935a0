"""What is committed while a call is being decided counts: who leaves, who loses a role, what was given back."""

import pytest

from gateway import evidence, holds, pdp, pep
from gateway.models import Hold
from registry import memberships
from registry.models import Membership
from tests.gateway.stage import TOOLS, at_once, effects, events, fresh


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
    meanwhile(lambda: acts[what]("bob"), at=(evidence, "append_decided"))
    outcome = pep.release(hold.pk, now=stage.now)
    assert (outcome.status, outcome.code) == ("denied", "hold_void")
    assert effects(value) == []
    hold.refresh_from_db()
    assert hold.state == "void"
