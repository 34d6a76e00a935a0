"""Admission of a policy: what a look at the text can refuse, then the rest in a subprocess that can be killed."""

import json
import re
import signal
import subprocess
import sys
from collections.abc import Mapping
from functools import cache
from typing import Any

from audit import canonical
from registry import policies, rendering
from registry.admission import bounds
from registry.admission.result import CheckResult

_CHILD = "registry.admission.child"
_RUN = ("portable", "tests", "time", "deletion")
_NAMES = ("form", "text", *_RUN)
_NOT_RUN = "Not run: an earlier check failed."
_FILE = re.compile(r"[A-Za-z0-9_-]{1,64}(/[A-Za-z0-9_-]{1,64}){0,7}\.rego")
_ZERO = "sha256:" + "0" * 64


def check(content: Mapping[str, Any]) -> list[CheckResult]:
    """Return one result per check; a check that could not be reached has failed."""
    results = [_form(content)]
    if results[-1].passed:
        results.append(_text(content))
    if results[-1].passed:
        results += _run(content)
    reached = {result.name for result in results}
    return results + [CheckResult(name, False, _NOT_RUN) for name in _NAMES if name not in reached]


@cache
def schema() -> Any:
    """Return the frozen schema of the decision input."""
    return json.loads((policies.SCHEMAS / "decision-input.v1.json").read_text(encoding="utf-8"))


@cache
def example() -> Any:
    """Return a decision input that the schema accepts."""
    return json.loads((policies.SCHEMAS / "decision-input.example.json").read_text(encoding="utf-8"))


def _form(content: Mapping[str, Any]) -> CheckResult:
    """Sizes, names and numbers."""
    problems = []
    modules, tests, data = content.get("modules"), content.get("tests"), content.get("data", {})
    for name, files in (("modules", modules), ("tests", tests)):
        if not isinstance(files, dict) or not all(isinstance(text, str) for text in files.values()):
            return CheckResult("form", False, f"{name} must map file names to texts.")
        problems += [
            f"{name}: {path!r} is no plain path that ends in .rego." for path in files if not _FILE.fullmatch(path)
        ]
    if not isinstance(data, dict):
        return CheckResult("form", False, "data must be an object.")
    if not modules:
        problems.append("a policy needs a module.")
    if set(modules or ()) & set(tests or ()):
        problems.append("a test file has the name of a module.")
    if len(modules or ()) + len(tests or ()) > bounds.MAX_FILES:
        problems.append(f"at most {bounds.MAX_FILES} files are accepted.")
    if content.get("requires", "portable") != "portable":
        problems.append("requires: opa needs an OPA server, which this installation does not have.")
    try:
        size = len(canonical.dumps([modules, tests, data]))
        if size > bounds.MAX_BYTES:
            problems.append(f"the policy has {size} bytes; at most {bounds.MAX_BYTES} are accepted.")
        if _fraction(data):
            problems.append("data holds a number with a fraction: state it in millionths.")
    except canonical.NotCanonical as error:
        problems.append(f"data is not canonical JSON: {error}")
    return CheckResult("form", not problems, "\n".join(problems))


def _text(content: Mapping[str, Any]) -> CheckResult:
    """What must be known before a parser sees the text: the root can be rendered, brackets nest shallowly."""
    problems = []
    root = rendering.root(_ZERO)
    for kind in ("modules", "tests"):
        for path, text in sorted(content[kind].items()):
            try:
                rendering.render_text(text, root, field=path, tests=kind == "tests")
                if max(map(len, text.splitlines()), default=0) > bounds.MAX_LINE:
                    problems.append(f"{path}: a line has more than {bounds.MAX_LINE} characters.")
                depth = rendering.deepest(text)
                if depth > bounds.MAX_BRACKETS:
                    problems.append(f"{path}: brackets nest {depth} deep; at most {bounds.MAX_BRACKETS} are accepted.")
            except rendering.NotRenderable as error:
                problems.append(str(error))
    return CheckResult("text", not problems, "\n".join(problems))


def _run(content: Mapping[str, Any]) -> list[CheckResult]:
    task = json.dumps({"content": dict(content), "schema": schema(), "example": example()})
    process = subprocess.Popen(
        [sys.executable, "-m", _CHILD, str(bounds.CPU_SECONDS), str(bounds.MEMORY_BYTES)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        cwd=policies.DIRECTORY.parent,
        env=bounds.ENVIRONMENT,
        start_new_session=True,
        text=True,
    )
    try:
        output, _ = process.communicate(task, timeout=bounds.WALL_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        output, _ = process.communicate()
    done = {found["name"]: CheckResult(**found) for found in map(json.loads, output.splitlines())}
    results = [done[name] for name in _RUN if name in done]
    missing = [name for name in _RUN if name not in done]
    if missing and all(result.passed for result in results):
        results.append(CheckResult(missing[0], False, _death(process.returncode)))
    return results


def _death(code: int) -> str:
    """Say why the subprocess ended before it had an answer."""
    if code in (-signal.SIGXCPU, -signal.SIGKILL):
        return f"The policy did not come to an end within {bounds.CPU_SECONDS} s of CPU or {bounds.WALL_SECONDS:.0f} s."
    if code < 0:
        return f"The policy crashed the engine ({signal.Signals(-code).name}): it recurses or needs too much memory."
    return f"The checks ended without an answer (exit code {code})."


def _fraction(value: Any) -> bool:
    if isinstance(value, float):
        return True
    if isinstance(value, dict):
        return any(map(_fraction, value.values()))
    return isinstance(value, list) and any(map(_fraction, value))
