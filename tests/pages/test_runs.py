"""Runs on their pages: what was asked, step by step what came of it, and how to end it."""

import pytest

from agents import leases
from tests.agents.acts import lapse, open_step, wake
from tests.pages import scene
from tests.pages.reading import actions, words


@pytest.fixture
def page(visitor, steward, there):
    return lambda run, name="bob": visitor(steward.people[name]).get(there(f"runs/{run.pk}/"))


def test_a_run_that_waits_leads_to_the_hold_and_goes_on_after_the_approval(steward, page, visitor, there):
    run = steward.begin("Fix the parser, please.")
    hold = run.steps.get(state="decided").hold
    text = words(page(run))
    assert "A person has to decide on a call of this run." in text and "Fix the parser, please." in text
    assert f"/holds/{hold}/" in page(run).content.decode()
    given = {"verdict": "approve", "digest": scene.Hold.objects.get(pk=hold).digest}
    assert visitor(steward.people["bob"]).post(there(f"holds/{hold}/verdict/"), given).status_code == 302
    wake()
    steward.work(run)
    text = words(page(run))
    assert "succeeded" in text and "The parser is fixed and committed." in text
    assert "attempt 1: hold, parked ( untrusted_session ); attempt 2: allow, completed" in text
    assert "git_reset denied" in text and "A person decided on it" in text
    assert "steps : 7 of 20 used 13 left" in text


def test_who_may_cancels_a_run_and_is_told_what_stays_done(steward, page, visitor, there):
    run = steward.begin()
    where = there(f"runs/{run.pk}/cancellation/")
    assert where in actions(page(run, "olga")) and where not in actions(page(run, "dave"))
    refused = visitor(steward.people["dave"]).post(where)
    assert refused.status_code == 403 and "role_missing" in words(refused)
    run.refresh_from_db()
    assert run.state == "waiting"
    assert visitor(steward.people["olga"]).post(where).status_code == 302
    run.refresh_from_db()
    assert run.state == "cancelled"
    assert "By Olga" in words(page(run)) and "It had changed nothing." in words(page(run))
    assert where not in actions(page(run, "olga"))


def test_the_list_is_filtered_by_state(steward, visitor, there):
    run = steward.begin()
    bob = visitor(steward.people["bob"])
    assert str(run.pk) in words(bob.get(there("runs/?state=waiting&agent=steward")))
    assert str(run.pk) not in words(bob.get(there("runs/?state=succeeded")))
    assert "No run fits these filters." in words(bob.get(there("runs/?agent=nobody")))


def test_a_step_that_was_given_up_is_listed_and_tried_again_from_the_list(steward, visitor, there):
    run = steward.start("Fix the parser.", agent="steward", inputs={"repository": "p"}, by=steward.people["alice"])
    step = open_step(run)
    for _ in range(leases.POISON):
        leases.claim(step.pk)
        lapse(step)
    leases.claim(step.pk)
    dead = visitor(steward.people["olga"]).get(there("runs/?show=dead"))
    assert (
        "poison The process that worked on this step died" in words(dead)
        and f"/runs/{run.pk}/" in dead.content.decode()
    )
    again = there(f"steps/{step.pk}/requeue/")
    assert again in actions(dead)
    assert again not in actions(visitor(steward.people["dave"]).get(there("runs/?show=dead")))
    assert visitor(steward.people["olga"]).post(again).status_code == 302
    assert f"/runs/{run.pk}/" not in visitor(steward.people["olga"]).get(there("runs/?show=dead")).content.decode()


def test_only_a_dead_step_is_tried_again(steward, visitor, there):
    run = steward.begin()
    step = run.steps.get(state="decided")
    refused = visitor(steward.people["olga"]).post(there(f"steps/{step.pk}/requeue/"))
    assert refused.status_code == 409 and "step_not_dead" in words(refused)
