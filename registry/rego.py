"""The embedded Rego engine (regorus): evaluate, read rules, parse. The only module that imports it.

Its traps (measured; docs/reference/policies.md) are dealt with here: undefined is a string, errors carry a stack
trace, a panic is a BaseException, an engine belongs to the thread that made it. What cannot be dealt with in
process (it can neither be cancelled nor kept from crashing) is the caller's: admission and the PDP evaluate in
processes of their own.
"""

import importlib.metadata
import json
import threading
from collections.abc import Mapping
from typing import Any

import regorus

ENGINE = "regorus " + importlib.metadata.version("gordon-to-regorus")
_UNDEFINED = '"<undefined>"'
# What the engine says (left) and what we call it (right), first match wins.
_ERRORS = (
    ("rule conflicts with", "policy_conflict"),
    ("complete rules should not produce multiple outputs", "policy_conflict"),
    ("recursion", "policy_recursive"),
    ("not a valid rule path", "policy_undefined"),
)


_strays: dict[int, list[Any]] = {}  # engines by the thread that made them


class RegoFailed(Exception):
    """The engine gave no value.

    :param code: policy_undefined, policy_conflict, policy_recursive, policy_panic or policy_error.
    :param detail: what the engine said, without its stack trace.
    """

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(f"{code}: {detail}")
        self.code = code
        self.detail = detail


class Engine:
    """One set of modules and data. Use it in the thread that made it and in no other."""

    def __init__(self, modules: Mapping[str, str], data: Mapping[str, Any] | None = None) -> None:
        """Load `modules` (path -> text) and `data`. :raises RegoFailed: if one does not parse."""
        self._thread = threading.get_ident()
        _strays.pop(self._thread, None)  # they are dropped here
        self._engine = _guarded(regorus.Engine)
        for path, text in sorted(modules.items()):
            _guarded(self._engine.add_policy, path, text)
        if data:
            _guarded(self._engine.add_data_json, json.dumps(data))

    def __del__(self) -> None:
        # Nor may another thread drop it, and the collector works in whichever: it waits for its own.
        if threading.get_ident() != self._thread and hasattr(self, "_engine"):
            _strays.setdefault(self._thread, []).append(self._engine)

    def evaluate(self, rule: str, document: str) -> str:
        """Return the JSON text of `rule` (data.a.b) for the input `document` (JSON text).

        :raises RegoFailed: policy_undefined if the rule has no value, else what went wrong.
        """
        _guarded(self._engine.set_input_json, document)
        text = str(_guarded(self._engine.eval_rule_as_json, rule))
        if text == _UNDEFINED:
            raise RegoFailed("policy_undefined", f"{rule} has no value for this input.")
        return text

    def prints(self, rule: str, document: str) -> tuple[bool, list[str]]:
        """Say whether `rule` is true for `document`, and which lines it printed. :raises RegoFailed: on an error."""
        _guarded(self._engine.set_gather_prints, True)
        try:
            holds = self.evaluate(rule, document) == "true"
        except RegoFailed as failed:
            if failed.code != "policy_undefined":
                raise
            holds = False
        return holds, [str(line) for line in _guarded(self._engine.take_prints)]

    def syntax(self) -> list[dict[str, Any]]:
        """Return each module's syntax tree, in the order of the paths."""
        trees = json.loads(_guarded(self._engine.get_ast_as_json))
        return [tree["ast"] for tree in trees]


def parse(modules: Mapping[str, str]) -> dict[str, dict[str, Any]]:
    """Return path -> syntax tree. Time is exponential in nesting: scan it first. :raises RegoFailed: if malformed."""
    return dict(zip(sorted(modules), Engine(modules).syntax(), strict=True))


def _guarded(function: Any, *arguments: Any) -> Any:
    try:
        return function(*arguments)
    except RuntimeError as error:
        detail = _said(error)
        code = next((code for words, code in _ERRORS if words in detail), "policy_error")
        raise RegoFailed(code, detail) from None
    except BaseException as error:
        # pyo3's PanicException is no Exception: nothing else may pass as a value either.
        if isinstance(error, (KeyboardInterrupt, SystemExit)):
            raise
        code = "policy_panic" if type(error).__name__ == "PanicException" else "policy_error"
        raise RegoFailed(code, _said(error)) from None


def _said(error: BaseException) -> str:
    """Return the engine's words without the stack trace, on one line."""
    return " ".join(str(error).split("Stack backtrace")[0].split())[:500]
