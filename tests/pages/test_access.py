"""Every page: members only, nothing for strangers, no action without the form's token."""

import uuid

import pytest
from django.test.utils import CaptureQueriesContext
from django.urls import URLPattern

from config.page_urls import WORKSPACE
from tests.pages.reading import read, words

MOST_QUERIES = 60
# What these need to be there is made in tests/pages/test_exports.py and test_changes.py.
ELSEWHERE = ("export", "changes")
PAGES = [one for one in WORKSPACE if not one.name.startswith("export-") and one.name not in ELSEWHERE]


@pytest.fixture(scope="module")
def ids(_steward, django_db_blocker):
    """What the addresses of this module's pages name."""
    from agents.models import Step
    from audit import records, sequencer
    from registry import comments, stops
    from registry.models import Activation, Approval, Version
    from tests.pages import scene

    with django_db_blocker.unblock():
        story = _steward.story()
        release = scene.second_release(_steward.build)
        proposal = _steward.build.propose(release, "staging")
        by = {"by": _steward.people["olga"], **_steward.build.how}
        asks = {"author": _steward.people["bob"], **_steward.build.how}
        sequencer.drain(_steward.workspace.pk, using="sequencer")
        return {
            "proposal": proposal.pk,
            "stop": stops.set(_steward.workspace, scope="agent", target="wild", reason="Wild.", **by).pk,
            "comment": comments.add(proposal, text="Why?", **asks).pk,
            "approval": Approval.objects.filter(proposal__workspace=_steward.workspace).latest("at").pk,
            "hold": story["holds"]["open"],
            "call": story["calls"]["commit"],
            "run": story["runs"]["waiting"],
            "step": Step.objects.filter(run=story["runs"]["done"]).earliest("no").pk,
            "record": records.newest(_steward.workspace.pk, limit=1)[0].id,
            "activation": Activation.objects.filter(workspace=_steward.workspace).latest("requested_at").pk,
            "version": Version.objects.get(pk=release.pk),
        }


def address(pattern: URLPattern, steward, ids) -> str:
    """Return the address of a page that exists in the steward's workspace."""
    noun = str(pattern.pattern).split("/")[0].rstrip("s") if pattern.name != "record" else "record"
    path = str(pattern.pattern).replace("<uuid:pk>", str(ids.get(noun, "")))
    version = ids["version"]
    for part, value in (("<slug:kind>", version.kind), ("<str:name>", version.name), ("<int:number>", version.number)):
        path = path.replace(part, str(value))
    return f"/w/{steward.workspace.slug}/{path}"


def actions():
    """Return the patterns that only take a POST."""
    return [pattern for pattern in PAGES if "GET" not in pattern.callback.methods]


def shown():
    return [pattern for pattern in PAGES if pattern not in actions()]


@pytest.mark.parametrize("pattern", PAGES, ids=lambda pattern: pattern.name)
def test_strangers_find_nothing_and_the_unknown_are_led_to_the_login(pattern, steward, ids, visitor):
    where, send = address(pattern, steward, ids), "post" if pattern in actions() else "get"
    stranger = getattr(visitor(steward.people["mallory"]), send)(where)
    assert stranger.status_code == 404
    assert steward.workspace.name not in words(stranger)
    nobody = getattr(visitor(), send)(where)
    assert (nobody.status_code, nobody.headers["Location"].split("?")[0]) == (302, "/login/")


@pytest.mark.parametrize("pattern", shown(), ids=lambda pattern: pattern.name)
def test_a_member_sees_the_page_in_few_queries_under_a_strict_policy(pattern, steward, ids, visitor, db):
    from django.db import connection

    browser = visitor(steward.people["adam"])
    with CaptureQueriesContext(connection) as queries:
        answer = browser.get(address(pattern, steward, ids))
    assert answer.status_code == 200
    assert len(queries) <= MOST_QUERIES, "\n".join(query["sql"] for query in queries.captured_queries)
    assert len(answer.content) < 100_000
    assert "unsafe" not in answer.headers["Content-Security-Policy"]
    assert "no-store" in answer.headers["Cache-Control"]
    if "POST" not in pattern.callback.methods:
        assert browser.post(address(pattern, steward, ids)).status_code == 405


@pytest.mark.parametrize("pattern", shown(), ids=lambda pattern: pattern.name)
def test_a_page_is_well_made(pattern, steward, ids, visitor):
    """No inline script or style, nothing from elsewhere, one heading, a label for each field, no id twice."""
    tags = read(visitor(steward.people["adam"]).get(address(pattern, steward, ids))).tags
    names = [tag for tag, _ in tags]
    assert names.count("h1") == 1 and names.count("main") == 1
    assert ("html", "en") in [(tag, attrs.get("lang")) for tag, attrs in tags]
    labelled = {attrs["for"] for tag, attrs in tags if tag == "label" and "for" in attrs}
    known = [attrs["id"] for _, attrs in tags if "id" in attrs]
    assert len(known) == len(set(known))
    for tag, attrs in tags:
        assert "style" not in attrs and not any(name.startswith("on") for name in attrs), (tag, attrs)
        assert tag != "style" and (tag != "script" or attrs["src"].startswith("/static/"))
        for link in ("src", "href", "action"):
            assert "//" not in (attrs.get(link) or ""), attrs
        if tag in ("input", "select", "textarea") and attrs.get("type") != "hidden":
            # A choice stands inside its label.
            assert attrs.get("type") == "radio" or attrs["id"] in labelled, attrs
        if tag == "th":
            assert attrs.get("scope"), attrs


@pytest.mark.parametrize("pattern", actions(), ids=lambda pattern: pattern.name)
def test_an_action_needs_a_post_with_the_form_s_token(pattern, steward, ids, visitor):
    where = address(pattern, steward, ids)
    assert visitor(steward.people["bob"]).get(where).status_code == 405
    refused = visitor(steward.people["bob"], csrf=True).post(where, {"verdict": "approve"})
    assert refused.status_code == 403
    assert "This form is out of date" in words(refused)


@pytest.mark.parametrize("noun", ["proposals", "holds", "calls", "runs"])
def test_what_does_not_exist_looks_like_what_is_another_s(noun, steward, visitor):
    bob = visitor(steward.people["bob"])
    assert bob.get(f"/w/{steward.workspace.slug}/{noun}/{uuid.uuid4()}/").status_code == 404
    assert bob.get(f"/w/{steward.workspace.slug}/{noun}/not-a-uuid/").status_code == 404


def test_rows_of_another_workspace_are_not_found_through_one_s_own(steward, ids, visitor, workspace, bob):
    """The ids are right and the visitor is a member, but of another workspace."""
    for noun in ("proposal", "hold", "call", "run"):
        assert visitor(bob).get(f"/w/{workspace.slug}/{noun}s/{ids[noun]}/").status_code == 404
    where = f"/w/{workspace.slug}/holds/{ids['hold']}/verdict/"
    assert visitor(bob).post(where, {"verdict": "approve", "digest": "x"}).status_code == 404


@pytest.mark.parametrize(
    "query",
    [
        "?name=%00",
        "?since=0001-01-01T00:00%2B23:59",
        "?until=9999-12-31T23:59-23:59",
        "?before=%F0%9F%99%82",
        "?name=%FF",
    ],
)
def test_odd_filters_are_refused_or_find_nothing(query, steward, visitor, there):
    answer = visitor(steward.people["bob"]).get(there(f"calls/{query}"))
    assert answer.status_code == (400 if "%00" in query else 200)


def test_a_text_that_the_database_cannot_store_is_refused(steward, ids, visitor, there):
    given = {"verdict": "reject", "comment": "no\x00"}
    answer = visitor(steward.people["bob"]).post(there(f"holds/{ids['hold']}/verdict/"), given)
    assert answer.status_code == 400 and "text_invalid" in words(answer)
    assert visitor(steward.people["bob"]).get(there("artifacts/tool/x%00/")).status_code == 400
