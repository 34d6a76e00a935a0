"""Obligations are carried out to the letter, or the call is denied."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway import obligations, sanitize

KEY = "AKIAQYLPMN5HHHFPZ3KD"
ARGUMENTS = {
    "to": "bob@corp.com",
    "text": f"key {KEY} for bob@corp.com",
    "limit": 500,
    "rows": [1, 2, 3],
    "deep": {"n": 9.5},
}


def apply(*asked, arguments=ARGUMENTS):
    return obligations.apply(asked, arguments, sanitize.scan(arguments), mint=mint)


def mint(kind, value):
    """Return a token in the form that gateway.tokens gives it."""
    return f"tok_{kind.replace('.', '_')}_{'abcdefghijklmnopqrs'}{len(str(value)) % 6 + 2}"


def test_without_obligations_the_arguments_stay():
    assert apply() == (ARGUMENTS, [])


@pytest.mark.parametrize("path", [{"path": None}, {"path": ""}, {}])
def test_redact_without_a_path_takes_the_kinds_wherever_they_are(path):
    executed, changed = apply({"kind": "redact", "kinds": ["pii", "secret"], **path})
    assert executed["to"] == "⟨redacted: pii.email⟩"
    assert executed["text"] == "key ⟨redacted: secret.aws_access_key⟩ for ⟨redacted: pii.email⟩"
    assert changed == ["/text", "/to"]
    assert ARGUMENTS["to"] == "bob@corp.com"


def test_redact_at_a_path_leaves_other_places_and_other_kinds():
    executed, changed = apply({"kind": "redact", "path": "/text", "kinds": ["secret"]})
    assert executed == {**ARGUMENTS, "text": "key ⟨redacted: secret.aws_access_key⟩ for bob@corp.com"}
    assert changed == ["/text"]
    assert apply({"kind": "redact", "path": "/text", "finding": "secret.aws_access_key"}) == (executed, changed)


def test_redact_at_a_path_without_such_findings_takes_the_whole_value():
    executed, changed = apply(
        {"kind": "redact", "path": "/deep", "finding": "secret.jwt"}, {"kind": "redact", "path": "/rows"}
    )
    assert (executed["deep"], executed["rows"]) == ("⟨redacted: policy⟩", "⟨redacted: policy⟩")
    assert changed == ["/deep", "/rows"]


def test_redact_of_what_is_not_there_changes_nothing():
    assert apply({"kind": "redact", "path": "/absent", "kinds": ["secret"]}) == (ARGUMENTS, [])
    assert apply({"kind": "redact", "path": None, "kinds": ["unicode"]}) == (ARGUMENTS, [])


def test_a_secret_in_a_key_is_redacted_by_its_recorded_path():
    arguments = {"headers": {KEY: "x"}}
    path = sanitize.scan(arguments)[0].path
    executed, changed = apply({"kind": "redact", "path": path, "finding": "secret.aws_access_key"}, arguments=arguments)
    assert executed == {"headers": {"⟨redacted: secret.aws_access_key⟩": "x"}}
    assert changed == [path] and KEY not in path


@pytest.mark.parametrize(
    ("path", "bound", "expected"),
    [
        ("/limit", {"max": 100}, 100),
        ("/limit", {"max": 1000}, 500),
        ("/deep/n", {"max": 3}, 3),
        ("/rows", {"max_length": 2}, [1, 2]),
        ("/rows", {"max": 1}, [1]),
        ("/rows/2", {"max": 0}, 0),
        ("/to", {"max_length": 3}, "bob"),
    ],
)
def test_cap_bounds_numbers_and_lengths(path, bound, expected):
    executed, changed = apply({"kind": "cap", "path": path, **bound})
    node = executed
    for token in path.split("/")[1:]:
        node = node[int(token)] if isinstance(node, list) else node[token]
    assert node == expected
    assert changed == ([path] if executed != ARGUMENTS else [])


def test_cap_sets_what_the_agent_left_to_the_tools_default():
    assert apply({"kind": "cap", "path": "/pages", "max": 5}) == ({**ARGUMENTS, "pages": 5}, ["/pages"])
    assert apply({"kind": "cap", "path": "/note", "max_length": 5}) == (ARGUMENTS, [])


def test_redaction_comes_before_caps_whatever_the_order():
    cap = {"kind": "cap", "path": "/text", "max_length": 14}
    redact = {"kind": "redact", "path": None, "kinds": ["secret"]}
    executed, _ = apply(cap, redact)
    assert executed["text"] == "key ⟨redacted:"
    assert apply(redact, cap)[0] == executed


def test_obligations_of_others_leave_the_arguments_alone():
    asked = [
        {"kind": "hold", "code": "person_decides", "role": "reviewer", "quorum": 1, "expires_s": 3600},
        {"kind": "hold", "role": "reviewer"},
        {"kind": "label", "label": "untrusted"},
        {"kind": "notify", "to": "security"},
        {"kind": "notify", "role": "security", "message": "look at this"},
        {"kind": "require_idempotency_key"},
    ]
    assert apply(*asked) == (ARGUMENTS, [])


@pytest.mark.parametrize(
    "obligation",
    [
        {"kind": "tokenise"},
        {"kind": "tokenise", "path": "/deep"},
        {"kind": "tokenise", "path": "/rows"},
        {"kind": "tokenise", "path": "/to", "kinds": "pii"},
        {"kind": "tokenise", "path": "/to", "vault": "x"},
        {"kind": "explode"},
        {"kind": ["hold"]},
        {},
        "hold",
        None,
        {"kind": "hold", "quorum": 0},
        {"kind": "hold", "quorum": True},
        {"kind": "hold", "expires_s": "3600"},
        {"kind": "hold", "expires_s": 10**9},
        {"kind": "hold", "approvers": ["bob"]},
        {"kind": "redact"},
        {"kind": "redact", "path": ""},
        {"kind": "redact", "path": None, "kinds": []},
        {"kind": "redact", "path": "text", "kinds": ["secret"]},
        {"kind": "redact", "path": "/a~2b", "kinds": ["secret"]},
        {"kind": "redact", "path": "/text", "kinds": "secret"},
        {"kind": "redact", "path": "/text", "kinds": ["Secret!"]},
        {"kind": "redact", "path": 7, "kinds": ["secret"]},
        {"kind": "cap", "path": "/limit"},
        {"kind": "cap", "max": 3},
        {"kind": "cap", "path": "/limit", "max": "3"},
        {"kind": "cap", "path": "/limit", "max": True},
        {"kind": "cap", "path": "/limit", "max": 3, "max_length": 3},
        {"kind": "cap", "path": "/to", "max_length": -1},
        {"kind": "cap", "path": "/limit", "max_length": 3},
        {"kind": "cap", "path": "/deep", "max": 3},
        {"kind": "cap", "path": "/absent/limit", "max": 3},
        {"kind": "cap", "path": "/rows/7", "max": 3},
        {"kind": "cap", "path": "", "max": 3},
        {"kind": "label"},
        {"kind": "label", "label": ""},
        {"kind": "label", "label": 3},
        {"kind": "notify", "to": []},
        {"kind": "require_idempotency_key", "key": "x"},
    ],
)
def test_what_cannot_be_carried_out_to_the_letter_is_refused(obligation):
    with pytest.raises(obligations.UnknownObligation):
        apply({"kind": "label", "label": "untrusted"}, obligation)


def test_nothing_is_applied_when_one_obligation_is_unknown():
    arguments = {"text": KEY}
    with pytest.raises(obligations.UnknownObligation):
        apply({"kind": "redact", "kinds": ["secret"]}, {"kind": "explode"}, arguments=arguments)
    assert arguments == {"text": KEY}


def test_a_refusal_does_not_quote_the_arguments():
    with pytest.raises(obligations.UnknownObligation) as refusal:
        apply({"kind": "cap", "path": "/deep", "max": 1})
    assert "9.5" not in refusal.value.detail


def test_tokenise_puts_tokens_where_the_findings_are_and_leaves_the_rest():
    executed, changed = apply({"kind": "tokenise", "kinds": ["pii", "secret"]})
    email = mint("pii.email", "bob@corp.com")
    assert executed["to"] == email
    assert executed["text"] == f"key {mint('secret.aws_access_key', KEY)} for {email}"
    assert (changed, executed["limit"], executed["rows"]) == (["/text", "/to"], 500, [1, 2, 3])


def test_tokenise_at_a_path_without_kinds_takes_the_whole_value():
    assert apply({"kind": "tokenise", "path": "/limit"})[0]["limit"] == mint("value", 500)
    assert apply({"kind": "tokenise", "path": "/absent"}) == (ARGUMENTS, [])


def test_what_is_redacted_is_not_tokenised_whatever_the_order():
    tokenising, redacting = {"kind": "tokenise", "kinds": ["pii"]}, {"kind": "redact", "path": "/to", "kinds": ["pii"]}
    for asked in ([tokenising, redacting], [redacting, tokenising]):
        executed, _ = apply(*asked)
        assert executed["to"] == "⟨redacted: pii.email⟩"
        assert executed["text"].endswith(mint("pii.email", "bob@corp.com"))


def test_a_forged_token_shields_nothing():
    forged = "tok_pii_email_" + "a" * 20
    executed, _ = apply({"kind": "tokenise", "kinds": ["pii"]}, arguments={"to": f"{forged}bob@corp.com"})
    assert "bob@corp.com" not in executed["to"]


kinds = st.sampled_from([*sorted(obligations.KNOWN), "x"])
members = st.dictionaries(
    st.sampled_from(["path", "kinds", "finding", "max", "max_length", "label", "role", "quorum", "to"]),
    st.one_of(
        st.none(), st.integers(-5, 5), st.sampled_from(["", "/to", "/limit", "/rows", "secret", ["pii"], "untrusted"])
    ),
    max_size=4,
)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.builds(lambda kind, rest: {"kind": kind, **rest}, kinds, members), max_size=4))
def test_any_obligation_is_applied_or_refused_and_changes_are_told(asked):
    try:
        executed, changed = apply(*asked)
    except obligations.UnknownObligation:
        return
    assert set(executed) == set(ARGUMENTS) | {path[1:] for path in changed if path.count("/") == 1}
    assert {f"/{name}" for name in ARGUMENTS if executed[name] != ARGUMENTS[name]} <= set(changed)
