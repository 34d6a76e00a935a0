"""Read a run as the planner sees it: what its release pins, what was asked, and what each finished step brought."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from agents import prompts
from agents.models import Run
from agents.plan import Story, Turn
from audit import sealed
from audit.canonical import JSON
from audit.refusal import Refusal
from registry.resolve import Contract, Release

MAIN = "main"  # the pin that is used where a release pins several


def begin(release: Release, goal: str, inputs: Mapping[str, JSON]) -> Story:
    """Return the story of a run that has not begun.

    :raises Refusal: model_missing, model_ambiguous, prompt_ambiguous, and what prompts.render raises.
    """
    model = _only(release.models, "model")
    if model is None:
        raise Refusal("model_missing", "The release pins no model, so it cannot run by itself.", status=409)
    prompt = _only(release.prompts, "prompt")
    content: Mapping[str, Any] = prompt.content if prompt else {}
    system = None
    if prompt is not None:
        variables = dict(inputs)
        if "goal" in content["variables"].get("properties", {}):
            variables.setdefault("goal", goal)
        system = prompts.render(content, variables)
    elif inputs:
        raise Refusal("inputs_invalid", "The release pins no prompt that could take inputs.", field="inputs")
    return Story(
        model=model.name,
        goal=goal,
        prompt=prompt.name if prompt else None,
        system=system,
        tools=tuple(_shown(tool) for _, tool in sorted(release.tools.items())),
        output_schema=content.get("output_schema"),
        max_output_tokens=content.get("max_output_tokens"),
        most_steps=release.budgets.get("steps"),
    )


def read(run: Run, release: Release) -> Story:
    """Return the story of `run` so far. :raises Refusal: value_erased: its data subject is gone; as `begin`."""
    asked = sealed.open_value(run.created_record, "/data/asked")
    story = begin(release, asked["goal"], asked["inputs"])
    done = (
        run.steps.filter(undoes=None, state="done", record__isnull=False)
        .order_by("no")
        .values_list("kind", "name", "record")
    )
    turns = [Turn(kind, name, sealed.open_value(record, "/data/output")) for kind, name, record in done if record]
    return extended(story, *turns)


def extended(story: Story, *turns: Turn) -> Story:
    """Return `story` with further turns."""
    return replace(story, turns=(*story.turns, *turns))


def goal_of(run: Run) -> str | None:
    """Return what was asked, None if it was erased."""
    try:
        return str(sealed.open_value(run.created_record, "/data/asked")["goal"])
    except sealed.Erased:
        return None


def answer_of(run: Run) -> str | None:
    """Return the final answer, None if there is none or it was erased."""
    if run.answer_record is None:
        return None
    try:
        return str(sealed.open_value(run.answer_record, "/data/answer"))
    except sealed.Erased:
        return None


def _only(pins: Mapping[str, Contract], kind: str) -> Contract | None:
    if len(pins) < 2:
        return next(iter(pins.values()), None)
    if MAIN not in pins:
        detail = f"The release pins several {kind}s; name the one that runs the loop {MAIN!r}."
        raise Refusal(f"{kind}_ambiguous", detail, status=409)
    return pins[MAIN]


def _shown(tool: Contract) -> dict[str, JSON]:
    return {
        "name": tool.name,
        "description": tool.content.get("description", ""),
        "input_schema": tool.content["input_schema"],
    }
