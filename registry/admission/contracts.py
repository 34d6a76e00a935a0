"""Cheap checks of the other kinds: what their JSON Schema cannot say. Pure."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

import jinja2
import jinja2.meta
import jinja2.sandbox
import jsonschema_rs

from registry.admission.result import CheckResult

# The same bounds as where arguments are checked (gateway.contract): what does not compile there admits no call.
_PATTERNS = jsonschema_rs.RegexOptions(size_limit=1 << 20)
_PARAMETER = re.compile(r"\{([^}]*)\}")
_SCHEMAS = {
    "tool": ("input_schema", "output_schema"),
    "prompt": ("variables", "output_schema"),
    "dataset": ("schema",),
}


def check(kind: str, content: Mapping[str, Any]) -> list[CheckResult]:
    """Return the results for every kind but a policy."""
    results = []
    if kind in _SCHEMAS:
        results.append(_result("schemas", _schemas(kind, content)))
    if kind == "tool":
        results.append(_result("pointers", _pointers(content)))
        if content.get("transport", {}).get("kind") == "http":
            results.append(_result("placement", _placement(content)))
    if kind == "dataset":
        results.append(_result("fields", _fields(content)))
    if kind == "prompt":
        results.append(_result("template", _template(content)))
    return results


def _result(name: str, problems: Iterator[str]) -> CheckResult:
    found = list(problems)
    return CheckResult(name, not found, "\n".join(found))


def _schemas(kind: str, content: Mapping[str, Any]) -> Iterator[str]:
    for name in _SCHEMAS[kind]:
        schema = content.get(name)
        if schema is None:
            continue
        remote = [reference for reference in _references(schema) if not reference.startswith("#")]
        if remote:
            yield f"{name}: the reference {remote[0][:100]!r} leads outside the schema."
            continue
        try:
            jsonschema_rs.Draft202012Validator(schema, offline=True, pattern_options=_PATTERNS)
        except (jsonschema_rs.ValidationError, jsonschema_rs.ReferencingError, ValueError) as error:
            yield f"{name}: it does not compile with linear-time patterns: {str(error).splitlines()[0][:300]}"


def _references(schema: Any) -> Iterator[str]:
    pending = [schema]
    while pending:
        member = pending.pop()
        if isinstance(member, dict):
            yield from (str(member[key]) for key in ("$ref", "$dynamicRef") if key in member)
            pending.extend(member.values())
        elif isinstance(member, list):
            pending.extend(member)


def _pointers(content: Mapping[str, Any]) -> Iterator[str]:
    """A destination that no argument can have would never be seen by a policy."""
    for name, part in (("destinations", "input_schema"), ("trusted_fields", "output_schema")):
        schema = content.get(part)
        if not isinstance(schema, dict):
            continue
        for pointer in content.get(name, []):
            if not _reaches(schema, pointer.split("/")[1:], schema):
                yield f"{name}: {pointer} is no member that {part} describes."


def _fields(content: Mapping[str, Any]) -> Iterator[str]:
    """An expectation of a member that no record has would always hold, or never."""
    asked = [(f"quality/{number}", one.get("field")) for number, one in enumerate(content.get("quality", []))]
    asked.append(("freshness", content.get("freshness", {}).get("field")))
    for place, name in asked:
        if name is not None and not _reaches(content["schema"], [name], content["schema"]):
            yield f"{place}: {name!r} is no member that the schema describes."
    for number, one in enumerate(content.get("quality", [])):
        if "least" in one and "most" in one and one["least"] > one["most"]:
            yield f"quality/{number}: nothing lies between {one['least']} and {one['most']}."
        if "pattern" in one and (problem := _pattern(one["pattern"])):
            yield f"quality/{number}: {problem}"


def _pattern(pattern: str) -> str:
    """Return why a pattern does not compile in linear time, empty if it does."""
    try:
        jsonschema_rs.Draft202012Validator({"pattern": pattern}, offline=True, pattern_options=_PATTERNS)
    except (jsonschema_rs.ValidationError, ValueError) as error:
        return f"the pattern does not compile: {str(error).splitlines()[0][:200]}"
    return ""


def _placement(content: Mapping[str, Any]) -> Iterator[str]:
    """Every argument of an http tool needs a place, and what stands in a path has to be there."""
    agreed, schema = content["transport"], content["input_schema"]
    declared = schema.get("properties", {})
    in_path, in_query = _PARAMETER.findall(agreed["path"]), agreed.get("query", [])
    if any(part in {".", ".."} for part in agreed["path"].split("/")):
        yield "transport.path: it must not have the parts . and .."
    for name in in_path:
        if name not in schema.get("required", []):
            yield f"transport.path: {name} must be a required argument of input_schema."
    for name in sorted({*in_path, *in_query}):
        if (name in in_path and name in in_query) or in_path.count(name) > 1:
            yield f"transport: {name} has two places."
        if name not in declared:
            yield f"transport: input_schema describes no argument {name}."
    if agreed["method"] in {"GET", "DELETE"}:
        if left := sorted(declared.keys() - {*in_path, *in_query}):
            yield f"transport: {agreed['method']} has no body for {', '.join(left)}; name them in query."
        if schema.get("additionalProperties") is not False:
            yield "input_schema: it must say additionalProperties: false, since other arguments have no place."


def _reaches(schema: Any, steps: list[str], whole: Mapping[str, Any]) -> bool:
    if not steps or not isinstance(schema, dict):
        return True
    if "$ref" in schema:
        return True  # Followed when arguments are checked; here it is enough that it may be there.
    step = steps[0].replace("~1", "/").replace("~0", "~")
    if "items" in schema or schema.get("type") == "array":
        return _reaches(schema.get("items", {}), steps[1:], whole)
    if step in schema.get("properties", {}):
        return _reaches(schema["properties"][step], steps[1:], whole)
    choices = [one for name in ("anyOf", "oneOf", "allOf") for one in schema.get(name, [])]
    if choices:
        return any(_reaches(one, steps, whole) for one in choices)
    return schema.get("additionalProperties", "properties" not in schema) is not False and "properties" not in schema


def _template(content: Mapping[str, Any]) -> Iterator[str]:
    if content.get("dialect", "strict") != "jinja2":
        return
    environment = jinja2.sandbox.ImmutableSandboxedEnvironment(undefined=jinja2.StrictUndefined)
    try:
        tree = environment.parse(content["template"])
    except jinja2.TemplateError as error:
        yield f"the template does not parse: {error}"
        return
    declared = set(content["variables"].get("properties", {}))
    for name in sorted(jinja2.meta.find_undeclared_variables(tree) - declared):
        yield f"the template uses {name!r}, which `variables` does not declare."
    if any(jinja2.meta.find_referenced_templates(tree)):
        yield "the template includes another one."
