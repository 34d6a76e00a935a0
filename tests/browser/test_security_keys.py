"""A security key in a real browser: added, asked for at sign-in, and nothing without it."""

from tests.browser import window

pytest_plugins = ["tests.shared"]

KEY = {
    "protocol": "ctap2",
    "transport": "usb",
    "hasResidentKey": False,
    "hasUserVerification": True,
    "isUserVerified": True,
    "automaticPresenceSimulation": True,
}


def sign_in(shown, person):
    shown.go("/login/?next=/account/")
    shown.page.get_by_label("User name").fill(person.username)
    shown.page.get_by_label("Password").fill("correct horse")
    shown.page.get_by_role("button", name="Sign in").click()


def test_a_security_key_is_added_and_then_asked_for(browser, base, world):
    """The browser's own authenticator, driven over its debugging protocol, stands for the key."""
    person, mark = world.member().person, world.mark()
    # WebAuthn takes http for localhost alone, and no IP address.
    with window.opened(browser, base.replace("127.0.0.1", "localhost")) as shown:
        page = shown.page
        session = page.context.new_cdp_session(page)
        session.send("WebAuthn.enable")
        key = session.send("WebAuthn.addVirtualAuthenticator", {"options": KEY})["authenticatorId"]
        sign_in(shown, person)
        page.get_by_role("link", name="Add a security key or passkey").click()
        page.get_by_label(f"Password of {person.username}").fill("correct horse")
        page.get_by_role("button", name="Confirm").click()
        page.get_by_label("What to call it").fill("Blue key")
        page.get_by_role("button", name="Add it").click()
        page.wait_for_url("**/account/codes/")
        shown.go("/account/")
        assert page.get_by_text("Blue key", exact=True).is_visible()
        page.get_by_role("button", name="Sign out", exact=True).click()
        sign_in(shown, person)
        page.wait_for_url("**/login/factor/")
        shown.go("/account/")
        assert "/login/" in page.url
        page.get_by_role("button", name="Use a security key").click()
        page.wait_for_url("**/account/")
        page.get_by_role("button", name="Sign out", exact=True).click()
        # Another key is no way in.
        session.send("WebAuthn.removeVirtualAuthenticator", {"authenticatorId": key})
        session.send("WebAuthn.addVirtualAuthenticator", {"options": KEY})
        sign_in(shown, person)
        page.get_by_role("button", name="Use a security key").click()
        page.get_by_text("The key was not used").wait_for()
        shown.go("/account/")
        assert "/login/" in page.url
        assert (shown.foreign, shown.complaints) == ([], [])
    assert world.since(mark) == ["registry.factor.added", "registry.factor.added"]
