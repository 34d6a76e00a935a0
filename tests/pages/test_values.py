"""Arguments as rows: nothing is left out, and a secret is shown to nobody who does not have to see it."""

from hypothesis import given
from hypothesis import strategies as st

from gateway.views import values

SECRET = {"kind": "secret.aws_access_key", "path": "/token", "severity": "high"}
scalars = st.none() | st.booleans() | st.integers(-3, 3) | st.text(alphabet="a/~é", max_size=3)
objects = st.dictionaries(
    st.text(alphabet="a/~0", max_size=3),
    st.recursive(
        scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.just("b"), inner), max_leaves=6
    ),
    max_size=4,
)


@given(objects)
def test_every_leaf_has_a_row_under_its_own_pointer(arguments):
    rows = values.leaves(arguments, mask=False)
    assert [(row.pointer, row.value) for row in rows] == list(values.flat(arguments))
    assert len({row.pointer for row in rows}) == len(rows)
    assert (rows == []) == (arguments == {})


def test_who_looks_back_does_not_see_a_secret_and_who_approves_sees_what_runs():
    back, now = (values.leaves({"token": "AKIA", "n": 1}, findings=[SECRET], mask=mask) for mask in (True, False))
    assert [row.masked for row in back] == [True, False]
    assert [row.masked for row in now] == [False, False]


def test_what_a_policy_redacted_is_not_shown_and_what_it_capped_is():
    executed, received = {"token": "⟨redacted⟩", "n": 10}, {"token": "AKIA", "n": 500, "more": "gone"}
    token, number, gone = values.leaves(executed, received=received, findings=[SECRET], mask=False)
    assert (token.changed, token.was) == (True, ())
    assert (number.changed, number.was) == (True, (500,))
    assert (gone.value, gone.was) == (values.TAKEN_OUT, ("gone",))


def test_rows_carry_what_the_contract_says_and_where_data_goes():
    schema = {
        "properties": {"to": {"type": "array", "items": {"description": "An address."}}, "s": {"description": "S."}}
    }
    contract = {"input_schema": schema, "destinations": ["/to"]}
    rows = values.leaves({"to": ["a@b.example"], "s": "x", "z": 1}, contract=contract, mask=True)
    assert [(row.pointer, row.meaning, row.destination) for row in rows] == [
        ("/to/0", "An address.", True),
        ("/s", "S.", False),
        ("/z", "", False),
    ]


def test_a_finding_that_fits_no_argument_is_shown_all_the_same():
    rows = values.leaves({"a": 1}, findings=[SECRET | {"path": ""}], mask=False)
    assert rows[-1].findings[0]["kind"] == "secret.aws_access_key"
