"""Which contract is pinned, and do arguments and results fit it? JSON Schema 2020-12, bounded, no remote references."""

from collections.abc import Mapping
from typing import Any, Literal, Protocol

import jsonschema_rs

from audit import canonical
from audit.canonical import JSON
from audit.refusal import Refusal
from registry import resolve
from registry.resolve import Release

LARGEST_VALUE = 1_048_576  # bytes of canonical JSON, arguments and results alike
TIMEOUT_MS = 30_000  # of a tool whose contract names none
_LISTED = 10  # problems shown to the caller
_CACHED = 4096  # compiled schemas per process
# Linear-time patterns only, and a bound on what a pattern may compile to.
_PATTERNS = jsonschema_rs.RegexOptions(size_limit=1 << 20)
MODEL_ARGUMENTS: Mapping[str, Any] = {
    "type": "object",
    "required": ["messages"],
    "properties": {
        "messages": {
            "type": "array",
            "minItems": 1,
            "maxItems": 2000,
            "items": {
                "type": "object",
                "required": ["role", "content"],
                "properties": {
                    "role": {"enum": ["system", "user", "assistant", "tool"]},
                    "content": {"type": ["string", "null"]},
                    "name": {"type": "string"},
                },
            },
        },
        "max_output_tokens": {"type": "integer", "minimum": 1},
        "tools": {"type": "array", "maxItems": 1000, "items": {"type": "object"}},
        "prompt": {"type": "string"},
    },
}
Part = Literal["input_schema", "output_schema"]
_compiled: dict[tuple[str, Part], jsonschema_rs.Draft202012Validator | None] = {}


class Contract(Protocol):
    """What this module needs of registry.resolve.Contract."""

    @property
    def kind(self) -> str: ...
    @property
    def digest(self) -> str: ...
    @property
    def content(self) -> Mapping[str, JSON]: ...


def pinned(release: Release, kind: str, name: str) -> resolve.Contract:
    """Return what the release pins under `name`, for tools and models alike.

    :raises Refusal: tool_unknown, model_unknown.
    """
    found = (release.models if kind == "model" else release.tools).get(name)
    if found is None:
        detail = f"The release of {release.agent} pins no {kind} {name!r}."
        raise Refusal(f"{kind}_unknown", detail, status=403, field="name")
    return found


def patience(contract: Contract) -> float:
    """Return how many seconds the contract gives all tries together."""
    content: Mapping[str, Any] = contract.content
    milliseconds = int(content.get("timeout_ms", TIMEOUT_MS)) * int(content.get("retry", {}).get("attempts", 1))
    return milliseconds / 1000


def check_arguments(contract: Contract, arguments: Mapping[str, JSON]) -> None:
    """Do nothing if `arguments` fit. :raises Refusal: arguments_invalid, naming each place, or contract_invalid."""
    problems = _problems(contract, "input_schema", arguments)
    if problems:
        detail = (
            f"The arguments do not fit the contract: {problems[0]['detail']} (at {problems[0]['path'] or 'the top'})."
        )
        raise Refusal("arguments_invalid", detail, field=str(problems[0]["path"]), errors=problems)


def check_result(contract: Contract, result: JSON) -> None:
    """Do nothing if `result` fits. :raises Refusal: result_invalid, saying where but not what stood there."""
    problems = _problems(contract, "output_schema", result)
    if problems:
        places = ", ".join(str(problem["path"]) or "the top" for problem in problems)
        raise Refusal("result_invalid", f"The tool's answer does not fit its contract at {places}.", status=502)


def check_size(value: JSON, *, code: str, what: str) -> bytes:
    """Return the canonical bytes of `value`. :raises Refusal: `code`, if it has none or too many."""
    try:
        raw = canonical.dumps(value)
    except canonical.NotCanonical as error:
        raise Refusal(code, f"The {what} have no canonical JSON form: {error}.", field=what) from error
    check_length(raw, code=code, what=what)
    return raw


def check_length(raw: bytes, *, code: str, what: str) -> None:
    """Do nothing if canonical bytes are few enough. :raises Refusal: `code`."""
    if len(raw) > LARGEST_VALUE:
        raise Refusal(code, f"The {what} have {len(raw)} bytes; at most {LARGEST_VALUE} are accepted.", field=what)


def _problems(contract: Contract, part: Part, value: JSON) -> list[dict[str, JSON]]:
    validator = _validator(contract, part)
    if validator is None or validator.is_valid(value):
        return []
    problems: list[dict[str, JSON]] = []
    for error in validator.iter_errors(value):
        pointer = "".join(f"/{str(step).replace('~', '~0').replace('/', '~1')}" for step in error.instance_path)
        problems.append({"path": pointer, "rule": error.kind.name, "detail": error.message[:300]})
        if len(problems) == _LISTED:
            break
    return problems


def _validator(contract: Contract, part: Part) -> jsonschema_rs.Draft202012Validator | None:
    key = (contract.digest, part)
    if key not in _compiled:
        schema = MODEL_ARGUMENTS if contract.kind == "model" and part == "input_schema" else contract.content.get(part)
        if len(_compiled) >= _CACHED:
            _compiled.clear()
        _compiled[key] = None if schema is None else _compile(contract, part, schema)
    return _compiled[key]


def _compile(contract: Contract, part: Part, schema: JSON) -> jsonschema_rs.Draft202012Validator:
    try:
        return jsonschema_rs.Draft202012Validator(
            schema, offline=True, validate_formats=True, pattern_options=_PATTERNS
        )
    except (jsonschema_rs.ValidationError, jsonschema_rs.ReferencingError, ValueError) as error:
        # A contract without a usable schema admits nothing.
        detail = f"The {part} of contract {contract.digest} cannot be used: {str(error).splitlines()[0]}"
        raise Refusal("contract_invalid", detail, status=503) from error
