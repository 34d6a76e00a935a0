"""Comments on a proposal hang on bytes, say who and when, and change nothing that is agreed."""

import pytest
from django.db import DatabaseError, connection, transaction

from audit import records
from audit.refusal import Refusal
from registry import comments
from registry.models import Comment
from tests.registry import builders
from tests.registry.builders import PROMPT


@pytest.fixture
def release(build):
    return build.release([build.version("prompt", "system", PROMPT | {"template": "One.\nTwo.\n{{repository}}\n"})])


@pytest.fixture
def proposal(build, release):
    return build.propose(release)


@pytest.fixture
def prompt(release):
    from registry import versions

    return next(part for part in versions.parts_of(release) if part.kind == "prompt")


def said(workspace):
    return [row.event for row in records.newest(workspace.pk, limit=20) if row.event.startswith("registry.comment.")]


def test_a_comment_stands_on_a_line_of_a_part_and_its_text_is_sealed_in_the_trail(
    proposal, prompt, workspace, dave, build
):
    row = comments.add(
        proposal, author=dave, text="Why two?", digest=prompt.digest, path="/template", line=2, **build.how
    )
    assert (row.version, row.digest, row.path, row.line) == (prompt, prompt.digest, "/template", 2)
    record = records.newest(workspace.pk, limit=1)[0]
    assert (record.event, record.body["subjects"]["version"]) == ("registry.comment.added", prompt.digest)
    assert "Why two?" not in record.text and record.body["data"]["line"] == 2
    proposal.refresh_from_db()
    assert proposal.state == "open"


@pytest.mark.parametrize(
    ("where", "code"),
    [
        ({"path": "/template", "line": 4}, "line_unknown"),
        ({"path": "/template", "line": 0}, "line_unknown"),
        ({"path": "/variables", "line": 1}, "line_unknown"),
        ({"line": 1}, "line_unknown"),
        ({"path": "/nothing"}, "path_unknown"),
        ({"path": "template"}, "path_unknown"),
        ({"path": "/template/0"}, "path_unknown"),
        ({"text": " \n"}, "text_missing"),
        ({"text": "x" * 4001}, "text_too_long"),
        ({"digest": "sha256:" + "0" * 64}, "digest_unknown"),
    ],
)
def test_a_comment_on_nothing_is_refused(where, code, proposal, prompt, workspace, bob, build):
    given = {"text": "Hm.", "digest": prompt.digest} | where
    with pytest.raises(Refusal) as refused:
        comments.add(proposal, author=bob, **given, **build.how)
    assert refused.value.code == code and refused.value.field
    assert not Comment.objects.filter(proposal=proposal).exists() and said(workspace) == []
    comments.add(proposal, author=bob, text="Hm.", digest=prompt.digest, path="/template", line=3, **build.how)


def test_what_it_replaces_may_be_commented_on_and_what_is_elsewhere_may_not(proposal, bob, build):
    other = build.version("tool", "git_push")
    with pytest.raises(Refusal, match="earlier version of either"):
        comments.add(proposal, author=bob, text="Hm.", digest=other.digest, **build.how)
    earlier = build.version("prompt", "system", PROMPT)
    assert comments.add(proposal, author=bob, text="This was better.", digest=earlier.digest, **build.how)


def test_an_answer_stands_where_the_comment_does_and_a_thread_is_settled_and_reopened(
    proposal, prompt, workspace, alice, bob, build
):
    first = comments.add(proposal, author=bob, text="Why?", digest=prompt.digest, path="/template", line=1, **build.how)
    second = comments.answer(first, author=alice, text="It is shorter.", **build.how)
    third = comments.answer(second, author=bob, text="I see.", **build.how)
    assert {(one.answers_id, one.path, one.line) for one in (second, third)} == {(first.pk, "/template", 1)}
    comments.settle(third, resolved=True, actor=bob, **build.how)
    comments.settle(first, resolved=True, actor=alice, **build.how)
    (thread,) = comments.threads(proposal)
    assert (thread.first, list(thread.answers), thread.open) == (first, [second, third], False)
    comments.settle(first, resolved=False, actor=alice, **build.how)
    assert comments.threads(proposal)[0].open
    events = ["registry.comment.reopened", "registry.comment.resolved", *["registry.comment.added"] * 3]
    assert said(workspace) == events


def test_a_stranger_says_nothing_and_finds_nothing(proposal, mallory, alice, build):
    with pytest.raises(Refusal) as refused:
        comments.add(proposal, author=mallory, text="Hello.", **build.how)
    assert refused.value.code == "not_found"
    row = comments.add(proposal, author=alice, text="Hello.", **build.how)
    for act in (
        lambda: comments.answer(row, author=mallory, text="Hello.", **build.how),
        lambda: comments.settle(row, resolved=True, actor=mallory, **build.how),
    ):
        with pytest.raises(Refusal, match="proposal"):
            act()
    assert comments.threads(proposal)[0].answers == []


@pytest.mark.parametrize("table", ["comment", "resolution"])
@pytest.mark.parametrize("statement", ["UPDATE registry_{} SET at = now()", "DELETE FROM registry_{}"])
def test_the_database_lets_nobody_change_what_was_said(statement, table, proposal, bob, build):
    row = comments.add(proposal, author=bob, text="Mine.", **build.how)
    comments.settle(row, resolved=True, actor=bob, **build.how)
    with pytest.raises(DatabaseError), transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(statement.format(table))
    assert comments.threads(proposal)[0].first.text == "Mine."


def test_comments_go_over_rest_too(proposal, prompt, workspace, client_for, bob, mallory, alice):
    where = f"/api/v1/proposals/{proposal.pk}/comments/"
    made = client_for(bob).post(where, {"text": "Why?", "digest": prompt.digest, "path": "/template", "line": 2})
    assert made.status_code == 201 and made.json()["line"] == 2
    answer = client_for(alice).post(where, {"text": "So.", "answers": made.json()["id"]})
    assert answer.json()["answers"] == made.json()["id"] and answer.json()["path"] == "/template"
    wrong = client_for(bob).post(where, {"text": "Why?", "path": "/nowhere"})
    assert (wrong.status_code, wrong.json()["code"], wrong.json()["field"]) == (400, "path_unknown", "path")
    assert len(client_for(bob).get(where).json()["results"]) == 2
    assert client_for(mallory).get(where).status_code == 404
    settled = f"/api/v1/comments/{made.json()['id']}/resolutions/"
    assert client_for(mallory).post(settled, {}).status_code == 404
    assert client_for(alice).post(settled, {}).status_code == 201
    assert client_for(alice).post(settled, {}).status_code == 200
    assert client_for(bob).post(settled, {"resolved": False}).json()["resolved"] is False


def test_a_comment_of_another_proposal_cannot_be_answered_here(proposal, build, client_for, bob):
    other = build.propose(build.version("policy", "other", builders.policy()))
    foreign = comments.add(other, author=bob, text="There.", **build.how)
    where = f"/api/v1/proposals/{proposal.pk}/comments/"
    refused = client_for(bob).post(where, {"text": "Here.", "answers": str(foreign.pk)})
    assert (refused.status_code, refused.json()["code"]) == (404, "not_found")
