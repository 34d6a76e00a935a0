"""What has no command of its own: `placet api`, and with it the steps of the runbooks, against the failure itself."""

import json

import pytest

from agents.models import Step
from gateway.models import Breaker, Call, Credential

pytest_plugins = ["tests.shared"]


@pytest.fixture
def api(placet, world):
    """Return a function that asks as somebody of the shared workspace."""

    def ask(name, *arguments):
        done = placet(world.people[name], "api", *arguments)
        return done.code, json.loads(done.out) if done.code == 0 and done.out else done.err

    return ask


def gauge(client, name):
    shown = client.get("/metrics").content.decode()
    return sum(float(line.split()[-1]) for line in shown.splitlines() if line.startswith(name))


def test_a_list_is_asked_with_a_query_and_a_body_is_made_of_members(api, world):
    code, told = api("olga", "GET", "stops/", "-w", world.slug)
    assert code == 0 and "results" in told
    sent = ("scope=tool", "target=nothing", "reason=A try.", f"workspace={world.slug}")
    code, made = api("olga", "POST", "/api/v1/stops/", *sent)
    assert (code, made["reason"]) == (0, "A try.")
    assert api("olga", "DELETE", f"stops/{made['id']}/")[0] == 0
    code, said = api("alice", "POST", "stops/", *sent)
    assert code == 3 and "role_missing" in said


def test_what_is_no_request_is_said_before_anything_is_sent(api, world):
    assert api("olga", "PATCH", "stops/")[0] == 2
    assert api("olga", "POST", "stops/", "scope")[0] == 2
    code, said = api("olga", "POST", "stops/", "minutes:=soon")
    assert code == 2 and "not JSON" in said


def test_a_call_of_which_nobody_knows_is_settled_and_its_alarm_ends(api, world, client):
    call = world.lost()
    before = gauge(client, "placet_calls_unknown")
    assert before >= 1
    code, said = api("alice", "POST", f"tool-calls/{call}/settlements/", "outcome=happened")
    assert code == 3, said
    assert api("olga", "POST", f"tool-calls/{call}/settlements/", "outcome=happened")[0] == 0
    assert Call.objects.get(pk=call).state == "completed"
    assert gauge(client, "placet_calls_unknown") == before - 1


def test_a_breaker_is_reset_and_its_alarm_ends(api, world, client):
    breaker = world.breaker()
    before = gauge(client, "placet_breakers_open")
    assert before >= 1
    assert api("olga", "POST", f"breakers/{breaker}/resets/")[0] == 0
    assert Breaker.objects.get(pk=breaker).state == "closed"
    assert gauge(client, "placet_breakers_open") == before - 1


def test_a_dead_step_is_tried_again_and_its_run_waits_for_nobody(api, world, client):
    step = world.dead_step()
    waiting = gauge(client, 'placet_runs_unfinished{state="waiting",wait="person"}')
    due = gauge(client, "placet_steps_due")
    assert waiting >= 1
    assert api("olga", "POST", f"steps/{step.pk}/requeues/")[0] == 0
    assert Step.objects.get(pk=step.pk).state == "ready"
    assert gauge(client, 'placet_runs_unfinished{state="waiting",wait="person"}') == waiting - 1
    assert gauge(client, "placet_steps_due") == due + 1


def test_a_leaked_credential_is_revoked_and_lost_factors_are_reset(api, world):
    credential = world.credential()
    assert api("carol", "POST", f"credentials/{credential}/revocations/")[0] == 0
    assert Credential.objects.get(pk=credential).revoked_at is not None
    code, said = api("mallory", "POST", f"credentials/{credential}/revocations/")
    assert code != 0, said
    member = world.member()
    reset = ("POST", "factor-resets/", f"membership={member.pk}", "reason=Came by in person.")
    code, said = api("olga", *reset)
    assert code == 3, said
