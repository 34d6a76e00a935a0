"""Comments and requests for changes on the page of a proposal."""

import secrets

import pytest

from registry import memberships, workspaces
from registry.models import Approval, Comment
from tests.pages import scene
from tests.pages.reading import actions, read, words
from tests.registry.builders import Builder


@pytest.fixture
def proposed(build):
    build.version("prompt", "system", template=scene.PROMPT_BEFORE)
    return build.propose(build.version("prompt", "system", template=scene.PROMPT_AFTER))


@pytest.fixture
def where(proposed, workspace):
    return f"/w/{workspace.slug}/proposals/{proposed.pk}/"


def test_a_line_is_commented_on_where_it_stands_answered_and_settled(proposed, where, visitor, people, trail):
    bob, alice = visitor(people["bob"]), visitor(people["alice"])
    given = {"digest": proposed.version.digest, "path": "/template", "line": "2", "text": "Why the diff, too?"}
    made = bob.post(f"{where}comments/", given)
    comment = Comment.objects.get(proposal=proposed)
    assert made.headers["Location"] == f"{where}#comment-{comment.pk}"
    text = words(alice.get(where))
    # Once under its line, once in the discussion.
    assert text.count("Why the diff, too?") == 2 and "/template line 2" in text
    assert text.index("Why the diff, too?") > text.index("and never rewrite history")
    assert alice.post(f"{where}comments/", {"answers": comment.pk, "text": "It saves a step."}).status_code == 302
    assert "1 answer" in words(bob.get(where))
    settle = where.replace(f"proposals/{proposed.pk}", f"comments/{comment.pk}") + "resolution/"
    assert settle in actions(alice.get(where))
    assert bob.post(settle, {"resolved": "1"}).status_code == 302
    assert "settled by Bob" in words(alice.get(where))
    assert trail() == ["registry.comment.added", "registry.comment.added", "registry.comment.resolved"]


@pytest.mark.parametrize(
    ("given", "code"),
    [
        ({"line": "99"}, "line_unknown"),
        ({"line": "two"}, "line_unknown"),
        ({"path": "/nowhere"}, "path_unknown"),
        ({"text": ""}, "text_missing"),
    ],
)
def test_a_comment_that_is_refused_says_what_to_change_and_keeps_what_was_typed(
    given, code, proposed, where, visitor, people
):
    whole = {"digest": proposed.version.digest, "path": "/template", "line": "2", "text": "Why, oh why?"} | given
    refused = visitor(people["bob"]).post(f"{where}comments/", whole)
    assert refused.status_code == 400 and code in words(refused)
    typed = [attrs.get("value") for tag, attrs in read(refused).tags if tag == "input" and attrs.get("name") == "line"]
    assert whole["line"] in typed and whole["text"] in words(refused)
    assert not Comment.objects.filter(proposal=proposed).exists()


def test_changes_are_asked_for_named_on_the_page_and_taken_back(proposed, where, visitor, people, trail):
    bob, alice = visitor(people["bob"]), visitor(people["alice"])
    given = {"verdict": "request_changes", "digest": proposed.version.digest}
    assert "comment_missing" in words(bob.post(f"{where}verdict/", given))
    assert bob.post(f"{where}verdict/", given | {"comment": "Say who reads it."}).status_code == 302
    text = words(alice.get(where))
    assert "Bob asked for changes" in text and "Say who reads it." in text and "changes asked for by Bob" in text
    queue = words(alice.get(where.replace(f"{proposed.pk}/", "")))
    assert "changes, asked for by Bob" in queue
    assert not Approval.objects.filter(proposal=proposed, verdict="approve").exists()
    row = Approval.objects.get(proposal=proposed)
    back = where.replace(f"proposals/{proposed.pk}", f"approvals/{row.pk}") + "withdrawal/"
    assert back in actions(bob.get(where)) and back not in actions(alice.get(where))
    assert bob.post(back).status_code == 302
    assert "Bob asked for changes, " not in words(alice.get(where))
    assert trail() == ["registry.approval.created", "registry.approval.withdrawn"]


def test_the_panel_s_script_gets_the_panel_alone_and_only_when_somebody_has_said_something(
    proposed, where, visitor, people, build
):
    carol = visitor(people["carol"])
    ask = {"HX-Request": "true", "HX-Target": "standing"}
    part = carol.get(where, headers=ask)
    assert part.headers["Placet-Part"] == "standing" and "rewrite history" not in words(part)
    tag = {"If-None-Match": part.headers["ETag"]}
    assert carol.get(where, headers=ask | tag).status_code == 304
    build.approve(proposed, "bob")
    moved = carol.get(where, headers=ask | tag)
    assert moved.status_code == 200 and "1 of 1 approval reviewer: Bob" in words(moved)


def test_the_page_says_who_may_approve_and_why_others_cannot(visitor, people, now):
    founders = [
        (people["alice"], "author", None),
        (people["alice"], "reviewer", None),
        (people["carol"], "security", None),
    ]
    workspace = workspaces.init(f"w-{secrets.token_hex(5)}", "Other", admin=people["adam"], now=now, members=founders)
    how = {"actor": people["adam"], "now": now, "correlation_id": "test"}
    member = memberships.add(workspace, people["bob"], **how)
    memberships.grant(member, "reviewer", environment=None, **how)
    build = Builder(workspace, people, now)
    proposal = build.propose(build.version("prompt", "system"), "production")
    text = words(visitor(people["bob"]).get(f"/w/{workspace.slug}/proposals/{proposal.pk}/"))
    assert "Alice cannot: contributed to it" in text
    assert "Bob cannot: no second admin has confirmed the role" in text
    assert "security : Carol" in text
    assert "reviewer : nobody; an admin has to grant and a second one to confirm the role" in text


def test_the_history_names_each_change_and_its_records(proposed, where, visitor, people, build):
    build.approve(proposed, "bob")
    text = words(visitor(people["dave"]).get(where))
    assert "state: open → approved" in text
    for event in ("registry.proposal.opened", "registry.approval.created", "registry.proposal.approved"):
        assert event in text
