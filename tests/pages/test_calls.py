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
    assert "Floor, baseline and release policy allow it" in text and "Executed once in" in text
    assert "It labelled the session untrusted." in text
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
    assert "Ended here: untrusted_high_risk." in text and "Executed" not in text
    assert text.count("Not reached.") == 4  # obligations, execution, its result, its record
    # The rule itself, and what the release pins with who approved it.
    assert "The rule, in policy.rego from line" in text and "not bounded_risk" in text
    assert "system 1 prompt" in text and "Bob reviewer" in text and "floor policy" in text
    assert "a high-risk effect is out of its reach." in text
    assert "untrusted_high_risk · the floor, which no workspace can switch off" in text
    assert "/commit Where the branch shall stand. HEAD~3" in text


def test_a_call_refused_before_any_policy_saw_it_is_shown_too(steward, page):
    outcome = steward.call(steward.agent(), "git_log", arguments={"count": "many"})
    text = words(page(outcome.call))
    assert "arguments_invalid" in text and "the gateway itself" in text
    assert "Check the arguments Ended here: arguments_invalid." in text


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


@pytest.fixture
def reveal(visitor, steward, there):
    def ask(call, name, reason):
        return visitor(steward.people[name]).post(there(f"calls/{call}/disclosure/"), {"reason": reason})

    return ask


def test_what_a_policy_took_out_is_revealed_for_a_reason_that_is_on_record(steward, page, reveal):
    call = steward.parked()[0].call_id
    secret = "AKIAIOSFODNN7EXAMPLQ"
    sealed = page(call, "dave")
    assert secret not in sealed.content.decode() and "Reveal, on record" in words(sealed)
    assert "Reveal, on record" not in words(page(call, "bob"))
    mark = records.newest(steward.workspace.pk, limit=1)[0].id
    for refused, code in (
        (reveal(call, "bob", "Curious."), "role_missing"),
        (reveal(call, "dave", " "), "reason_missing"),
    ):
        assert code in words(refused) and secret not in refused.content.decode()
    assert records.newest(steward.workspace.pk, limit=1)[0].id == mark
    shown = reveal(call, "dave", "The customer asked what was sent.")
    assert secret in shown.content.decode() and "You see sealed values." in words(shown)
    row = records.newest(steward.workspace.pk, limit=1)[0]
    assert (row.event, row.actor) == ("gateway.value.revealed", steward.people["dave"].actor)
    assert row.body["subjects"]["call"] == str(call) and "customer" not in row.text
    assert secret not in page(call, "dave").content.decode()


def test_personal_data_in_arguments_is_sealed_to_who_looks_back(steward, page, reveal):
    outcome = steward.call(steward.agent(), "deploy", arguments={"to": "write to dora@customer.example"})
    assert "dora@customer.example" not in page(outcome.call, "bob").content.decode()
    assert "⟨sealed: pii.email⟩" in words(page(outcome.call, "bob"))
    assert "dora@customer.example" in reveal(outcome.call, "carol", "Incident 7.").content.decode()


def test_each_record_of_a_call_comes_with_its_receipt_and_a_way_to_verify_it(steward, page):
    from audit import receipts

    outcome = steward.call(steward.agent(), "git_log", arguments={"count": 3})
    html = page(outcome.call, "dave").content.decode()
    for record in (_row(outcome).decided_record, _row(outcome).outcome_record):
        assert receipts.reissue(record) in html and f"{record}/?verify=here#verification" in html


def test_reason_codes_are_explained_with_the_policies_that_give_them(steward, visitor, there):
    text = words(visitor(steward.people["bob"]).get(there("calls/reasons/")))
    assert (
        "untrusted_high_risk The session has read untrusted content: a high-risk effect is out of its reach. the floor"
        in text
    )
    assert "untrusted_session" in text and "baseline 1" in text
    assert "rate_limited The tool's rate is used up for now. the same key may be sent again" in text
