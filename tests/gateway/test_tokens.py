"""Tokens go out, values come back: the tool never sees what a person wrote, the agent never sees a token."""

from uuid import uuid4

import pytest

from audit import sealed
from gateway import tokens
from tests.gateway.stage import EFFECTS, effects, fresh, query, release_policy

OBLIGE = """
obligations contains {"kind": "tokenise", "path": null, "kinds": ["pii"]} if input.call.tool.name in {"look", "strict"}
"""


def tokenising():
    """Return the release policy of the stage, which also tokenises personal data on its way to two tools."""
    policy = release_policy()
    name = next(iter(policy["modules"]))
    return policy | {"modules": policy["modules"] | {name: policy["modules"][name] + OBLIGE}}


@pytest.fixture(scope="module")
def _vault(django_db_setup, django_db_blocker):
    from django.test import override_settings

    from tests.gateway import conftest

    with django_db_blocker.unblock(), override_settings(**conftest.PATIENT):
        stage = conftest._stage()
        stage.live(policy=tokenising())
        return stage


@pytest.fixture
def vault(_vault, db, patient):
    return _vault


def address():
    return f"{fresh('bob')}@corp.example.com"


def last():
    return EFFECTS[-1]["value"]


def test_the_tool_sees_a_token_and_the_agent_sees_the_address(vault):
    person = address()
    outcome = vault.call(vault.agent(), "look", f"say:write to {person} today")
    assert outcome.result == {"text": f"write to {person} today"}
    assert effects(f"say:write to {person} today") == []
    assert person not in last() and tokens.TOKEN.search(last())


def test_without_the_obligation_the_same_value_goes_out_as_it_is(vault):
    person = address()
    assert vault.call(vault.agent(), "put", f"say:{person}").result == {"text": person}
    assert len(effects(f"say:{person}")) == 1


def test_the_same_value_is_the_same_token_in_a_session_and_another_one_elsewhere(vault):
    person, one, other = address(), vault.agent(), vault.agent()
    seen = []
    for principal in (one, one, other):
        vault.call(principal, "look", f"{fresh()} {person}")
        seen.append(tokens.TOKEN.search(last())[0])
    assert seen[0] == seen[1] != seen[2]


def test_a_token_that_a_tool_kept_comes_back_as_the_value_in_a_later_call_of_that_session_alone(vault):
    person, one, other = address(), vault.agent(), vault.agent()
    vault.call(one, "look", f"{fresh()} {person}")
    token = tokens.TOKEN.search(last())[0]
    assert vault.call(one, "put", f"say:it was {token}").result == {"text": f"it was {person}"}
    elsewhere = vault.call(other, "put", f"say:it was {token}")
    assert person not in str(elsewhere.result)


def test_a_forged_token_stays_what_it_is(vault):
    forged = "tok_pii_email_" + "a" * 20
    assert vault.call(vault.agent(), "put", f"say:see {forged}.").result == {"text": f"see {forged}."}


def test_once_the_subject_is_erased_the_token_stays_a_token(vault, adam_of):
    person, principal = address(), vault.agent()
    outcome = vault.call(principal, "look", f"{fresh()} {person}")
    token = tokens.TOKEN.search(last())[0]
    session = query("SELECT session_id FROM gateway_call WHERE id = %s", outcome.call)[0][0]
    sealed.erase(vault.workspace.pk, f"session:{session}", actor=adam_of, now=vault.now, correlation_id=str(uuid4()))
    assert person not in str(vault.call(principal, "put", f"say:it was {token}").result)


@pytest.fixture
def adam_of(vault):
    return vault.people["adam"].actor


def test_the_value_lies_sealed_and_nowhere_in_the_clear(vault):
    person = address()
    outcome = vault.call(vault.agent(), "look", f"{fresh()} {person}")
    rows = query("SELECT t::text FROM gateway_token t WHERE call = %s", outcome.call)
    bodies = query("SELECT convert_from(body, 'UTF8') FROM audit_record WHERE workspace = %s", vault.workspace.pk)
    assert len(rows) == 1
    assert not any(person in row[0] for row in [*rows, *bodies])


def test_arguments_that_no_token_fits_are_denied_and_nothing_runs(vault):
    """A count that is a card number cannot become a text: the contract says integer."""
    before = len(EFFECTS)
    outcome = vault.call(vault.agent(), "look", arguments={"value": fresh(), "count": 4111111111111111})
    assert (outcome.status, outcome.code) == ("denied", "arguments_invalid")
    assert len(EFFECTS) == before


def test_a_replay_tells_the_values_too(vault):
    person, principal, key = address(), vault.agent(), fresh("key")
    first = vault.call(principal, "look", f"say:{person}", key=key)
    again = vault.call(principal, "look", f"say:{person}", key=key)
    assert (again.result, again.replayed) == (first.result, True) and first.result == {"text": person}
