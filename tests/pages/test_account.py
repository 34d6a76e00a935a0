"""One's own account: second factors with real codes, passwords, sessions; each change on record or not done."""

import base64
import hashlib
import hmac
import re
import struct
import time

import pytest
from allauth.mfa.models import Authenticator

from tests.pages.reading import words
from tests.world import unrecordable

pytest_plugins = ["tests.shared"]
PASSWORD = "correct horse"


def code(secret, *, steps=0):
    """Return the one-time code of now (RFC 6238, SHA-1, 6 digits, 30 s)."""
    counter = struct.pack(">Q", int(time.time()) // 30 + steps)
    digest = hmac.new(base64.b32decode(secret), counter, hashlib.sha1).digest()
    at = digest[-1] & 15
    return f"{(int.from_bytes(digest[at : at + 4], 'big') & 0x7FFFFFFF) % 1_000_000:06}"


def wrong(secret):
    """Return a code that no clock of these minutes shows."""
    near = {code(secret, steps=step) for step in range(-3, 4)}
    return next(one for one in ("000000", "111111", "222222", "333333", "444444", "555555") if one not in near)


@pytest.fixture
def sign_in(visitor):
    """Return a function: person -> a browser that signed in with the password, and the answer to it."""

    def make(person, password=PASSWORD, **more):
        browser = visitor()
        return browser, browser.post("/login/", {"username": person.username, "password": password, **more})

    return make


@pytest.fixture
def enrol(sign_in):
    """Return a function: person -> (browser, secret, recovery codes) after they added an authenticator app."""

    def make(person):
        browser, _ = sign_in(person)
        asked = browser.get("/account/app/").headers["Location"]
        assert asked == "/account/confirm/password/?next=%2Faccount%2Fapp%2F"
        assert browser.post(asked, {"password": PASSWORD}).headers["Location"] == "/account/app/"
        secret = re.search("<code>([A-Z2-7]{32})</code>", browser.get("/account/app/").content.decode())[1]
        answer = browser.post("/account/app/", {"code": code(secret)})
        assert answer.headers["Location"] == "/account/codes/", words(answer)
        shown = re.findall("<code>([0-9]{8})</code>", browser.get("/account/codes/").content.decode())
        return browser, secret, shown

    return make


def test_with_an_app_the_password_alone_no_longer_signs_in(enrol, sign_in, alice, workspace, trail):
    _, secret, recovery = enrol(alice)
    assert len(recovery) == 10
    assert trail() == ["registry.factor.added", "registry.factor.added"]
    stored = Authenticator.objects.get(user=alice, type="totp").data["secret"]
    assert secret not in stored
    there = f"/w/{workspace.slug}/"
    browser, answer = sign_in(alice, next=there)
    assert answer.headers["Location"] == "/login/factor/"
    assert browser.get(there).status_code == 302
    refused = browser.post("/login/factor/", {"code": wrong(secret)})
    assert "That code is not right" in words(refused)
    assert browser.get(there).status_code == 302
    # The code of the step before is still good once; the one that added the app may have been of this step.
    assert browser.post("/login/factor/", {"code": code(secret, steps=1)}).headers["Location"] == there
    assert browser.get(there).status_code == 200


def test_a_one_time_code_works_once(enrol, sign_in, alice):
    _, secret, _ = enrol(alice)
    once = code(secret, steps=1)
    first, _ = sign_in(alice)
    assert first.post("/login/factor/", {"code": once}).status_code == 302
    second, _ = sign_in(alice)
    assert "was used before" in words(second.post("/login/factor/", {"code": once}))
    assert second.get("/account/").status_code == 302


def test_a_recovery_code_signs_in_once_and_is_on_record(enrol, sign_in, alice, trail):
    browser, _, recovery = enrol(alice)
    assert "They were shown once" in words(browser.get("/account/codes/"))
    first, _ = sign_in(alice)
    assert first.post("/login/factor/", {"code": recovery[0]}).headers["Location"] == "/"
    assert trail()[-1] == "registry.recovery_code.used"
    assert "9 left" in words(first.get("/account/"))
    second, _ = sign_in(alice)
    assert second.post("/login/factor/", {"code": recovery[0]}).status_code == 200
    assert second.get("/account/").status_code == 302


def test_who_has_a_factor_cannot_remove_it_with_the_password_alone(enrol, sign_in, alice, trail):
    _, secret, _ = enrol(alice)
    browser, _ = sign_in(alice)
    browser.post("/login/factor/", {"code": code(secret, steps=1)})
    asked = browser.post("/account/app/removal/")
    assert asked.headers["Location"].startswith("/account/confirm/code/")
    # The page of the password leads away: it is no way to confirm for who has a factor.
    assert (
        browser.post("/account/confirm/password/", {"password": PASSWORD})
        .headers["Location"]
        .startswith("/account/confirm/code/")
    )
    assert Authenticator.objects.filter(user=alice, type="totp").exists()
    browser.post("/account/confirm/code/?next=/account/app/removal/", {"code": code(secret)})
    assert browser.post("/account/app/removal/").headers["Location"] == "/account/"
    assert not Authenticator.objects.filter(user=alice).exists()
    assert trail()[-2:] == ["registry.factor.removed", "registry.factor.removed"]


def test_a_factor_that_cannot_be_recorded_is_not_added(sign_in, alice, refusing, trail):
    browser, _ = sign_in(alice)
    browser.raise_request_exception = False
    browser.post("/account/confirm/password/?next=/account/app/", {"password": PASSWORD})
    secret = re.search("<code>([A-Z2-7]{32})</code>", browser.get("/account/app/").content.decode())[1]
    with unrecordable():
        assert browser.post("/account/app/", {"code": code(secret)}).status_code == 500
    assert not Authenticator.objects.filter(user=alice).exists()
    assert trail() == []


def test_a_factor_saved_outside_a_transaction_is_refused(alice):
    with pytest.raises(RuntimeError, match="in the transaction that records it"):
        Authenticator.objects.create(user=alice, type="totp", data={"secret": "x"})
    assert not Authenticator.objects.filter(user=alice).exists()


def test_changing_the_password_is_on_record_and_ends_the_other_sessions(sign_in, alice, trail):
    here, _ = sign_in(alice)
    elsewhere, _ = sign_in(alice)
    wrong_one = {"oldpassword": "wrong", "password1": "a-new-password-1", "password2": "a-new-password-1"}
    assert here.post("/account/password/", wrong_one).status_code == 200
    assert trail() == []
    answer = here.post("/account/password/", wrong_one | {"oldpassword": PASSWORD})
    assert answer.headers["Location"] == "/account/"
    assert trail() == ["registry.password.changed"]
    assert here.get("/account/").status_code == 200
    assert elsewhere.get("/account/").status_code == 302
    assert sign_in(alice)[1].status_code == 200
    assert sign_in(alice, "a-new-password-1")[1].status_code == 302


def test_a_password_that_cannot_be_recorded_is_not_changed(sign_in, alice, refusing):
    browser, _ = sign_in(alice)
    browser.raise_request_exception = False
    given = {"oldpassword": PASSWORD, "password1": "a-new-password-1", "password2": "a-new-password-1"}
    with unrecordable():
        assert browser.post("/account/password/", given).status_code == 500
    assert sign_in(alice)[1].status_code == 302


def test_one_sees_one_s_sessions_and_can_end_all_others(sign_in, alice):
    here, _ = sign_in(alice)
    elsewhere, _ = sign_in(alice)
    assert words(here.get("/account/")).count("127.0.0.1") == 2
    assert here.post("/account/sessions/").headers["Location"] == "/account/"
    assert here.get("/account/").status_code == 200
    assert elsewhere.get("/account/").status_code == 302


def test_guessing_a_password_is_refused_after_a_while_and_on_record(visitor, alice, trail):
    browser = visitor()
    guess = {"username": alice.username, "password": "wrong"}
    for _ in range(5):
        assert "correct username and password" in words(browser.post("/login/", guess, REMOTE_ADDR="192.0.2.7"))
    for _ in range(2):
        refused = browser.post("/login/", guess | {"password": PASSWORD}, REMOTE_ADDR="192.0.2.7")
        assert "Too many failed attempts" in words(refused)
    assert trail() == ["registry.login.throttled"]
    assert browser.get("/account/").status_code == 302


def test_somebody_switched_off_is_told_so(sign_in, alice):
    alice.is_active = False
    alice.save()
    browser, answer = sign_in(alice)
    assert answer.headers["Location"] == "/login/inactive/"
    assert "Your account is switched off" in words(browser.get("/login/inactive/"))
    assert browser.get("/account/").status_code == 302


def test_every_page_of_a_workspace_leads_to_the_account(visitor, alice, workspace):
    assert '<a href="/account/">' in visitor(alice).get(f"/w/{workspace.slug}/").content.decode()
