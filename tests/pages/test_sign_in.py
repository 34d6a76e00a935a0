"""Signing in and out, and the way to a workspace."""

from tests.pages.reading import words


def test_who_is_not_signed_in_is_led_to_the_login_page_and_back(visitor, alice, workspace):
    browser = visitor()
    there = f"/w/{workspace.slug}/proposals/"
    asked = browser.get(there)
    assert (asked.status_code, asked.headers["Location"]) == (302, f"/login/?next={there}")
    given = {"username": alice.username, "password": "correct horse", "next": there}
    answer = browser.post("/login/", given)
    assert (answer.status_code, answer.headers["Location"]) == (302, there)
    assert browser.get(there).status_code == 200


def test_a_wrong_password_opens_nothing_and_is_answered_in_words(visitor, alice):
    browser = visitor()
    answer = browser.post("/login/", {"username": alice.username, "password": "wrong"})
    assert answer.status_code == 200
    assert "Please enter a correct username and password" in words(answer)
    assert "placet_session" not in browser.cookies


def test_the_login_page_leads_nowhere_else(visitor, alice):
    given = {"username": alice.username, "password": "correct horse", "next": "https://example.org/"}
    assert visitor().post("/login/", given).headers["Location"] == "/"


def test_signing_out_ends_the_session_and_needs_a_post(visitor, alice, workspace):
    browser = visitor(alice)
    assert browser.get("/logout/").status_code == 405
    assert browser.get(f"/w/{workspace.slug}/").status_code == 200
    assert browser.post("/logout/").headers["Location"] == "/login/"
    assert browser.get(f"/w/{workspace.slug}/").status_code == 302


def test_login_and_logout_need_the_form_s_token(visitor, alice):
    given = {"username": alice.username, "password": "correct horse"}
    refused = visitor(csrf=True).post("/login/", given)
    assert refused.status_code == 403
    assert "This form is out of date" in words(refused)
    assert visitor(alice, csrf=True).post("/logout/").status_code == 403


def test_a_person_of_one_workspace_is_led_there_and_a_stranger_is_told_so(visitor, alice, mallory, workspace):
    assert visitor(alice).get("/").headers["Location"] == f"/w/{workspace.slug}/"
    assert "You are not a member of a workspace yet" in words(visitor(mallory).get("/"))


def test_the_choice_of_colours_is_kept_and_leads_back_to_this_site_alone(visitor, alice):
    browser = visitor(alice)
    answer = browser.post("/theme/", {"theme": "dark", "next": "/w/x/"})
    assert answer.headers["Location"] == "/w/x/"
    assert 'data-theme="dark"' in browser.get("/").content.decode() or browser.cookies["placet_theme"].value == "dark"
    assert browser.post("/theme/", {"theme": "dark", "next": "https://example.org/"}).headers["Location"] == "/"
    assert browser.post("/theme/", {"theme": "<b>", "next": "//example.org"}).headers["Location"] == "/"
    assert browser.cookies["placet_theme"].value == "dark"


def test_the_workspace_page_says_what_waits_for_whom(visitor, people, build, workspace):
    version = build.version("prompt", "system")
    build.propose(version)
    assert "Review system version 1" in words(visitor(people["bob"]).get(f"/w/{workspace.slug}/"))
    own = words(visitor(people["alice"]).get(f"/w/{workspace.slug}/"))
    assert "Nothing waits for you" in own and "Yours, waiting for others" in own
