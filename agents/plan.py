"""The plan-act-observe loop as a function: what has happened so far, in; what to do next, out. Pure.

A run is a list of turns, each a model's answer or what came of one tool call. The same turns always give the same
next step with the same arguments, so a run can be taken up by any worker at any moment.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from agents import prompts
from audit import canonical
from audit.canonical import JSON

LONGEST_RUN = 500  # steps, whatever the release's budget says
MOST_CALLS = 32  # tool calls in one answer of a model
LONGEST_OBSERVATION = 32_000  # characters of a tool's result that the model sees
REPEATS, REPEATS_WITHIN = 5, 10  # the same call for the fifth time among the last ten
ROUNDS, LONGEST_CIRCLE = 3, 5  # three rounds of the same two to five calls


@dataclass(frozen=True, slots=True)
class Turn:
    """One finished step, of kind "model" or "tool". :param output: as `answer` or `observation` made it."""

    kind: str
    name: str
    output: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Story:
    """A run as far as it has come.

    :param model: pin name of the model; `prompt` of the prompt, `system` its text.
    :param tools: what the model is told about them. :param most_steps: the release's budget, None: no bound of its own.
    """

    model: str
    goal: str
    prompt: str | None = None
    system: str | None = None
    tools: tuple[Mapping[str, JSON], ...] = ()
    output_schema: Mapping[str, JSON] | None = None
    max_output_tokens: int | None = None
    most_steps: int | None = None
    turns: tuple[Turn, ...] = ()


@dataclass(frozen=True, slots=True)
class Ask:
    """The next call to make."""

    kind: Literal["model", "tool"]
    name: str
    arguments: Mapping[str, JSON]


@dataclass(frozen=True, slots=True)
class End:
    """The run is over. :param code: why, if it failed; `answer` is what the model said, if it did not."""

    state: Literal["succeeded", "failed"]
    code: str = ""
    answer: str = ""


def next_of(story: Story) -> Ask | End:
    """Return what to do after the turns of `story`."""
    model = _last_model(story.turns)
    if model is None:
        return _bounded(story, _ask_model(story))
    output = story.turns[model].output
    if output.get("correction"):
        earlier = _last_model(story.turns[:model])
        if earlier is not None and story.turns[earlier].output.get("correction"):
            return End("failed", output["code"])
        return _bounded(story, _ask_model(story))
    wanted = output["tool_calls"]
    done = len(story.turns) - model - 1
    if done < len(wanted):
        call = wanted[done]
        return _bounded(story, Ask("tool", call["name"], call["arguments"]))
    if wanted:
        return _bounded(story, _ask_model(story))
    return End("succeeded", answer=output["message"] or "")


def answer(story: Story, content: JSON) -> dict[str, Any]:
    """Return the turn's output for what a model said; one that cannot be used carries a correction for the model."""
    said = content if isinstance(content, dict) else {}
    message, calls = said.get("message"), said.get("tool_calls") or []
    problem = _malformed(message, calls)
    if problem is not None:
        text = message if isinstance(message, str) else ""
        return _corrected(text, "answer_malformed", f"Your answer cannot be used: {problem}.")
    named = [{"name": call["name"], "arguments": call["arguments"]} for call in calls]
    if not named:
        misfit = prompts.judge(story.output_schema, message or "")
        if misfit is not None:
            return _corrected(message or "", "output_invalid", f"Your answer does not have the agreed form: {misfit}.")
    return {"message": message, "tool_calls": named}


def observation(kind: Literal["result", "error", "denied", "failed"], value: JSON) -> dict[str, Any]:
    """Return the turn's output for what came of a tool call, as the model shall see it.

    A result is shown as it is (text as text); everything else is named: {"denied": {"code", "message"}}.
    """
    shown = value if kind == "result" else {kind: value}
    text = shown if isinstance(shown, str) else canonical.dumps(shown).decode()
    if len(text) > LONGEST_OBSERVATION:
        text = f"{text[:LONGEST_OBSERVATION]}\n[cut here: {len(text) - LONGEST_OBSERVATION} more characters]"
    return {"content": text}


def messages(story: Story) -> list[dict[str, JSON]]:
    """Return the conversation that the model continues."""
    told: list[dict[str, JSON]] = []
    if story.system is not None:
        told.append({"role": "system", "content": story.system})
    told.append({"role": "user", "content": story.goal})
    for turn in story.turns:
        if turn.kind == "tool":
            told.append({"role": "tool", "name": turn.name, "content": turn.output["content"]})
            continue
        said: dict[str, JSON] = {"role": "assistant", "content": turn.output["message"]}
        if turn.output["tool_calls"]:
            said["tool_calls"] = turn.output["tool_calls"]
        told.append(said)
        if turn.output.get("correction"):
            told.append({"role": "user", "content": turn.output["correction"]})
    return told


def _ask_model(story: Story) -> Ask:
    arguments: dict[str, JSON] = {"messages": messages(story)}
    if story.tools:
        arguments["tools"] = [dict(tool) for tool in story.tools]
    if story.prompt is not None:
        arguments["prompt"] = story.prompt
    if story.max_output_tokens is not None:
        arguments["max_output_tokens"] = story.max_output_tokens
    return Ask("model", story.model, arguments)


def _bounded(story: Story, ask: Ask) -> Ask | End:
    """Return `ask`, or the end of a run that has taken too many steps or turns in a circle."""
    taken = len(story.turns)
    if story.most_steps is not None and taken >= story.most_steps:
        return End("failed", "budget_steps_exceeded")
    if taken >= LONGEST_RUN:
        return End("failed", "run_too_long")
    if ask.kind == "tool":
        asked = [*_asked(story.turns), _mark(ask.name, ask.arguments)]
        if asked[-REPEATS_WITHIN:].count(asked[-1]) >= REPEATS:
            return End("failed", "repetition")
        if any(_circles(asked, length) for length in range(2, LONGEST_CIRCLE + 1)):
            return End("failed", "cycle")
    return ask


def _asked(turns: Sequence[Turn]) -> list[bytes]:
    """Return a mark for each tool call that was made, in order."""
    marks, pending = [], []
    for turn in turns:
        if turn.kind == "model":
            pending = list(turn.output["tool_calls"])
        else:
            call = pending.pop(0)
            marks.append(_mark(call["name"], call["arguments"]))
    return marks


def _mark(name: str, arguments: Mapping[str, JSON]) -> bytes:
    return canonical.dumps([name, arguments])


def _circles(asked: Sequence[bytes], length: int) -> bool:
    tail = asked[-length * ROUNDS :]
    return len(tail) == length * ROUNDS and list(tail) == list(tail[:length]) * ROUNDS


def _last_model(turns: Sequence[Turn]) -> int | None:
    return next((at for at in range(len(turns) - 1, -1, -1) if turns[at].kind == "model"), None)


def _malformed(message: JSON, calls: JSON) -> str | None:
    if message is not None and not isinstance(message, str):
        return "message must be text"
    if not isinstance(calls, list) or len(calls) > MOST_CALLS:
        return f"tool_calls must be a list of at most {MOST_CALLS}"
    for call in calls:
        name = call.get("name") if isinstance(call, dict) else None
        if not isinstance(name, str) or not 0 < len(name) <= 128 or "\0" in name:  # PostgreSQL's text has no NUL
            return "each tool call needs a name"
        if not isinstance(call.get("arguments"), dict):
            return f"the arguments of {call['name']} must be an object"
    return None


def _corrected(message: str, code: str, problem: str) -> dict[str, Any]:
    return {"message": message, "tool_calls": [], "code": code, "correction": f"{problem} Answer again."}
