"""A policy's own tests, run and watched: each must pass, and every input that they give to the policy is kept."""

import json
from collections.abc import Mapping
from typing import Any

from registry import rego
from registry.admission import syntax

_MARK = "placet-input "
_EMPTY = "{}"


class Trials:
    """What running the tests told: which failed, and the inputs they used."""

    def __init__(self) -> None:
        self.count = 0
        self.failed: list[str] = []
        self.inputs: list[Any] = []


def run(modules: Mapping[str, str], data: Mapping[str, Any], tests: Mapping[str, str], *, root: str) -> Trials:
    """Run every rule called test_... of the rendered `tests` beside the rendered `modules`.

    :raises RegoFailed: if the text does not parse.
    """
    trials = Trials()
    watched = {path: _watched(text, rego.parse({path: text})[path]) for path, text in tests.items()}
    names = sorted(
        {
            rule.name
            for tree in rego.parse(tests).values()
            for rule in syntax.rules(tree)
            if rule.name.startswith("test_")
        }
    )
    plain, recording = rego.Engine({**modules, **tests}, data), rego.Engine({**modules, **watched}, data)
    for name in names:
        rule = f"data.placet.{root}_test.{name}"
        trials.count += 1
        try:
            passed, _ = plain.prints(rule, _EMPTY)
            # The watched copy says what went in; whether the test passes is asked of the author's own text.
            _, lines = recording.prints(rule, _EMPTY)
        except rego.RegoFailed as failed:
            trials.failed.append(f"{name}: {failed.detail}")
            continue
        if not passed:
            trials.failed.append(name)
        trials.inputs += _inputs(lines)
    return trials


def _watched(text: str, tree: Any) -> str:
    """Return test `text` in which every statement `with input as X` prints X first."""
    raw = text.encode()
    places = []
    for statement in syntax.statements(tree["rules"]):
        for modifier in statement["with_mods"]:
            target = syntax.reference(modifier["refr"])
            if target is not None and target.root == "input":
                given = raw[modifier["span"]["start"] : modifier["span"]["end"]].decode().split(" as ", 1)[-1]
                places.append((_start(statement, raw), f'print("{_MARK}", json.marshal({given})); '.encode()))
    for start, insertion in sorted(places, reverse=True):
        raw = raw[:start] + insertion + raw[start:]
    return raw.decode()


def _start(statement: Any, raw: bytes) -> int:
    """Return where a statement begins; the engine's span of one that begins with a text leaves out the quote."""
    start = int(statement["span"]["start"])
    return start - 1 if raw[start - 1 : start] in (b'"', b"`") else start


def _inputs(lines: list[str]) -> list[Any]:
    found = []
    for line in lines:
        _, mark, text = line.partition(_MARK)
        if mark:
            try:
                found.append(json.loads(text))
            except ValueError:  # an undefined input prints as such
                continue
    return found
