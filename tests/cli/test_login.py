"""Signing in from a terminal: a person confirms in the browser, and only their terminal gets the token, once."""

import json
import os
import stat
import threading
from datetime import UTC, datetime, timedelta

import httpx2 as httpx
import pytest
from django.core.management import call_command
from django.test import Client

from config.cli import access
from registry import devices, people, tokens
from registry.models import AccessToken, DeviceLogin
from tests.audit import trails

HTML = {"accept": "text/html"}


@pytest.fixture
def browser(db):
    """Return a function: person -> a browser that is signed in as them and checks CSRF tokens."""

    def make(person, *, csrf=False):
        client = Client(headers=HTML, enforce_csrf_checks=csrf)
        client.force_login(person)
        return client

    return make


@pytest.fixture
def begun(server, db):
    """A login that a terminal has begun."""
    DeviceLogin.objects.all().delete()  # other tests have begun some from this address
    answer = httpx.post(f"{server}/api/v1/device-logins/", json={"machine": "alice's laptop"})
    assert answer.status_code == 201, answer.text
    return answer.json()


def as_owner(statement, *values):
    """Do what no role of ours may: let time pass."""
    with trails.superuser() as owner:
        owner.execute(statement, values)


def collect(server, begun, **changes):
    """Ask for the token as the terminal does, or as somebody who knows less."""
    DeviceLogin.objects.filter(pk=begun["id"]).update(asked_at=None)  # as if the interval had passed
    body = {"device_code": begun["device_code"]} | changes
    return httpx.post(f"{server}/api/v1/device-logins/{begun['id']}/tokens/", json=body)


def test_a_person_confirms_in_the_browser_and_the_terminal_is_signed_in(
    placet, server, browser, alice, workspace, trail, monkeypatch, tmp_path
):
    shown = {}

    def confirm(seconds):
        """What alice does while the terminal waits: compare the code on the page and confirm."""
        login = DeviceLogin.objects.latest("expires_at")
        page = browser(alice)
        told = page.get(f"/device/?code={login.code.lower().replace('-', ' ')}").content.decode()
        shown.update(code=login.code, page=told)
        page.post("/device/", {"code": login.code, "verdict": "confirm"})

    monkeypatch.setattr(access, "wait", confirm)
    done = placet(None, "login", server, "--name", "alice's laptop", "--json")
    assert (done.code, done.json["username"], done.json["workspaces"]) == (0, alice.username, [workspace.slug])
    assert shown["code"] in done.err and "alice&#x27;s laptop" in shown["page"] and shown["code"] in shown["page"]
    kept = tmp_path / "config/placet/logins.json"
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    secret = json.loads(kept.read_text())["logins"][server]["token"]
    row = AccessToken.objects.get(person=alice)
    assert bytes(row.hash) != secret.encode() and secret not in repr(AccessToken.objects.filter(pk=row.pk).values())
    assert placet(None, "whoami", "--json").json["username"] == alice.username
    assert trail() == [
        "registry.device_login.confirmed",
        "registry.access_token.created",
        "registry.access_token.used",
    ]
    assert placet(None, "logout").code == 0
    refused = httpx.get(f"{server}/api/v1/me/", headers={"Authorization": f"Bearer {secret}"})
    assert (refused.status_code, refused.json()["code"]) == (401, "token_revoked")
    assert placet(None, "whoami").code == 3
    assert trail()[-1] == "registry.access_token.revoked"


def test_a_refused_login_ends_with_exit_3_and_is_on_record(placet, server, browser, alice, trail, monkeypatch):
    def refuse(seconds):
        code = DeviceLogin.objects.latest("expires_at").code
        browser(alice).post("/device/", {"code": code, "verdict": "refuse"})

    monkeypatch.setattr(access, "wait", refuse)
    done = placet(None, "login", server)
    assert (done.code, "access_denied" in done.err) == (3, True)
    assert trail() == ["registry.device_login.refused"]
    assert not AccessToken.objects.filter(person=alice).exists()


def test_nobody_else_can_collect_what_alice_confirmed(server, browser, begun, alice, mallory):
    pending = collect(server, begun)
    assert (pending.status_code, pending.json()["code"]) == (400, "authorization_pending")
    browser(alice).post("/device/", {"code": begun["user_code"], "verdict": "confirm"})
    code = begun["device_code"]
    close = code[:-1] + ("0" if code[-1] != "0" else "1")
    for guess in ({"device_code": begun["user_code"]}, {"device_code": close}):
        assert collect(server, begun, **guess).status_code == 404
    # Who sees the code on alice's screen can decide nothing any more, and gets nothing.
    late = browser(mallory).post("/device/", {"code": begun["user_code"], "verdict": "confirm"})
    assert "No device waits" in late.content.decode()
    assert collect(server, begun).json()["username"] == alice.username


def test_who_confirms_a_login_gives_their_own_account_and_never_anothers(server, browser, begun, alice, mallory):
    browser(mallory).post("/device/", {"code": begun["user_code"], "verdict": "confirm"})
    secret = collect(server, begun).json()["token"]
    me = httpx.get(f"{server}/api/v1/me/", headers={"Authorization": f"Bearer {secret}"}).json()
    assert (me["username"], me["workspaces"]) == (mallory.username, [])


def test_a_login_gives_one_token_however_often_and_by_how_many_it_is_asked(server, browser, begun, alice):
    browser(alice).post("/device/", {"code": begun["user_code"], "verdict": "confirm"})
    answers = []
    threads = [threading.Thread(target=lambda: answers.append(collect(server, begun))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(answer.status_code for answer in answers) == [201, 400, 400, 400]
    assert AccessToken.objects.filter(person=alice).count() == 1
    assert collect(server, begun).json()["code"] == "expired_token"


def test_a_login_is_over_after_ten_minutes_even_if_it_was_confirmed(server, browser, begun, alice):
    as_owner("UPDATE registry_devicelogin SET expires_at = now() WHERE id = %s", begun["id"])
    page = browser(alice).post("/device/", {"code": begun["user_code"], "verdict": "confirm"})
    assert "No device waits" in page.content.decode()
    assert collect(server, begun).json()["code"] == "expired_token"
    assert not AccessToken.objects.filter(person=alice).exists()


def test_asking_too_fast_and_beginning_too_often_is_slowed_down(server, begun, db):
    assert collect(server, begun).json()["code"] == "authorization_pending"
    body = {"device_code": begun["device_code"]}
    hasty = httpx.post(f"{server}/api/v1/device-logins/{begun['id']}/tokens/", json=body)
    assert (hasty.json()["code"], hasty.json()["retry_after"]) == ("slow_down", devices.INTERVAL)
    for _ in range(devices._MOST_BY_ADDRESS):
        devices.begin(machine="flood", address="192.0.2.7", hours=1)
    flooded = Client().post(
        "/api/v1/device-logins/", {"machine": "flood"}, content_type="application/json", REMOTE_ADDR="192.0.2.7"
    )
    assert (flooded.status_code, flooded.json()["code"]) == (429, "device_logins_limited")


def test_behind_a_proxy_each_client_is_counted_by_itself_and_nobody_names_another_address(db, settings):
    settings.ALLAUTH_TRUSTED_PROXY_COUNT = 1
    proxy, busy, other = "192.0.2.99", "192.0.2.8", "192.0.2.9"
    for _ in range(devices._MOST_BY_ADDRESS):
        devices.begin(machine="flood", address=busy, hours=1)

    def begin(forwarded):
        how = {"content_type": "application/json", "headers": {"X-Forwarded-For": forwarded}, "REMOTE_ADDR": proxy}
        return Client().post("/api/v1/device-logins/", {"machine": "terminal"}, **how)

    assert (begin(busy).status_code, begin(f"{other}, {busy}").status_code) == (429, 429)
    answer = begin(other)
    assert answer.status_code == 201, answer.content
    assert DeviceLogin.objects.get(pk=answer.json()["id"]).address == other


def test_guessing_codes_is_stopped_after_ten(browser, begun, alice):
    page = browser(alice)
    for _ in range(10):
        assert "No device waits" in page.get("/device/?code=BBBB-BBBB").content.decode()
    stopped = page.get(f"/device/?code={begun['user_code']}")
    assert stopped.status_code == 429 and "device_codes_limited" in stopped.content.decode()


def test_confirming_needs_the_form_s_own_token(browser, begun, alice):
    answer = browser(alice, csrf=True).post("/device/", {"code": begun["user_code"], "verdict": "confirm"})
    assert answer.status_code == 403
    assert DeviceLogin.objects.get(pk=begun["id"]).state == "pending"


def test_a_machine_s_name_cannot_disguise_itself_on_the_page(server, browser, begun, alice):
    body = {"machine": "lap\u202etop <b>"}
    disguised = httpx.post(f"{server}/api/v1/device-logins/", json=body).json()
    page = browser(alice).get(f"/device/?code={disguised['user_code']}").content.decode()
    assert "U+202E" in page and "\u202e" not in page and "<b>" not in page


def test_a_token_acts_as_its_person_until_it_ends_or_the_person_does(server, token, alice, people, workspace):
    secret = token(alice)
    headers = {"Authorization": f"Bearer {secret}"}

    def code():
        answer = httpx.get(f"{server}/api/v1/proposals/", params={"workspace": workspace.slug}, headers=headers)
        return answer.status_code, answer.json().get("code")

    assert code() == (200, None)
    row = AccessToken.objects.get(person=alice)
    assert row.first_used_at is not None
    AccessToken.objects.filter(pk=row.pk).update(last_used_at=datetime.now(UTC) - timedelta(hours=1))
    assert code() == (200, None)
    alice.is_active = False
    alice.save(update_fields=["is_active"])
    assert code() == (401, "person_inactive")
    alice.is_active = True
    alice.save(update_fields=["is_active"])
    cut = httpx.get(f"{server}/api/v1/me/", headers={"Authorization": headers["Authorization"][:-1]})
    assert (cut.status_code, cut.json()["code"]) == (401, "token_malformed")
    call_command("token", alice.username, revoke_all=True)
    assert code() == (401, "token_revoked")


def test_a_new_password_and_lost_factors_end_the_tokens_that_somebody_else_may_hold(server, token, alice, now, trail):
    def code(secret):
        return httpx.get(f"{server}/api/v1/me/", headers={"Authorization": f"Bearer {secret}"}).json().get("code")

    how = {"now": now, "correlation_id": "test"}
    first = token(alice)
    people.set_password(alice, "a new and longer one", actor=alice.actor, **how)
    assert code(first) == "token_revoked"
    second = token(alice)
    assert code(second) is None
    people.reset_factors(alice, by=None, reason="She lost her phone.", **how)
    assert code(second) == "token_revoked"
    assert trail().count("registry.access_token.revoked") == 2


def test_an_expired_token_is_refused_by_the_database_s_clock(server, token, alice):
    secret = token(alice)
    as_owner("UPDATE registry_accesstoken SET expires_at = now() WHERE person_id = %s", alice.pk)
    answer = httpx.get(f"{server}/api/v1/me/", headers={"Authorization": f"Bearer {secret}"})
    assert (answer.status_code, answer.json()["code"]) == (401, "token_expired")


def test_the_web_role_cannot_change_whose_a_token_is_or_how_long_it_lives(token, alice, mallory):
    from django.db import ProgrammingError

    token(alice)
    for column, value in (("person", mallory), ("expires_at", datetime.now(UTC) + timedelta(days=999)), ("hash", b"x")):
        with pytest.raises(ProgrammingError, match="permission denied"):
            AccessToken.objects.filter(person=alice).update(**{column: value})


def test_tokens_are_listed_and_revoked_by_their_owner_alone(placet, token, alice, bob, workspace):
    token(alice)
    mine = placet(alice, "tokens", "list", "--json").json
    assert len(mine) == 2 and "hash" not in mine[0]
    other = AccessToken.objects.filter(person=alice).earliest("pk")
    assert placet(bob, "tokens", "revoke", str(other.pk)[-8:]).code == 1
    assert placet(alice, "tokens", "revoke", str(other.pk)[-8:]).code == 0
    assert AccessToken.objects.get(pk=other.pk).revoked_by == alice.actor
    page = Client(headers=HTML)
    page.force_login(alice)
    rest = tokens.standing(alice).get()
    assert rest.prefix in page.get("/access-tokens/").content.decode()
    page.post(f"/access-tokens/{rest.pk}/revocation/")
    assert not tokens.standing(alice).exists()


def test_the_token_command_makes_one_for_automation_and_records_it(capsys, alice, trail, server):
    call_command("token", alice.username, "--hours", "2", "--name", "ci")
    secret = capsys.readouterr().out.strip()
    assert trail() == ["registry.access_token.created"]
    me = httpx.get(f"{server}/api/v1/me/", headers={"Authorization": f"Bearer {secret}"}).json()
    assert (me["username"], me["token"]["name"]) == (alice.username, "ci")


def test_a_token_is_not_sent_in_the_clear_to_another_machine(placet, alice):
    done = placet(alice, "whoami", env={"PLACET_URL": "http://placet.example.org"})
    assert (done.code, "not_encrypted" in done.err) == (2, True)


def test_a_server_that_does_not_answer_is_an_error_with_a_remedy(placet, alice):
    done = placet(alice, "whoami", env={"PLACET_URL": "http://127.0.0.1:9"})
    assert done.code == 1 and "placet up" in done.err and "unreachable" in done.err


def test_a_damaged_file_of_logins_is_named(placet, tmp_path):
    place = tmp_path / "config/placet"
    place.mkdir(parents=True)
    (place / "logins.json").write_text("{")
    done = placet(None, "whoami")
    assert done.code == 1 and str(place / "logins.json") in done.err.replace("\n", "")
    assert os.listdir(place) == ["logins.json"]
