"""One value has one form, equal to RFC 8785; what comes from outside is parsed with bounded work or refused."""

import enum
import json
from datetime import UTC, datetime
from uuid import uuid4

import pytest
import rfc8785
from hypothesis import given, settings
from hypothesis import strategies as st

from audit import canonical
from audit.refusal import Refusal

LARGEST = canonical.LARGEST_INTEGER
# Where one writer of floats takes to exponents and the other does not yet.
DECIMALS = st.builds(lambda digits, place: digits / 10**place, st.integers(-(10**17), 10**17), st.integers(0, 22))
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-LARGEST, LARGEST)
    | (st.floats(allow_nan=False, allow_infinity=False) | DECIMALS).filter(lambda one: not LARGEST < abs(one) < 1e21)
    | st.text(st.characters(exclude_categories=["Cs"]))
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner) | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), inner),
    max_leaves=20,
)


@settings(max_examples=400, deadline=None)
@given(VALUES)
def test_the_form_is_that_of_rfc_8785_and_comes_back_as_the_same_value(value):
    form = canonical.dumps(value)
    assert form == rfc8785.dumps(value)
    assert canonical.dumps(json.loads(form)) == form


def test_the_published_example_has_its_published_form():
    """RFC 8785 sections 3.2.2 and 3.2.3."""
    value = {
        "numbers": [333333333.33333329, 1e30, 4.50, 2e-3, 0.000000000000000000000000001],
        "string": "\u20ac$\u000f\u000aA'\u0042\u0022\u005c\\\"\u002f",
        "literals": [None, True, False],
    }
    assert canonical.dumps(value).decode() == (
        '{"literals":[null,true,false],"numbers":[333333333.3333333,1e+30,4.5,0.002,1e-27],'
        '"string":"€$\\u000f\\nA\'B\\"\\\\\\\\\\"/"}'
    )
    keys = {"\u20ac": 1, "\r": 2, "\ufb33": 3, "1": 4, "\U0001f600": 5, "\u0080": 6, "\u00f6": 7}
    assert [json.loads(canonical.dumps(keys))[key] for key in json.loads(canonical.dumps(keys))] == [
        2,
        4,
        6,
        7,
        1,
        5,
        3,
    ]


@pytest.mark.parametrize(
    "value",
    [
        float("nan"),
        float("inf"),
        2.0**53,
        -1e20,
        2**53,
        -(2**53),
        "\ud800",
        {"\udfff": 1},
        {1: 2},
        {"a": object()},
        {1, 2},
        b"x",
    ],
)
def test_what_has_no_canonical_form_is_refused(value):
    for wrapped in (value, [value], {"a": {"b": value}}):
        with pytest.raises(canonical.NotCanonical):
            canonical.dumps(wrapped)


class Word(enum.StrEnum):
    """What Django's choices are: a string that is one of a few."""

    OPEN = "open"


class Number(enum.Enum):
    """No JSON, though orjson would write it."""

    ONE = 1


def test_a_word_of_an_enumeration_is_its_text_as_value_and_as_key():
    assert canonical.dumps({Word.OPEN: [Word.OPEN]}) == rfc8785.dumps({Word.OPEN: [Word.OPEN]}) == b'{"open":["open"]}'


@pytest.mark.parametrize("value", [uuid4(), Number.ONE, datetime.now(UTC), -0.0 * float("inf"), 10**30, {None: 1}])
def test_what_the_fast_writer_would_take_is_refused_all_the_same(value):
    for wrapped in (value, (value,), {"a": [1, "😀", value]}):
        with pytest.raises(canonical.NotCanonical):
            canonical.dumps(wrapped)


def test_a_value_that_contains_itself_is_refused():
    ring: list = []
    ring.append(ring)
    with pytest.raises(canonical.NotCanonical):
        canonical.dumps({"a": ring})


def test_keys_beyond_the_basic_plane_stand_where_utf_16_puts_them():
    value = {"\uff5e": 1, "\U0001f600": 2, "a": [{"\U00010000": "", "\ue000": ""}]}
    assert canonical.dumps(value) == rfc8785.dumps(value)
    assert list(json.loads(canonical.dumps(value))) == ["a", "\U0001f600", "\uff5e"]


def nested(depth):
    return b"[" * depth + b"]" * depth


@pytest.mark.parametrize(
    ("raw", "code"),
    [
        (b'{"a":1,"a":1}', "json_duplicate_key"),
        (b'[{"x":{"a":1,"b":2,"a":3}}]', "json_duplicate_key"),
        (b'{"a":1,"\\u0061":2}', "json_duplicate_key"),
        (b"[NaN]", "json_number"),
        (b"[Infinity]", "json_number"),
        (b"[-Infinity]", "json_number"),
        (b"[1e999]", "json_number"),
        (b"[1e20]", "json_number"),
        (b"[9007199254740992.0]", "json_number"),
        (b"[9007199254740992]", "json_number"),
        (b"[-9007199254740992]", "json_number"),
        (b"[" + b"9" * 100_000 + b"]", "json_number"),
        (b'["\xff"]', "json_not_utf8"),
        (b'["\xed\xa0\x80"]', "json_not_utf8"),
        (b'["\\ud800"]', "json_surrogate"),
        (b'{"\\udc00":1}', "json_surrogate"),
        (nested(33), "json_too_deep"),
        (b'["\\\\",' + nested(32) + b"]", "json_too_deep"),
        (b'[{"a":1,"b":[{"c":18446744073709551616}]}]', "json_number"),
        (b"[1000000000000000000000]", "json_number"),
        (nested(100), "json_too_deep"),
        (b'{"a":' * 33 + b"1" + b"}" * 33, "json_too_deep"),
        (b"[" * 500_000, "json_too_deep"),
        (b'"' + b"x" * 1_048_576 + b'"', "body_too_large"),
        (b"", "json_malformed"),
        (b"{", "json_malformed"),
        (b'{"a":1}}', "json_malformed"),
        (b"{'a':1}", "json_malformed"),
        (b'"\x01"', "json_malformed"),
        (b"\xef\xbb\xbf{}", "json_malformed"),
    ],
    ids=lambda value: repr(value)[:30],
)
def test_hostile_json_is_refused_with_its_own_code(raw, code):
    with pytest.raises(Refusal) as refused:
        canonical.loads(raw, field="arguments")
    assert (refused.value.code, refused.value.field) == (code, "arguments")


def said(read, *given):
    """Return what comes of reading: the value, with its types, or the code of the refusal."""
    try:
        return repr(read(*given))
    except Refusal as refusal:
        return refusal.code


PIECES = st.sampled_from(
    [
        *'"\\{}[]:,-0e.+ \n\x00😀\x7f\ufeff',
        *('"a":1,', '"a"', "\\u00e9", "\\ud800", '\\"', "\\\\"),
        *("9" * 17, "9" * 25, "-0", "0.0", "1e400", "1e30", "NaN", "null"),
    ]
)


@settings(max_examples=600, deadline=None)
@given(
    VALUES | st.lists(PIECES).map("".join), st.booleans(), st.lists(st.tuples(st.integers(0, 400), PIECES), max_size=4)
)
def test_what_is_read_fast_is_what_careful_reading_says(value, ascii_only, changes):
    text = value if isinstance(value, str) and changes else json.dumps(value, ensure_ascii=ascii_only)
    for place, piece in changes:
        text = text[:place] + piece + text[place:]
    raw = text.encode("utf-8", "surrogatepass")
    assert said(canonical.loads, raw) == said(canonical._read_slowly, raw, "body") or canonical_depth(text) > 32


def canonical_depth(text):
    """Return how deep the brackets outside strings nest."""
    depth = deepest = 0
    inside = escaped = False
    for sign in text:
        if inside:
            inside, escaped = escaped or sign != '"', not escaped and sign == "\\"
        elif sign == '"':
            inside = True
        else:
            depth += (sign in "[{") - (sign in "]}")
            deepest = max(deepest, depth)
    return deepest


@settings(max_examples=300, deadline=None)
@given(st.lists(st.sampled_from([*'[]{}"\\a:,'])).map("".join))
def test_depth_is_counted_outside_strings_alone(text):
    # A backslash outside a string ends a JSON text: what follows it counts no more.
    quoted = json.dumps({"a": text, text: [text]})
    assert canonical._depth(canonical._outside_strings(quoted.encode())) == canonical_depth(quoted) == 2
    plain = text.replace("\\", "")
    assert canonical._depth(canonical._outside_strings(plain.encode())) == canonical_depth(plain)


def test_what_is_fine_is_taken_as_it_is():
    assert canonical.loads(nested(32)) == json.loads(nested(32))
    text = '{"a":"[[[[{{{{ \\" ]]","b":["\\ud83d\\ude00", -9007199254740991, 0.5, 1e3]}'
    assert canonical.loads(text.encode()) == json.loads(text)
    deep = {"a": "[" * 1000}
    assert canonical.loads(json.dumps(deep).encode()) == deep


@settings(max_examples=200, deadline=None)
@given(VALUES)
def test_every_canonical_form_of_moderate_depth_is_read_back(value):
    assert canonical.loads(canonical.dumps([value]), max_depth=100) == [value]


def test_a_digest_depends_on_every_member_and_not_on_their_order():
    assert canonical.sha256({"a": 1, "b": 2}) == canonical.sha256({"b": 2, "a": 1})
    assert canonical.sha256({"a": 1, "b": 2}) != canonical.sha256({"a": 1, "b": 3})
    assert canonical.sha256({}) == "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"
