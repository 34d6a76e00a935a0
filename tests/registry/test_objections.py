"""Asking for changes: no quorum while the request stands, whoever else agrees; its author alone takes it back."""

from datetime import timedelta

import pytest

from audit import records
from audit.refusal import Refusal
from registry import activations, approvals, memberships, precedents, quorum
from registry.models import Approval


@pytest.fixture
def carol_reviews(workspace, people, now):
    """Carol may review too."""
    member = workspace.memberships.get(person=people["carol"])
    how = {"actor": people["adam"], "now": now, "correlation_id": "test"}
    memberships.grant(member, "reviewer", environment=None, **how)


@pytest.fixture
def ask(people, build):
    def request(proposal, name, comment="The prompt is too long.", **changes):
        given = {"digest": proposal.version.digest, "role": None, "comment": comment} | changes
        return approvals.request_changes(proposal, approver=people[name], **given, **build.how)

    return request


def codes(proposal):
    return [one.code for one in quorum.missing(proposal)]


def events(workspace, count):
    return [row.event for row in reversed(records.newest(workspace.pk, limit=count))]


def test_a_request_for_changes_keeps_the_quorum_away_until_its_author_takes_it_back(
    build, ask, people, workspace, carol_reviews
):
    proposal = build.propose(build.release())
    row = ask(proposal, "carol")
    build.approve(proposal, "bob")
    assert proposal.state == "open" and codes(proposal) == ["changes_requested"]
    assert "Carol asked for changes" in quorum.missing(proposal)[0].detail
    with pytest.raises(Refusal) as refused:
        activations.request(proposal, actor=people["olga"], **build.how)
    assert refused.value.code == "quorum_missing"
    with pytest.raises(Refusal, match="Only who gave"):
        approvals.withdraw(row, actor=people["bob"], **build.how)
    approvals.withdraw(row, actor=people["carol"], **build.how)
    proposal.refresh_from_db()
    assert proposal.state == "approved" and codes(proposal) == []
    assert events(workspace, 2) == ["registry.approval.withdrawn", "registry.proposal.approved"]
    assert build.activate(proposal).state == "live"


def test_who_asks_for_changes_agrees_no_more_and_who_agrees_asks_no_more(build, ask, workspace):
    proposal = build.propose(build.release())
    build.approve(proposal, "bob")
    assert proposal.state == "approved"
    ask(proposal, "bob")
    standing = Approval.objects.filter(proposal=proposal, withdrawn_at=None)
    assert [one.verdict for one in standing] == ["request_changes"]
    # Every version of it lacks bob's approval again, beside his request.
    assert sorted(set(codes(proposal))) == ["approval_missing", "changes_requested"]
    build.approve(proposal, "bob")
    assert {one.verdict for one in standing.all()} == {"approve"} and codes(proposal) == []
    assert "registry.approval.withdrawn" in events(workspace, 6)


def test_a_request_after_the_quorum_stops_the_activation_that_is_under_way(build, ask, people, carol_reviews):
    from tests.registry.builders import publish

    proposal = build.propose(build.release())
    build.approve(proposal, "bob")
    activation = activations.request(proposal, actor=people["olga"], **build.how)
    ask(proposal, "carol")
    publish(activation)
    ended = activations.finish(activation, **build.how)
    assert (ended.state, ended.failure) == ("failed", "quorum_missing")


def test_a_request_says_why_and_is_bound_to_the_bytes_and_to_a_role(build, ask, people):
    proposal = build.propose(build.version())
    for name, changes, code in (
        ("bob", {"comment": " "}, "comment_missing"),
        ("bob", {"digest": "sha256:" + "0" * 64}, "digest_mismatch"),
        ("dave", {}, "role_missing"),
        ("alice", {}, "approver_is_contributor"),
        ("mallory", {}, "not_found"),
    ):
        with pytest.raises(Refusal) as refused:
            ask(proposal, name, **changes)
        assert refused.value.code == code
    assert not Approval.objects.filter(proposal=proposal).exists()
    assert ask(proposal, "bob").verdict == "request_changes"


def test_a_new_version_needs_a_new_proposal_which_the_request_does_not_touch(build, ask):
    proposal = build.propose(build.version())
    ask(proposal, "bob")
    other = build.propose(build.version(timeout_ms=900))
    build.approve(other, "bob")
    assert other.state == "approved" and codes(proposal) == ["approval_missing", "changes_requested"]


def test_an_approval_expires_and_a_request_does_not(build, people, now):
    proposal = build.propose(build.version())
    past = {"at": now - timedelta(hours=2), "expires_at": now - timedelta(hours=1), "role": "reviewer"}
    for name, verdict in (("bob", "request_changes"), ("carol", "approve")):
        Approval.objects.create(
            proposal=proposal, version=proposal.version, digest=proposal.version.digest, verdict=verdict,
            environment=proposal.environment, approver=people[name], **past,
        )  # fmt: skip
    assert codes(proposal) == ["approval_missing", "changes_requested"]


def test_parts_approved_in_a_proposal_under_objection_set_no_precedent(build, ask, carol_reviews):
    part = build.version()
    first = build.propose(build.release([part]))
    build.approve(first, "bob")
    second = build.propose(build.release([part], budgets={"steps": 9}))
    standing = quorum.standing(second)
    assert part.pk in precedents.approved([part], second, standing.requirements)
    ask(first, "carol")
    assert part.pk not in precedents.approved([part], second, standing.requirements)
    assert part.pk in {each.pk for each in quorum.standing(second).concerned}


def test_changes_are_asked_for_over_rest(build, client_for, bob, workspace):
    proposal = build.propose(build.version())
    where = f"/api/v1/proposals/{proposal.pk}/approvals/"
    given = {"verdict": "request_changes", "digest": proposal.version.digest}
    refused = client_for(bob).post(where, given)
    assert (refused.status_code, refused.json()["code"]) == (400, "comment_missing")
    made = client_for(bob).post(where, given | {"comment": "Shorter."})
    assert made.status_code == 201 and made.json()[0]["verdict"] == "request_changes"
    lacks = client_for(bob).get(f"/api/v1/proposals/{proposal.pk}/").json()
    assert lacks["state"] == "open" and "changes_requested" in [one["code"] for one in lacks["missing"]]


def test_how_a_proposal_stands_costs_as_many_queries_with_many_parts_as_with_few(build):
    from django.db import connection
    from django.test.utils import CaptureQueriesContext

    counts = []
    for tools in (2, 9):
        parts = [build.version("tool", f"tool_{number}_{tools}") for number in range(tools)]
        build.approve(build.propose(build.release(parts[:1], name=f"first-{tools}")), "bob")
        proposal = build.propose(build.release(parts, name=f"agent-{tools}"))
        build.approve(proposal, "bob")
        with CaptureQueriesContext(connection) as queries:
            quorum.missing(proposal)
        counts.append(len(queries))
    assert counts[0] == counts[1] <= 20
