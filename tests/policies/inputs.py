"""Decision inputs for tests: the shipped example with members changed."""

import copy
import json

from registry import policies

EXAMPLE = json.loads((policies.SCHEMAS / "decision-input.example.json").read_text())


def document(*changes):
    """Return the example input, deeply updated by each of `changes` (objects merge, all else is replaced)."""
    made = copy.deepcopy(EXAMPLE)
    for change in changes:
        _merge(made, change)
    return made


def _merge(target, change):
    for name, value in change.items():
        if isinstance(value, dict) and isinstance(target.get(name), dict):
            _merge(target[name], value)
        else:
            target[name] = value
