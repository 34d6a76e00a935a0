"""What the content of a version must look like, by kind; the JSON Schemas are in registry/schemas."""

import json
import re
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema_rs

from audit import canonical
from audit.refusal import Refusal
from registry.models import Kind

LARGEST = 512 * 1024
DEEPEST = 32
SCHEMAS = Path(__file__).parent / "schemas"
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,127}")
SLUG = re.compile(r"[a-z][a-z0-9-]{0,62}")
_VARIABLE = re.compile(r"\{\{(.*?)\}\}", re.DOTALL)
_REFERENCES = ("$ref", "$dynamicRef", "$recursiveRef")


def check(kind: str, name: str, content: canonical.JSON) -> bytes:
    """Return the canonical bytes of `content` if it is what a version of `kind` may hold.

    :raises Refusal: kind_unknown, name_invalid, content_invalid or content_too_large, with field and remedy.
    """
    if kind not in Kind.values:
        raise Refusal("kind_unknown", f"There is no kind {kind!r}; use one of {', '.join(Kind.values)}.", field="kind")
    if not NAME.fullmatch(name):
        detail = "A name is 1 to 128 letters, digits, '_', '.' or '-', beginning with a letter or digit."
        raise Refusal("name_invalid", detail, field="name")
    if kind == Kind.CHARTER and name != "charter":
        raise Refusal("name_invalid", "A workspace has one charter; name it 'charter'.", field="name")
    raw = _encode(content)
    _validate(kind, content)
    if kind in _CHECKS:
        _CHECKS[kind](content)
    return raw


@cache
def schema(kind: str) -> dict[str, Any]:
    """Return the JSON Schema of `kind`."""
    document: dict[str, Any] = json.loads((SCHEMAS / f"{kind}.json").read_text())
    return document


@cache
def _validator(kind: str) -> Any:
    return jsonschema_rs.Draft202012Validator(schema(kind), offline=True)


def _encode(content: canonical.JSON) -> bytes:
    try:
        raw = canonical.dumps(content)
    except canonical.NotCanonical as error:
        raise _invalid("/content", f"it has no canonical JSON form: {error}", "Send plain JSON.") from error
    if len(raw) > LARGEST:
        detail = f"The content has {len(raw)} bytes in canonical form; at most {LARGEST} are accepted."
        raise Refusal("content_too_large", detail, status=413, field="/content")
    if _depth(content) > DEEPEST:
        raise _invalid("/content", f"it nests deeper than {DEEPEST} levels", "Flatten it.")
    return raw


def _validate(kind: str, content: canonical.JSON) -> None:
    errors = [_plain(error) for error in _validator(kind).iter_errors(content)]
    if errors:
        field, problem, remedy = errors[0]
        listed = [{"field": at, "detail": f"{what}. {how}"} for at, what, how in errors[:20]]
        raise _invalid(field, problem, remedy, errors=listed)


def _invalid(field: str, problem: str, remedy: str, errors: list[dict[str, str]] | None = None) -> Refusal:
    detail = f"{field}: {problem}. {remedy}"
    listed = errors or [{"field": field, "detail": detail}]
    return Refusal("content_invalid", detail, field=field, errors=listed)


def _plain(error: Any) -> tuple[str, str, str]:
    """Return field, problem and remedy of a schema error; of alternatives, the one that fits best."""
    while error.kind.name in ("oneOf", "anyOf"):
        best = min(error.kind.context, key=lambda branch: (_misses_kind(branch), len(branch)))
        if not best:
            break
        error = best[0]
    field = "/content" + "".join(f"/{_escape(part)}" for part in error.instance_path)
    return field, str(error.message)[:500].rstrip("."), _remedy(error)


def _misses_kind(branch: list[Any]) -> bool:
    return any(error.instance_path[-1:] == ["kind"] for error in branch)


def _remedy(error: Any) -> str:
    name = error.kind.name
    if name == "required":
        return f"Add the member {error.kind.property!r}."
    if name in ("additionalProperties", "unevaluatedProperties"):
        return "Remove it, or correct its spelling."
    if name == "type":
        return f"Send a value of type {' or '.join(error.kind.types)}."
    if name in ("enum", "const"):
        return "Use a value that is listed."
    if name == "falseSchema":
        return "Remove it."
    return "Change the value to fit."


def _escape(part: str | int) -> str:
    return str(part).replace("~", "~0").replace("/", "~1")


def _depth(value: canonical.JSON) -> int:
    deepest, pending = 0, [(value, 1)]
    while pending:
        member, depth = pending.pop()
        if isinstance(member, (dict, list)):
            deepest = max(deepest, depth)
            children = member.values() if isinstance(member, dict) else member
            pending.extend((child, depth + 1) for child in children)
    return deepest


def _local_schema(document: Mapping[str, Any], field: str, *, of_object: bool) -> None:
    """Refuse a schema that does not compile, reaches outside itself, or should be of an object and is not."""
    for reference in _references(document):
        if not reference.startswith("#"):
            raise _invalid(field, f"the reference {reference[:100]!r} leads outside", "Use references within it (#/…).")
    if of_object and document.get("type") != "object":
        raise _invalid(field, "it does not describe an object", 'Set "type": "object".')
    try:
        jsonschema_rs.Draft202012Validator(dict(document), offline=True)
    except (jsonschema_rs.ValidationError, jsonschema_rs.ReferencingError, ValueError) as error:
        line = str(error).splitlines()[0]
        raise _invalid(field, f"it is not a JSON Schema (2020-12): {line[:300]}", "Correct it.") from error


def _references(value: canonical.JSON) -> Iterator[str]:
    pending = [value]
    while pending:
        member = pending.pop()
        if isinstance(member, dict):
            yield from (str(member[key]) for key in _REFERENCES if key in member)
            pending.extend(member.values())
        elif isinstance(member, list):
            pending.extend(member)


def _tool(content: Mapping[str, Any]) -> None:
    _local_schema(content["input_schema"], "/content/input_schema", of_object=True)
    if "output_schema" in content:
        _local_schema(content["output_schema"], "/content/output_schema", of_object=False)


def _prompt(content: Mapping[str, Any]) -> None:
    _local_schema(content["variables"], "/content/variables", of_object=True)
    if "output_schema" in content:
        _local_schema(content["output_schema"], "/content/output_schema", of_object=False)
    if content.get("dialect", "strict") != "strict":
        return
    declared = content["variables"].get("properties", {})
    for used in _VARIABLE.findall(content["template"]):
        if used.strip() not in declared:
            problem = f"the template uses {{{{{used.strip()[:60]}}}}}, which `variables` does not declare"
            raise _invalid("/content/template", problem, "Declare it under variables.properties.")


def _agent(content: Mapping[str, Any]) -> None:
    pins = [(pin["kind"], pin["name"]) for pin in content["pins"]]
    for number, pin in enumerate(pins):
        if pin in pins[:number]:
            raise _invalid(f"/content/pins/{number}", f"{pin[0]}/{pin[1]} is pinned twice", "Keep one of them.")
    if [kind for kind, _ in pins].count("policy") != 1:
        raise _invalid("/content/pins", "a release pins exactly one policy", "Pin one.")


def _dataset(content: Mapping[str, Any]) -> None:
    _local_schema(content["schema"], "/content/schema", of_object=True)
    lineage = [source["digest"] for source in content.get("lineage", [])]
    if content["digest"] in lineage:
        field = f"/content/lineage/{lineage.index(content['digest'])}"
        raise _invalid(field, "the data cannot be made from itself", "Name what it was made from.")


def _charter(content: Mapping[str, Any]) -> None:
    quorum = content["quorum"]
    places = [("default", quorum["default"])]
    places += [(f"rules/{number}", rule) for number, rule in enumerate(quorum.get("rules", []))]
    for place, rule in places:
        if rule["approvals"] < len(rule["roles"]):
            field = f"/content/quorum/{place}/approvals"
            problem = f"{len(rule['roles'])} roles need as many distinct persons, but only {rule['approvals']} approve"
            raise _invalid(field, problem, f"Set it to {len(rule['roles'])} or more.")


_CHECKS: Mapping[str, Callable[[Mapping[str, Any]], None]] = {
    Kind.TOOL: _tool,
    Kind.PROMPT: _prompt,
    Kind.AGENT: _agent,
    Kind.DATASET: _dataset,
    Kind.CHARTER: _charter,
}
