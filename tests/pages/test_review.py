"""A proposal on its page: what changes is shown, who may not agree cannot, and what was agreed is on record."""

import html
import re
from copy import deepcopy

import pytest

from registry import proposals, versions
from registry.models import Activation, Approval, Proposal
from registry.views import queue
from tests.pages import scene
from tests.pages.reading import actions, hidden, read, words
from tests.registry import builders


@pytest.fixture
def proposed(build):
    """Version 2 of a prompt, proposed by alice for development."""
    build.version("prompt", "system", template=scene.PROMPT_BEFORE)
    return build.propose(build.version("prompt", "system", template=scene.PROMPT_AFTER))


@pytest.fixture
def page(visitor, workspace, people):
    """Return a function: the page of a proposal as somebody sees it."""

    def get(proposal, name):
        return visitor(people[name]).get(f"/w/{workspace.slug}/proposals/{proposal.pk}/")

    return get


@pytest.fixture
def decide(visitor, workspace, people):
    """Return a function that sends the form of a proposal's page."""

    def send(proposal, name, action="verdict", **given):
        given = {"digest": proposal.version.digest, **given}
        return visitor(people[name]).post(f"/w/{workspace.slug}/proposals/{proposal.pk}/{action}/", given)

    return send


def test_the_page_shows_each_changed_word(proposed, page):
    answer = page(proposed, "bob")
    text = words(answer)
    assert "against version 1, the version before" in text
    inserted = "".join(answer.content.decode().split("<ins>")[2:])
    assert inserted.startswith("and the diff ") and "and never rewrite history" in inserted
    assert "needs 1 more approval, by reviewer" in text
    assert hidden(answer, "digest") == proposed.version.digest


def test_a_reviewer_approves_the_bytes_that_the_page_showed(proposed, page, decide, trail):
    answer = decide(proposed, "bob", verdict="approve", comment="Good.")
    assert answer.status_code == 302
    approval = Approval.objects.get(proposal=proposed)
    assert (approval.approver.name, approval.digest, approval.role) == ("Bob", proposed.version.digest, "reviewer")
    proposed.refresh_from_db()
    assert proposed.state == "approved"
    assert trail()[-2:] == ["registry.approval.created", "registry.proposal.approved"]
    text = words(page(proposed, "bob"))
    assert "Nothing is missing." in text and "1 of 1 approval reviewer: Bob" in text
    assert "You have given your verdict" in text


def test_an_author_cannot_approve_their_own_proposal_from_the_page(proposed, page, decide, trail):
    before = words(page(proposed, "alice"))
    assert "You contributed to this, so another person has to approve it." in before
    assert not any("verdict" in action for action in actions(page(proposed, "alice")))
    refused = decide(proposed, "alice", verdict="approve", comment="It is fine.")
    assert refused.status_code == 403
    assert "Not done. You contributed to this version" in words(refused)
    assert "approver_is_contributor" in words(refused)
    assert not Approval.objects.filter(proposal=proposed).exists()
    assert trail() == []
    assert decide(proposed, "bob", verdict="approve").status_code == 302


def test_who_lacks_the_role_sees_why_and_is_refused(proposed, page, decide):
    assert "This needs reviewer; you hold none of them here." in words(page(proposed, "dave"))
    refused = decide(proposed, "dave", verdict="approve")
    assert refused.status_code == 403 and "role_missing" in words(refused)
    assert not Approval.objects.filter(proposal=proposed).exists()


def test_other_bytes_than_those_shown_are_not_approved(proposed, decide):
    refused = decide(proposed, "bob", verdict="approve", digest="sha256:" + "0" * 64)
    assert refused.status_code == 412
    assert "You looked at other bytes than those that are proposed" in words(refused)
    assert not Approval.objects.filter(proposal=proposed).exists()


def test_a_rejection_needs_a_reason_and_keeps_what_was_typed(proposed, decide):
    assert "comment_missing" in words(decide(proposed, "bob", verdict="reject"))
    refused = decide(proposed, "bob", verdict="perhaps", comment="I am of two minds.")
    assert "Choose to approve or to reject" in words(refused) and "I am of two minds." in words(refused)
    assert decide(proposed, "bob", verdict="reject", comment="Too wide.").status_code == 302
    proposed.refresh_from_db()
    assert proposed.state == "rejected"


def test_the_proposer_withdraws_and_nobody_else_does(proposed, page, decide):
    assert decide(proposed, "bob", "withdrawal").status_code == 403
    assert decide(proposed, "alice", "withdrawal").status_code == 302
    proposed.refresh_from_db()
    assert proposed.state == "withdrawn"
    assert "withdrawn" in words(page(proposed, "bob"))
    assert "proposal_not_open" in words(decide(proposed, "bob", verdict="approve"))


def test_an_approval_is_taken_back_by_who_gave_it_alone(proposed, page, decide, visitor, workspace, people):
    decide(proposed, "bob", verdict="approve")
    where = f"/w/{workspace.slug}/approvals/{Approval.objects.get(proposal=proposed).pk}/withdrawal/"
    assert where in actions(page(proposed, "bob")) and where not in actions(page(proposed, "carol"))
    assert "not_yours" in words(visitor(people["carol"]).post(where))
    assert visitor(people["bob"]).post(where).status_code == 302
    assert Approval.objects.get(proposal=proposed).withdrawn_at is not None
    assert "Approved, but something is missing now" in words(page(proposed, "bob"))


def test_only_an_operator_activates_and_only_what_has_its_quorum(build, page, decide):
    proposed = build.propose(build.release())
    assert "quorum_missing" in words(decide(proposed, "olga", "activation"))
    decide(proposed, "bob", verdict="approve")
    assert any("activation" in action for action in actions(page(proposed, "olga")))
    assert not any("activation" in action for action in actions(page(proposed, "bob")))
    assert "role_missing" in words(decide(proposed, "bob", "activation"))
    assert not Activation.objects.filter(proposal=proposed).exists()
    assert decide(proposed, "olga", "activation").status_code == 302
    assert Activation.objects.get(proposal=proposed).state == "requested"


def test_what_is_live_already_is_not_offered_for_activation(build, page):
    shown = page(build.live(build.release()).proposal, "olga")
    assert "It is live in development." in words(shown)
    assert not any("activation" in action for action in actions(shown))


def test_a_release_shows_every_part_that_changes_and_one_approval_counts_for_all(build, page, decide):
    tools = [build.version("tool", name) for name in ("git_log", "git_diff")]
    build.live(build.release([build.version("prompt", "system"), *tools]))
    third = [build.version("prompt", "system", template=each) for each in ("a", "b")][1]
    assert "against version 1, live in development" in words(page(build.propose(third), "bob"))
    changed = build.version("tool", "git_log", timeout_ms=900)
    policy = builders.policy() | {"data": {"denied": ["git_diff"], "held": []}}
    release = build.release(
        [build.version("prompt", "system"), changed, build.version("tool", "git_show")], policy_content=policy
    )
    proposed = build.propose(release)
    text = words(page(proposed, "bob"))
    for row in ("tool git_diff 1 removed", "tool git_log 1 → 2 changed reviewer you", "tool git_show 1 added"):
        assert row in text
    assert "prompt system 1 unchanged nothing Bob reviewer" in text
    assert "/timeout_ms not there 900" in text and "/data/denied/0 not there git_diff" in text
    decide(proposed, "bob", verdict="approve")
    approved = Approval.objects.filter(proposal=proposed).values_list("version__name", flat=True)
    assert set(approved) == {"steward", "git_log", "git_show", "steward-policy"}


def test_a_failed_check_is_shown_with_its_output_and_blocks(build, page, decide):
    content = deepcopy(builders.policy()) | {"tests": {}}
    proposed = build.propose(build.version("policy", "untested", content))
    text = words(page(proposed, "bob"))
    assert "Nobody can approve this as it is." in text and "a policy needs tests" in text
    assert "check_failed" in words(decide(proposed, "bob", verdict="approve"))
    assert decide(proposed, "bob", verdict="reject", comment="Write tests.").status_code == 302


def test_an_identity_that_nobody_claimed_is_named_as_blocking(build, workspace, people, page, now):
    content = builders.PROMPT | {"template": "Mind {{repository}}."}
    version = versions.create(
        workspace, kind="prompt", name="system", content=content, actor=people["alice"], now=now, correlation_id="t",
        provenance={"identities": ["Eve <eve@elsewhere.example>"], "commit": "9fceb02", "repository": "https://git"},
    )  # fmt: skip
    text = words(page(build.propose(version), "bob"))
    assert "eve@elsewhere.example committed, and belongs to no member" in text
    assert "Nobody can approve this as it is." in text and "9fceb02" in text


def test_text_that_nobody_can_see_is_shown_and_markup_is_only_text(build, page):
    version = build.version(
        "prompt", "system", template="Do \u202eevil\u200b. <script>alert(1)</script> {{repository}}"
    )
    answer = page(build.propose(version), "bob")
    assert "U+202E" in words(answer) and "U+200B" in words(answer)
    assert "<script>alert(1)</script>" in words(answer)
    scripts = [attrs.get("src") for tag, attrs in read(answer).tags if tag == "script"]
    assert scripts == ["/static/placet.js", "/static/vendor/htmx-2.0.11.min.js"]


def test_the_queue_sorts_by_who_is_waited_for(build, visitor, workspace, people):
    build.propose(build.version("prompt", "system"))
    where = f"/w/{workspace.slug}/proposals/"
    assert "Waits for you 1" in words(visitor(people["bob"]).get(where))
    assert "Yours 1" in words(visitor(people["alice"]).get(where))
    idle = words(visitor(people["dave"]).get(where))
    assert "Nothing waits for you." in idle and "Waits for others 1" in idle and "0 of 1: reviewer" in idle
    assert "Review 1 waiting for you" in words(visitor(people["bob"]).get(where)) and "Review 1" not in idle
    assert "No proposal has ended yet." in words(visitor(people["bob"]).get(f"{where}?state=ended"))


def test_a_long_queue_is_read_page_by_page_and_every_proposal_stands_on_one(
    build, visitor, workspace, people, monkeypatch
):
    monkeypatch.setattr(queue, "PAGE", 1)
    opened = [build.propose(build.version("prompt", f"p{number}")) for number in range(5)]
    bob, where = visitor(people["bob"]), f"/w/{workspace.slug}/proposals/"
    assert "Waits for you 5" in words(bob.get(where))
    assert _walk(bob, where, {str(row.pk) for row in opened}) == [str(row.pk) for row in opened]
    for row in opened:
        proposals.withdraw(row, actor=people["alice"], **build.how)
    ended = _walk(bob, f"{where}?state=ended", {str(row.pk) for row in opened})
    assert ended == [str(row.pk) for row in reversed(opened)]


def _walk(client, where, those):
    """Return the proposals of `those` on a page and on all that come after it, in their order."""
    seen, base = [], where.partition("?")[0]
    while where:
        page = client.get(where).content.decode()
        seen += [pk for pk in re.findall(r'/proposals/([0-9a-f-]{36})/"', page) if pk in those]
        more = re.search(r'href="([^"]+)" rel="next"', page)
        where = base + html.unescape(more[1]) if more else ""
    return seen


def test_a_version_is_proposed_from_its_own_page(build, visitor, workspace, people):
    version = build.version("prompt", "system")
    where = f"/w/{workspace.slug}/artifacts/prompt/system/1/"
    given = {"environment": "staging", "reason": "It is shorter.", "digest": version.digest}
    refused = visitor(people["bob"]).post(f"{where}proposals/", given)
    assert refused.status_code == 403 and "role_missing" in words(refused)
    assert not Proposal.objects.filter(version=version).exists()
    opened = visitor(people["alice"]).post(f"{where}proposals/", given)
    proposal = Proposal.objects.get(version=version)
    assert opened.headers["Location"] == f"/w/{workspace.slug}/proposals/{proposal.pk}/"
    assert (proposal.environment.name, proposal.reason) == ("staging", "It is shorter.")
