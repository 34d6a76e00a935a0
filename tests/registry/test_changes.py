"""What differs between two contents, in few words."""

from registry.manifests import changes


def told(before, after):
    return [(one.how, one.path, one.added, one.removed) for one in changes.between(before, after)[0]]


def test_members_are_named_by_pointer_and_texts_by_lines():
    before = {"a": 1, "b": {"x": "one\ntwo\n", "y/z": True}, "gone": [1]}
    after = {"a": 1, "b": {"x": "one\n2\nthree\n", "y/z": 1}, "new": "x\ny"}
    assert told(before, after) == [
        ("changed", "/b/x", 2, 1),
        ("changed", "/b/y~1z", 0, 0),  # true is not 1
        ("removed", "/gone", 0, 0),
        ("added", "/new", 2, 0),
    ]
    assert told(after, after) == []


def test_pins_are_compared_by_name_not_by_place():
    pins = [{"kind": "tool", "name": "a", "digest": "1"}, {"kind": "tool", "name": "b", "digest": "2"}]
    assert told({"pins": pins}, {"pins": pins[::-1]}) == []
    moved = [pins[0] | {"digest": "9"}, {"kind": "prompt", "name": "c", "digest": "3"}]
    assert told({"pins": pins}, {"pins": moved}) == [
        ("changed", "/pins/tool~1a", 0, 0),
        ("removed", "/pins/tool~1b", 0, 0),
        ("added", "/pins/prompt~1c", 0, 0),
    ]


def test_the_work_and_the_answer_are_bounded():
    many = {str(number): number for number in range(changes.MOST + 50)}
    found, more = changes.between({}, many)
    assert (len(found), more) == (changes.MOST, 50)
    long = "\n".join("ab"[number % 2] for number in range(changes.MOST_LINES + 1))
    assert told({"x": long}, {"x": long + "\nend"}) == [("changed", "/x", 0, 0)]
