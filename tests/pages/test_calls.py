"""Calls on their pages: the verdict, the policies' words, what came of it, and where it stands in the trail."""

import re

import pytest

from audit import records
from gateway.models import Call
from tests.pages import scene
from tests.pages.reading import actions, read, words


@pytest.fixture
def page(visitor, steward, there):
    return lambda call, name="bob": visitor(steward.people[name]).get(there(f"calls/{call}/"))


def test_a_finished_call_shows_its_arguments_its_result_and_its_records(steward, page):
    outcome = steward.call(steward.agent(), "git_log", arguments={"count": 3})
    answer = page(outcome.call)
    text = words(answer)
    assert "Allowed" in text and "Executed" in text and "labelled the session untrusted" in text
    assert "/count 3" in text and "ca82a6d Merge branch" in text
    assert "Floor, baseline and release policy allowed it, without a remark." in text
    rows = records.find(steward.workspace.pk, [_row(outcome).decided_record, _row(outcome).outcome_record])
    assert [row.event for row in rows] == ["gateway.call.decided", "gateway.call.completed"]
    for row in rows:
        assert row.leaf_hash.hex() in answer.content.decode()


def test_a_denied_call_says_which_rule_denied_it_and_that_nothing_ran(steward, page):
    agent = steward.agent()
    steward.call(agent, "git_log", arguments={"count": 3})
    ran = len(scene.EFFECTS)
    outcome = steward.call(agent, "git_reset", arguments={"commit": "HEAD~3"})
    text = words(page(outcome.call))
    assert outcome.status == "denied" and len(scene.EFFECTS) == ran
    assert "Denied" in text and "Executed" not in text
    assert "a high-risk effect is out of its reach." in text
    assert "untrusted_high_risk · the floor, which no workspace can switch off" in text
    assert "/commit Where the branch shall stand. HEAD~3" in text


def test_a_call_refused_before_any_policy_saw_it_is_shown_too(steward, page):
    outcome = steward.call(steward.agent(), "git_log", arguments={"count": "many"})
    text = words(page(outcome.call))
    assert "arguments_invalid" in text and "the gateway itself" in text


def test_an_unknown_outcome_is_settled_by_who_may_and_recorded(steward, page, visitor, there):
    outcome = steward.call(steward.agent(), "deploy", arguments={"to": "staging"})
    assert outcome.status == "unknown"
    assert "Nobody can tell whether it was executed" in words(page(outcome.call))
    where = there(f"calls/{outcome.call}/settlement/")
    assert where in actions(page(outcome.call, "olga")) and where not in actions(page(outcome.call, "dave"))
    refused = visitor(steward.people["dave"]).post(where, {"outcome": "happened"})
    assert refused.status_code == 403 and _row(outcome).state == "unknown"
    assert "outcome_invalid" in words(visitor(steward.people["olga"]).post(where, {"outcome": "perhaps"}))
    assert visitor(steward.people["olga"]).post(where, {"outcome": "did_not_happen"}).status_code == 302
    assert (_row(outcome).state, _row(outcome).code) == ("failed", "settled_did_not_happen")
    assert "call_not_unknown" in words(visitor(steward.people["olga"]).post(where, {"outcome": "happened"}))


def test_filters_stand_in_the_address_and_narrow_the_list(steward, visitor, there):
    agent = steward.agent()
    done = steward.call(agent, "git_log", arguments={"count": 2})
    denied = steward.call(agent, "git_log", arguments={"count": "many"})
    bob = visitor(steward.people["bob"])

    def listed(query):
        page = read(bob.get(there(f"calls/?{query}")))
        return {attrs["href"].split("/")[-2] for tag, attrs in page.tags if tag == "a" and "/calls/" in attrs["href"]}

    session = _row(done).session_id
    assert {str(done.call), str(denied.call)} <= listed("name=git_log")
    assert str(denied.call) in listed("code=arguments_invalid") and str(done.call) not in listed("state=denied")
    assert listed(f"session={session}&state=completed") & {str(done.call)}
    assert str(done.call) not in listed("until=2020-01-01T00:00")
    assert str(done.call) in listed("since=2020-01-01T00:00&state=completed&name=git_log")
    assert bob.get(there("calls/?since=nonsense&session=x&before=y&state=z")).status_code == 200
    assert "No call fits these filters." in words(bob.get(there("calls/?agent=nobody")))


def test_pages_of_the_list_lose_no_call(steward, visitor, there, monkeypatch):
    from gateway.views import calls

    agent = steward.agent()
    mine = [str(steward.call(agent, "git_log", arguments={"count": n}).call) for n in range(4)]
    monkeypatch.setattr(calls, "PAGE", 3)
    session = Call.objects.get(pk=mine[0]).session_id
    bob, where, seen = visitor(steward.people["bob"]), there(f"calls/?session={session}"), []
    for _ in range(3):
        html = bob.get(where).content.decode()
        seen += [pk for pk in re.findall(r"/calls/([0-9a-f-]{36})/", html) if pk not in seen]
        older = re.search(r'href="(\?[^"]+)" rel="next"', html)
        if older is None:
            break
        where = there("calls/") + older.group(1).replace("&amp;", "&")
    assert sorted(seen) == sorted(mine)


def _row(outcome):
    return Call.objects.get(pk=outcome.call)
