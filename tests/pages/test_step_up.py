"""To decide where an environment is protected one needs a fresh proof; nothing that was typed is lost on the way."""

import secrets
import time

import pytest
from allauth.mfa.models import Authenticator
from django.db import transaction

from audit import records
from registry import people as persons
from registry import workspaces
from registry.models import Approval
from tests.pages.reading import words
from tests.pages.test_account import code
from tests.registry.builders import Builder

HOUR = 3600


@pytest.fixture
def build(people, now):
    """A workspace whose grants are all confirmed, and a proposal of alice's for production."""
    roles = {"alice": "author", "bob": "reviewer", "carol": "security", "olga": "operator"}
    members = [(people[name], role, None) for name, role in roles.items()]
    slug = f"u-{secrets.token_hex(5)}"
    return Builder(workspaces.init(slug, "Step up", admin=people["adam"], now=now, members=members), people, now)


@pytest.fixture
def proposal(build):
    return build.propose(build.version("prompt", "system"), "production")


def age(browser, seconds):
    """Let the browser's sign-in have been that long ago."""
    session = browser.session
    session["placet_signed_in_at"] = time.time() - seconds
    session.save()


def decide(browser, proposal, comment="Well thought."):
    there = f"/w/{proposal.workspace.slug}/proposals/{proposal.pk}/"
    given = {"verdict": "approve", "digest": proposal.version.digest, "comment": comment}
    return there, browser.post(f"{there}verdict/", given)


def approvals(proposal):
    return Approval.objects.filter(proposal=proposal).count()


def authenticated(proposal):
    """Return what the record of the newest approval says about the sign-in."""
    rows = records.newest(proposal.workspace_id, limit=10)
    row = next(row for row in rows if row.event == "registry.approval.created")
    return row.body["data"]["authenticated"]


def test_an_old_sign_in_is_asked_for_a_proof_and_the_comment_is_kept(visitor, people, proposal):
    browser = visitor(people["bob"])
    age(browser, HOUR)
    there, answer = decide(browser, proposal)
    assert answer.headers["Location"].startswith("/account/confirm/?next=%2Fw%2F")
    assert approvals(proposal) == 0
    asked = browser.get(answer.headers["Location"]).headers["Location"]
    assert asked.startswith("/account/confirm/password/?next=")
    assert "Incorrect password" in words(browser.post(asked, {"password": "wrong"}))
    assert browser.post(asked, {"password": "correct horse"}).headers["Location"] == there
    assert "Well thought." in browser.get(there).content.decode()
    assert "Well thought." not in browser.get(there).content.decode()
    assert decide(browser, proposal)[1].headers["Location"] == there
    assert approvals(proposal) == 1
    assert authenticated(proposal)["methods"] == ["password"]


def test_a_fresh_sign_in_is_not_asked_again(visitor, people, proposal):
    there, answer = decide(visitor(people["bob"]), proposal)
    assert (answer.headers["Location"], approvals(proposal)) == (there, 1)


def test_nothing_is_asked_where_nothing_is_protected(visitor, people, build):
    proposal = build.propose(build.version("prompt", "system"), "development")
    browser = visitor(people["bob"])
    age(browser, HOUR)
    assert decide(browser, proposal)[0] == decide(browser, proposal)[0]
    assert approvals(proposal) == 1


def test_over_rest_a_problem_says_where_to_prove_it(client_for, people, proposal):
    client = client_for(people["bob"])
    session = client.session
    session["placet_signed_in_at"] = time.time() - HOUR
    session.save()
    there, body = f"/api/v1/proposals/{proposal.pk}/approvals/", {"digest": proposal.version.digest}
    answer = client.post(there, body)
    assert (answer.status_code, answer.json()["code"]) == (403, "step_up_required")
    assert answer.json()["address"] == "/account/confirm/"
    assert approvals(proposal) == 0
    assert client_for(people["bob"]).post(there, body).status_code == 201


def test_who_has_a_second_factor_has_to_give_it(visitor, people, proposal):
    from config.identity.adapters import Factors

    secret = "JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP"
    with transaction.atomic():
        Authenticator.objects.create(user=people["bob"], type="totp", data={"secret": Factors().encrypt(secret)})
    browser = visitor(people["bob"])  # signed in this minute, without the factor
    _, answer = decide(browser, proposal)
    asked = browser.get(answer.headers["Location"]).headers["Location"]
    assert asked.startswith("/account/confirm/code/")
    assert approvals(proposal) == 0
    browser.post(asked, {"code": code(secret)})
    decide(browser, proposal)
    assert approvals(proposal) == 1
    assert authenticated(proposal)["methods"] == ["totp"]


def test_an_installation_can_ask_everybody_for_a_second_factor(visitor, people, proposal, settings):
    settings.PLACET_SECOND_FACTOR = "required"
    _, answer = decide(visitor(people["bob"]), proposal)
    assert answer.status_code == 403
    assert "you need a second factor" in words(answer)
    assert approvals(proposal) == 0


def test_activation_asks_too(visitor, people, build):
    proposal = build.propose(build.version("policy", "baseline", None), "production")
    build.approve(proposal, "bob", "carol")
    assert proposal.state == "approved"
    browser = visitor(people["olga"])
    age(browser, HOUR)
    there = f"/w/{proposal.workspace.slug}/proposals/{proposal.pk}/"
    answer = browser.post(f"{there}activation/", {"digest": proposal.version.digest})
    assert answer.headers["Location"].startswith("/account/confirm/")
    assert proposal.activations.count() == 0
    age(browser, 0)
    browser.post(f"{there}activation/", {"digest": proposal.version.digest})
    assert proposal.activations.count() == 1


def test_an_approval_given_before_the_factors_were_reset_does_not_count_and_the_page_says_so(
    visitor, people, build, proposal, now
):
    build.approve(proposal, "bob")
    persons.reset_factors(people["bob"], by=None, reason="Lost phone.", now=now, correlation_id="test")
    there = f"/w/{proposal.workspace.slug}/proposals/{proposal.pk}/"
    text = words(visitor(people["carol"]).get(there))
    assert f"What {people['bob'].username} approved does not count: second factors were reset since." in text
    other = build.propose(build.version("prompt", "older"), "production")
    persons.reset_factors(people["bob"], by=None, reason="Again.", now=now, correlation_id="test")
    refused = decide(visitor(people["bob"]), other)[1]
    assert refused.status_code == 403 and "Your second factors were reset" in words(refused)
    newer = build.propose(build.version("prompt", "newer"), "production")
    decide(visitor(people["bob"]), newer)
    assert approvals(newer) == 1


def test_another_s_session_beside_a_token_proves_nothing(visitor, people, rf):
    from registry import authentication

    request = rf.get("/")
    request.session, request.user = visitor(people["carol"]).session, people["carol"]
    assert authentication.of(request) is not None
    request.user = people["bob"]
    assert authentication.of(request) is None
