"""A parked call on its page: what would run is shown exactly, and who it concerns cannot let it run."""

import pytest

from gateway import pep
from gateway.models import Call, Hold, HoldApproval
from tests.gateway.stage import events
from tests.pages import scene
from tests.pages.reading import actions, hidden, words


@pytest.fixture
def parked(steward):
    """A commit that an agent asked for after it had read the log: hold, principal and request."""
    return steward.parked()


@pytest.fixture
def page(visitor, steward, there):
    return lambda hold, name: visitor(steward.people[name]).get(there(f"holds/{hold.pk}/"))


@pytest.fixture
def decide(visitor, steward, there):
    """Return a function that sends the form of a hold's page."""

    def send(hold, name, verdict, **given):
        given = {"verdict": verdict, "digest": hold.digest, **given}
        return visitor(steward.people[name]).post(there(f"holds/{hold.pk}/verdict/"), given)

    return send


def test_the_page_shows_what_would_run_why_a_person_is_asked_and_what_approving_does(parked, page):
    answer = page(parked[0], "bob")
    text = words(answer)
    assert "/message The commit message, shown to everybody." in text
    assert "AWS_ACCESS_KEY_ID=⟨redacted: secret.aws_access_key⟩" in text
    assert "/paths/0 parser.py" in text
    assert "The session has read untrusted content; an effect needs a person." in text
    assert "the baseline of this environment" in text
    assert "untrusted since this call" in text
    assert "git_commit runs once with exactly these arguments. The policy is asked again first" in text
    assert "changes something; the same key is executed once" in text
    assert hidden(answer, "digest") == parked[0].digest


def test_a_redacted_secret_stands_nowhere_on_the_pages(parked, page, visitor, steward, there):
    for answer in (
        page(parked[0], "bob"),
        visitor(steward.people["bob"]).get(there(f"calls/{parked[0].call_id}/")),
        visitor(steward.people["bob"]).get(there("calls/")),
    ):
        assert answer.status_code == 200
        assert "AKIAIOSFODNN7EXAMPLQ" not in answer.content.decode()


def test_what_a_reviewer_approves_runs_exactly_once_after_the_agent_asks_again(parked, decide, page, steward):
    hold, principal, request = parked
    ran = len(scene.EFFECTS)
    assert decide(hold, "bob", "approve", comment="Go on.").status_code == 302
    assert HoldApproval.objects.get(hold=hold).approver == steward.people["bob"]
    assert len(scene.EFFECTS) == ran
    assert "When the agent asks again" in words(page(hold, "bob"))
    assert pep.call(principal, request, now=steward.now).status == "finished"
    assert pep.call(principal, request, now=steward.now).replayed
    assert len(scene.EFFECTS) == ran + 1
    assert events(hold.call_id) == ["call.decided", "hold.approved", "call.decided", "call.completed"]
    text = words(page(hold, "bob"))
    assert "What was executed" in text and "Executed once." in text


def test_who_answers_for_the_agent_cannot_approve_from_the_page(parked, decide, page):
    hold = parked[0]
    text = words(page(hold, "alice"))
    assert "another person has to decide" in text
    assert not any("verdict" in action for action in actions(page(hold, "alice")))
    refused = decide(hold, "alice", "approve")
    assert refused.status_code == 403 and "approver_excluded" in words(refused)
    hold.refresh_from_db()
    assert hold.state == "open" and not hold.approvals.exists()
    assert decide(hold, "bob", "approve").status_code == 302


def test_who_holds_no_deciding_role_is_refused(parked, decide, page):
    assert "This needs one of the roles reviewer here." in words(page(parked[0], "dave"))
    assert decide(parked[0], "dave", "approve").status_code == 403
    assert not HoldApproval.objects.filter(hold=parked[0]).exists()


def test_another_digest_than_the_one_shown_approves_nothing(parked, decide):
    refused = decide(parked[0], "bob", "approve", digest="sha256:" + "0" * 64)
    assert refused.status_code == 409 and "hold_changed" in words(refused)
    assert not HoldApproval.objects.filter(hold=parked[0]).exists()


def test_a_rejected_call_is_denied_and_a_reason_is_asked_for(parked, decide, page, steward):
    hold, principal, request = parked
    ran = len(scene.EFFECTS)
    missing = decide(hold, "bob", "reject", comment=" ")
    assert "Say why you reject it" in words(missing)
    assert decide(hold, "bob", "reject", comment="Not on a Friday.").status_code == 302
    assert pep.call(principal, request, now=steward.now).code == "hold_rejected"
    assert len(scene.EFFECTS) == ran
    assert "Not on a Friday." in words(page(hold, "bob"))
    assert "hold_closed" in words(decide(hold, "bob", "approve"))


def test_the_list_names_who_is_asked_and_how_long_there_is(parked, visitor, steward, there):
    text = words(visitor(steward.people["bob"]).get(there("holds/")))
    assert "git_commit steward in development untrusted session reviewer nobody yet" in text
    assert "Decide" not in text.replace("Decided", "")


def test_what_the_visitor_may_decide_stands_before_what_waits_for_others(parked, visitor, steward, there):
    mine = words(visitor(steward.people["bob"]).get(there("holds/")))
    assert "You can decide" in mine
    assert "You can decide" not in words(visitor(steward.people["alice"]).get(there("holds/")))
    assert "Others decide" in words(visitor(steward.people["alice"]).get(there("holds/")))


def test_the_page_says_how_much_is_missing_and_shows_the_rule_that_asks(parked, page, decide):
    text = words(page(parked[0], "bob"))
    assert "0 of 1 approval by reviewer" in text
    assert "The rule, in policy.rego from line" in text and "holds contains {" in text
    decide(parked[0], "bob", "approve", comment="Go on.")
    assert "1 of 1 approval by reviewer" in words(page(parked[0], "bob"))


def test_a_hold_says_that_the_baseline_has_moved_since_it_was_parked(parked, page, steward):
    assert "This hold no longer matches" not in words(page(parked[0], "bob"))
    # As if it had been parked under an earlier baseline than the live one.
    Hold.objects.filter(pk=parked[0].pk).update(baseline="sha256:" + "0" * 64)
    text = words(page(parked[0], "bob"))
    assert "The baseline of development has changed since:" in text and "an approval would not be used" in text


def test_a_hold_past_its_time_is_shown_as_expired_before_the_sweeper_came(steward, page, decide, db):
    from django.db import connection

    hold = steward.parked()[0]
    with connection.cursor() as cursor:
        cursor.execute("UPDATE gateway_hold SET expires_at = now() - interval '1 s' WHERE id = %s", [hold.pk])
    text = words(page(hold, "bob"))
    assert "Nobody decided in time: the call is denied." in text
    assert "hold_closed" in words(decide(hold, "bob", "approve"))


def test_arguments_that_were_erased_are_named_as_erased(steward, page):
    from audit import sealed

    hold = steward.parked()[0]
    call = Call.objects.get(pk=hold.call_id)
    how = {"actor": "system:test", "now": steward.now, "correlation_id": "test"}
    sealed.erase(steward.workspace.pk, f"session:{call.session_id}", **how)
    assert "the arguments were erased with their data subject" in words(page(Hold.objects.get(pk=hold.pk), "bob"))
