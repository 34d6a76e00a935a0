"""The planner is a function of what has happened: it always ends, and never asks for what was not asked of it."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from agents import plan
from agents.plan import Ask, End, Story, Turn

STORY = Story(model="m", goal="Do it.", system="You do things.", prompt="p")


def model(story, message=None, calls=()):
    """Return the turn of a model's answer."""
    return Turn("model", "m", plan.answer(story, {"message": message, "tool_calls": list(calls)}))


def tool(name, value="seen"):
    """Return the turn of a tool's result."""
    return Turn("tool", name, plan.observation("result", value))


def after(*turns, **changes):
    """Return what comes after these turns."""
    return plan.next_of(replace(STORY, turns=turns, **changes))


def test_a_run_begins_with_its_model():
    first = after()
    assert (first.kind, first.name) == ("model", "m")
    assert first.arguments == {
        "messages": [{"role": "system", "content": "You do things."}, {"role": "user", "content": "Do it."}],
        "prompt": "p",
    }


def test_the_calls_of_one_answer_are_made_in_order_and_then_the_model_is_asked_again():
    asked = model(STORY, None, [{"name": "a", "arguments": {}}, {"name": "b", "arguments": {"x": 1}}])
    assert after(asked) == Ask("tool", "a", {})
    assert after(asked, tool("a")) == Ask("tool", "b", {"x": 1})
    again = after(asked, tool("a"), tool("b", {"y": 2}))
    assert [message["role"] for message in again.arguments["messages"]] == [
        "system",
        "user",
        "assistant",
        "tool",
        "tool",
    ]
    assert again.arguments["messages"][-1] == {"role": "tool", "name": "b", "content": '{"y":2}'}


def test_an_answer_without_calls_is_the_last():
    assert after(model(STORY, "done")) == End("succeeded", answer="done")


def test_malformed_answers_are_corrected_once_and_then_fail_the_run():
    bad = [
        "text",
        {"message": 3},
        {"tool_calls": "all"},
        {"tool_calls": [{"arguments": {}}]},
        {"tool_calls": [{"name": "a", "arguments": "none"}]},
        {"tool_calls": [{"name": "a\0b", "arguments": {}}]},
        {"tool_calls": [{"name": "a", "arguments": {}}] * (plan.MOST_CALLS + 1)},
    ]
    for content in bad[1:]:
        turn = Turn("model", "m", plan.answer(STORY, content))
        corrected = after(turn)
        assert isinstance(corrected, Ask)
        assert "cannot be used" in corrected.arguments["messages"][-1]["content"]
        assert after(turn, turn) == End("failed", "answer_malformed")


def test_a_long_result_is_cut_and_says_so():
    content = plan.observation("result", "x" * 100_000)["content"]
    assert len(content) < plan.LONGEST_OBSERVATION + 100
    assert content.endswith("[cut here: 68000 more characters]")


def test_the_same_call_with_other_arguments_is_no_repetition():
    turns = []
    for number in range(12):
        turns += [model(STORY, None, [{"name": "a", "arguments": {"n": number}}]), tool("a")]
    assert isinstance(after(*turns), Ask)


def test_looking_again_between_other_calls_is_no_repetition():
    turns = []
    for number in range(12):
        calls = [
            {"name": "status", "arguments": {}},
            *({"name": "a", "arguments": {"n": (number, i)}} for i in range(3)),
        ]
        turns += [model(STORY, None, calls), tool("status"), *(tool("a") for _ in range(3))]
    assert isinstance(after(*turns), Ask)


_CALLS = st.lists(
    st.fixed_dictionaries(
        {
            "name": st.sampled_from(["a", "b", "c"]),
            "arguments": st.dictionaries(st.sampled_from("xy"), st.integers(0, 2)),
        }
    ),
    max_size=3,
)
_ANSWERS = st.lists(st.one_of(_CALLS, st.just("garbage")), min_size=1, max_size=8)


@given(_ANSWERS, st.integers(1, 60))
def test_every_run_ends_and_makes_exactly_the_calls_that_were_asked_for(answers, most_steps):
    story = replace(STORY, most_steps=most_steps)
    wanted, made = [], []
    for number in range(most_steps + 1):
        following = plan.next_of(story)
        assert following == plan.next_of(story)
        if isinstance(following, End):
            break
        if following.kind == "model":
            content = answers[number % len(answers)]
            content = {"message": "hm", "tool_calls": content} if content != "garbage" else "garbage"
            turn = Turn("model", "m", plan.answer(story, content))
            wanted += turn.output["tool_calls"]
        else:
            made.append({"name": following.name, "arguments": following.arguments})
            turn = tool(following.name)
        story = replace(story, turns=(*story.turns, turn))
    else:
        raise AssertionError("a run without an end")
    assert made == wanted[: len(made)]
    assert following.state == "succeeded" or following.code in (
        "budget_steps_exceeded", "repetition", "cycle", "answer_malformed",
    )  # fmt: skip
