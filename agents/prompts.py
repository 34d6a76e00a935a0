"""An approved template and its variables become text; a model's answer is held against the agreed schema. Pure.

The default dialect knows `{{name}}` and nothing else. `jinja2`, on request, is a small part of Jinja: values, `if`,
`for` (two deep), comparisons and a few filters; no calls, macros, arithmetic or imports.
"""

import functools
import re
from collections.abc import Mapping
from typing import Any

import jsonschema_rs
from jinja2 import StrictUndefined, TemplateError, nodes
from jinja2.sandbox import ImmutableSandboxedEnvironment

from audit import canonical
from audit.canonical import JSON
from audit.refusal import Refusal

LARGEST_TEXT = 200_000  # characters of a rendered prompt
LARGEST_VARIABLES = {"strict": 100_000, "jinja2": 16_384}  # bytes of canonical JSON
BYTES_PER_TOKEN = 4  # an estimate: no tokenizer of any model is at hand
_VARIABLE = re.compile(r"\{\{\s*([A-Za-z_][A-Za-z0-9_]*)\s*\}\}")
_NODES = (
    nodes.Template, nodes.Output, nodes.TemplateData, nodes.Name, nodes.Const, nodes.Getattr, nodes.Getitem, nodes.If,
    nodes.For, nodes.CondExpr, nodes.Compare, nodes.Operand, nodes.And, nodes.Or, nodes.Not, nodes.Filter, nodes.Test,
    nodes.Concat, nodes.List, nodes.Tuple,
)  # fmt: skip
_FILTERS = frozenset({"capitalize", "first", "join", "last", "length", "list", "lower", "sort", "trim", "upper"})
_DEEPEST_LOOP = 2
_PATTERNS = jsonschema_rs.RegexOptions(size_limit=1 << 20)


def render(content: Mapping[str, Any], variables: Mapping[str, JSON]) -> str:
    """Return the text of a prompt version.

    :param content: of the version: template, dialect, variables (their schema), max_input_tokens.
    :raises Refusal: inputs_invalid, inputs_too_large, prompt_invalid, prompt_too_long.
    """
    dialect = content.get("dialect", "strict")
    largest = LARGEST_VARIABLES[dialect]
    if len(canonical.dumps(variables)) > largest:
        detail = f"The inputs of this prompt may have {largest} bytes in all."
        raise Refusal("inputs_too_large", detail, status=413, field="inputs")
    problem = _problem(content["variables"], variables)
    if problem is not None:
        detail = f"The inputs do not fit the prompt: {problem}."
        raise Refusal("inputs_invalid", detail, field="inputs")
    template = content["template"]
    text = _jinja2(template, variables) if dialect == "jinja2" else _strict(template, variables)
    most = content.get("max_input_tokens")
    if len(text) > LARGEST_TEXT or (most is not None and len(text.encode()) > most * BYTES_PER_TOKEN):
        limit = f"{most} tokens of about {BYTES_PER_TOKEN} bytes" if most else f"{LARGEST_TEXT} characters"
        raise Refusal("prompt_too_long", f"The prompt would be longer than {limit}.", status=413, field="inputs")
    return text


def judge(schema: Mapping[str, Any] | None, text: str) -> str | None:
    """Return what keeps a model's final answer from fitting `schema`, None if it fits or no schema was agreed."""
    if schema is None:
        return None
    if schema.get("type") == "string":
        return _problem(schema, text)
    try:
        value = canonical.loads(text.encode(), field="answer")
    except (Refusal, UnicodeEncodeError) as error:
        return error.detail if isinstance(error, Refusal) else "it is not JSON"
    return _problem(schema, value)


def _strict(template: str, variables: Mapping[str, JSON]) -> str:
    """Put each variable in its place, once: what a value itself looks like is never expanded."""

    def put(found: re.Match[str]) -> str:
        name = found.group(1)
        if name not in variables:
            raise Refusal("inputs_invalid", f"The prompt needs the input {name!r}.", field=f"inputs/{name}")
        return _text(variables[name])

    bare = _VARIABLE.sub("", template)
    if "{{" in bare or "}}" in bare:
        detail = "The template has braces that are no {{name}}; write one name between them."
        raise Refusal("prompt_invalid", detail, status=409)
    return _VARIABLE.sub(put, template)


def _jinja2(template: str, variables: Mapping[str, JSON]) -> str:
    try:
        ready = _compiled(template)
        parts, length = [], 0
        for part in ready.generate(dict(variables)):
            parts.append(part)
            length += len(part)
            if length > LARGEST_TEXT:
                break
    except (TemplateError, TypeError, ValueError, ArithmeticError, LookupError, RecursionError) as error:
        detail = f"The template cannot be rendered: {str(error)[:200]}"
        raise Refusal("prompt_invalid", detail, status=409) from error
    return "".join(parts)


@functools.lru_cache(maxsize=128)
def _compiled(template: str) -> Any:
    environment = ImmutableSandboxedEnvironment(undefined=StrictUndefined, finalize=_text, keep_trailing_newline=True)
    environment.globals.clear()
    _examine(environment.parse(template), loops=0)
    return environment.from_string(template)


def _examine(node: nodes.Node, *, loops: int) -> None:
    if not isinstance(node, _NODES):
        raise ValueError(f"{type(node).__name__.lower()} (line {node.lineno}) is not part of the dialect")
    if isinstance(node, nodes.For):
        loops += 1
        if node.recursive or loops > _DEEPEST_LOOP:
            raise ValueError(f"loops nest {_DEEPEST_LOOP} deep at most (line {node.lineno})")
    if isinstance(node, nodes.Filter) and (node.name not in _FILTERS or loops):
        # A filter in a loop would multiply the loop's work by the length of the value.
        raise ValueError(f"the filter {node.name} may not stand in line {node.lineno}")
    for child in node.iter_child_nodes():
        _examine(child, loops=loops)


def _text(value: Any) -> str:
    if isinstance(value, StrictUndefined):
        return str(value)  # raises, naming the variable
    return value if isinstance(value, str) else canonical.dumps(value).decode()


def _problem(schema: Mapping[str, Any], value: JSON) -> str | None:
    try:
        validator = jsonschema_rs.Draft202012Validator(dict(schema), offline=True, pattern_options=_PATTERNS)
        error = next(iter(validator.iter_errors(value)), None)
    except (jsonschema_rs.ValidationError, jsonschema_rs.ReferencingError, ValueError) as failure:
        raise Refusal("prompt_invalid", f"The schema cannot be used: {str(failure)[:200]}", status=409) from failure
    if error is None:
        return None
    place = "".join(f"/{part}" for part in error.instance_path) or "the top"
    return f"at {place}: {str(error.message)[:300]}"
