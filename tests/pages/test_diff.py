"""Differences are complete: what they show, put together, is exactly what was and what is."""

import json

from hypothesis import given
from hypothesis import strategies as st

from registry.views import diff, source

texts = st.text(alphabet="ab .\n\u202eé", max_size=60)
values = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 3) | st.sampled_from(["a", "b", "a b"]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(["a", "b", "c/d"]), inner, max_size=3),
    max_leaves=12,
)


@given(texts, texts)
def test_words_contain_all_of_both_texts(before, after):
    pieces = diff.words(before, after)
    assert "".join(piece.text for piece in pieces if piece.op != "added") == before
    assert "".join(piece.text for piece in pieces if piece.op != "removed") == after


@given(texts, texts)
def test_lines_contain_all_of_both_texts_and_folds_lose_none(before, after):
    rows = diff.lines(before, after)
    assert [row.text for row in rows if row.op != "added"] == diff._lines(before)
    assert [row.text for row in rows if row.op != "removed"] == diff._lines(after)
    folded = [row for _, fold in diff.folded(rows) for row in fold]
    assert folded == rows
    assert all(row.op == "equal" for shown, fold in diff.folded(rows) if not shown for row in fold)


@given(values, values)
def test_members_are_empty_only_for_equal_values(before, after):
    changes = diff.members(before, after)
    assert (changes == []) == (json.dumps(before, sort_keys=True) == json.dumps(after, sort_keys=True))


def test_a_changed_member_is_named_by_its_pointer_and_list_elements_are_matched():
    before = {"paths": ["a", "b", "c"], "rate": {"calls/s": 5}, "on": True}
    after = {"paths": ["a", "c"], "rate": {"calls/s": 6}, "on": 1}
    assert [(change.pointer, change.op) for change in diff.members(before, after)] == [
        ("/on", "changed"),
        ("/paths/1", "removed"),
        ("/rate/calls~1s", "changed"),
    ]


def test_what_would_take_long_is_shown_as_replaced_whole():
    before, after = "x\n" * 3000 + "a\n", "x\n" * 2999 + "b\n" + "x\n" * 2999
    rows = diff.lines("first\n" + before, "first\n" + after + "last\n")
    assert rows[0].op == "equal"
    assert [row.text for row in rows if row.op != "removed"] == diff._lines("first\n" + after + "last\n")


def test_a_missing_line_end_is_a_difference_that_one_sees():
    assert [row.op for row in diff.lines("a\nb\n", "a\nb")] == ["equal", "removed", "added"]


def test_characters_that_nobody_sees_are_made_visible_and_markup_is_escaped():
    assert source.plain("a\u202eb\u200b<i>") == (
        'a<span class="unseen">U+202E</span>b<span class="unseen">U+200B</span>&lt;i&gt;'
    )
    assert source.plain("grün, 日本, 🙂\tx\n") == "grün, 日本, 🙂\tx\n"
    assert "<b>" not in "".join(source.rego("# <b> \u2066\n")) and "U+2066" in "".join(source.rego("# \u2066"))
    assert "<b>" not in source.pretty({"<b>": "<b>"})


@given(texts)
def test_highlighting_keeps_every_line(text):
    assert len(source.rego(text)) == text.count("\n") + (0 if text.endswith("\n") else 1)
