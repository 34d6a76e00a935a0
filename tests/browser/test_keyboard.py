"""A person without a mouse decides as everybody does: found, read and decided with keys alone."""

import re

import pytest

from registry.models import Approval, Proposal
from registry.views import portions, queue
from tests.browser import window
from tests.gateway.stage import effects, fresh

pytest_plugins = ["tests.shared"]

MOST = 250  # stops of the tabulator until an element must have been found
_FOCUSED = """() => {
  const e = document.activeElement;
  const box = e.getBoundingClientRect(), style = getComputedStyle(e);
  return {tag: e.tagName.toLowerCase(), text: (e.innerText || e.value || e.ariaLabel || '').trim(), id: e.id,
          seen: box.width > 0 && box.height > 0, ring: style.outlineStyle !== 'none' || style.boxShadow !== 'none'};
}"""


def reach(page, wanted):
    """Press Tab until something that `wanted` fits has the focus; every stop on the way must be seen to have it."""
    for _ in range(MOST):
        page.keyboard.press("Tab")
        focused = page.evaluate(_FOCUSED)
        if focused["tag"] != "body":
            assert focused["seen"] and focused["ring"], f"nobody sees where the focus is: {focused}"
        if wanted(focused):
            return focused
    raise AssertionError("no key leads there")


def named(pattern, tag=""):
    """Return what fits an element by its words, and by its tag if one is given."""
    return lambda one: re.search(pattern, one["text"]) and tag in ("", one["tag"])


def with_id(name):
    return lambda one: one["id"] == name


def open_by_keys(page, address):
    """Focus the link to `address` among those of the page, and follow it."""
    reach(page, lambda one: one["tag"] == "a" and page.evaluate("document.activeElement.pathname") == address)
    page.keyboard.press("Enter")
    page.wait_for_url(f"**{address}")


def turn_pages(page, address):
    """Go on to the page of the list that has a link to `address`."""
    while page.locator(f'a[href="{address}"]').count() == 0:
        reach(page, named(r"shown: more$|^More$", "a"))
        with page.expect_navigation():
            page.keyboard.press("Enter")


def test_a_reviewer_approves_a_proposal_from_the_queue_by_keyboard_alone(world, open_as, monkeypatch):
    monkeypatch.setattr(queue, "PAGE", 5)
    proposal = [world.proposal() for _ in range(6)][-1]
    seen = open_as("bob")
    page, there = seen.page, f"/w/{world.slug}/proposals/{proposal.pk}/"
    seen.go(f"/w/{world.slug}/proposals/")
    turn_pages(page, there)
    open_by_keys(page, there)
    reach(page, named(r"^Approve…", "summary"))
    page.keyboard.press("Enter")
    reach(page, with_id("approve-comment"))
    page.keyboard.type("Read with care.")
    reach(page, named(r"^Approve$", "button"))
    with page.expect_navigation():
        page.keyboard.press("Enter")
    row = Approval.objects.get(proposal=proposal, approver=world.people["bob"])
    assert (row.verdict, row.comment, row.digest) == ("approve", "Read with care.", proposal.version.digest)
    assert Proposal.objects.get(pk=proposal.pk).state == "approved"
    assert seen.violations() == []


def test_a_person_rejects_by_keyboard_and_the_tool_never_runs(world, open_as):
    value = fresh()
    parked = world.call(world.principal, "careful", value)
    seen = open_as("bob")
    page = seen.page
    seen.go(f"/w/{world.slug}/holds/{parked.hold}/")
    reach(page, with_id("comment"))
    page.keyboard.type("Not today.")
    reach(page, named(r"^Reject", "button"))
    with page.expect_navigation():
        page.keyboard.press("Enter")
    assert world.call(world.principal, "careful", value).status != "finished"
    assert effects(value) == []


def test_a_person_approves_a_hold_from_the_list_by_keyboard_and_it_runs_once(world, open_as, monkeypatch):
    monkeypatch.setattr(portions, "PAGE", 5)
    for _ in range(5):
        world.hold()
    value, key = fresh(), fresh("key")
    parked = world.call(world.principal, "careful", value, key=key)
    seen = open_as("bob")
    page, there = seen.page, f"/w/{world.slug}/holds/{parked.hold}/"
    seen.go(f"/w/{world.slug}/holds/")
    turn_pages(page, there)
    open_by_keys(page, there)
    reach(page, with_id("comment"))
    page.keyboard.type("Go on.")
    reach(page, named(r"^Approve once$", "button"))
    with page.expect_navigation():
        page.keyboard.press("Enter")
    assert effects(value) == []
    assert world.call(world.principal, "careful", value, key=key).status == "finished"
    assert len(effects(value)) == 1


@pytest.mark.parametrize("role", ["mallory", None])
def test_who_may_not_decide_finds_nothing_to_press(world, open_as, role):
    parked = world.call(world.principal, "careful", fresh())
    seen = open_as(role)
    seen.go(f"/w/{world.slug}/holds/{parked.hold}/")
    assert seen.page.get_by_role("button", name="Approve once").count() == 0


def test_keys_find_the_search_the_help_and_the_rows(world, open_as):
    proposal = world.proposal()
    seen = open_as("bob")
    page = seen.page
    seen.go(f"/w/{world.slug}/proposals/")
    page.keyboard.press("?")
    assert page.get_by_role("dialog").is_visible()
    page.keyboard.press("Escape")
    assert not page.get_by_role("dialog").is_visible()
    page.keyboard.press("/")
    page.keyboard.type(str(proposal.pk))
    with page.expect_navigation():
        page.keyboard.press("Enter")
    assert page.url.endswith(f"/proposals/{proposal.pk}/")


def test_every_action_works_without_script(world, browser, base):
    proposal = world.proposal()
    world.client("bob")
    with window.opened(browser, base, cookie=world.cookies["bob"], script=False) as seen:
        seen.go(f"/w/{world.slug}/proposals/{proposal.pk}/")
        seen.page.locator("#approve summary").click()
        seen.page.fill("#approve-comment", "Without script.")
        seen.page.get_by_role("button", name="Approve", exact=True).click()
    assert Approval.objects.get(proposal=proposal).comment == "Without script."
