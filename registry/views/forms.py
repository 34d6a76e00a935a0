"""The content of a version as fields that a person can edit, and back. PURE."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from audit import canonical
from audit.canonical import JSON
from audit.refusal import Refusal
from registry.models import Kind, Version
from registry.views.diff import escaped

REST = "rest"


@dataclass(frozen=True, slots=True)
class Field:
    """One field. `path`: the JSON pointer that it stands for, "" for what has no field of its own.

    :param choices: (value, words) of a select; None: a text area. :param errors: what is wrong with it, in words.
    """

    name: str
    label: str
    path: str
    value: str
    choices: Sequence[tuple[str, str]] | None = None
    errors: Sequence[str] = ()

    @property
    def rows(self) -> int:
        """Return how many lines the text area shows."""
        return max(4, min(30, self.value.count("\n") + 2))


def fields(kind: str, content: Mapping[str, Any], pinnable: Iterable[Version] = ()) -> list[Field]:
    """Return the fields of a content. :param pinnable: versions that a release may pin, the newest first."""
    apart: list[Field] = []
    rest = dict(content)
    if kind == Kind.PROMPT:
        apart.append(Field("template", "Template", "/template", str(rest.pop("template", ""))))
    if kind == Kind.POLICY:
        for member, label in (("modules", "Module"), ("tests", "Tests")):
            for name, text in sorted(rest.pop(member, {}).items()):
                apart.append(Field(f"{member}:{name}", f"{label} {name}", f"/{member}/{escaped(name)}", str(text)))
    if kind == Kind.AGENT:
        known = list(pinnable)
        for number, pin in enumerate(rest.pop("pins", [])):
            fit = [version for version in known if (version.kind, version.name) == (pin["kind"], pin["name"])]
            choices = [(version.digest, f"version {version.number}") for version in fit]
            label = f"{pin['kind'].capitalize()} {pin['name']}"
            name = f"pin:{pin['kind']}:{pin['name']}"
            apart.append(Field(name, label, f"/pins/{number}", pin["digest"], [*choices, ("", "leave it out")]))
    words = json.dumps(rest, indent=2, ensure_ascii=False, sort_keys=True)
    return [*apart, Field(REST, "Other members, as JSON" if apart else "Content, as JSON", "", words)]


def filled(those: Iterable[Field], given: Mapping[str, str]) -> list[Field]:
    """Return the fields with what somebody typed."""
    return [replace(one, value=_unix(given[one.name])) if one.name in given else one for one in those]


def content(kind: str, those: Iterable[Field]) -> dict[str, Any]:
    """Return the content that the fields make. :raises Refusal: if the other members are no JSON object."""
    found: dict[str, Any] = {}
    for one in those:
        if one.name == REST:
            found |= _object(one)
    for one in those:
        member, _, name = one.name.partition(":")
        if one.name == "template":
            found["template"] = one.value
        elif kind == Kind.POLICY and name:
            found.setdefault(member, {})[name] = one.value
        elif member == "pin" and one.value:
            pinned, _, name = name.partition(":")
            found.setdefault("pins", []).append({"kind": pinned, "name": name, "digest": one.value})
    return found


def faulted(those: Sequence[Field], errors: Iterable[tuple[str, str]]) -> list[Field]:
    """Return the fields with each error at the one that it is about. :param errors: (JSON pointer or name, words)."""
    told: dict[str, list[str]] = {}
    for where, words in errors:
        path = where.removeprefix("/content")
        fit = [one for one in those if one.path and (path == one.path or path.startswith(f"{one.path}/"))]
        name = where if any(one.name == where for one in those) else fit[0].name if fit else REST
        told.setdefault(name, []).append(words)
    return [replace(one, errors=told.get(one.name, ())) for one in those]


def _object(one: Field) -> dict[str, JSON]:
    value = canonical.loads(one.value.encode("utf-8", "surrogatepass"), field=one.name)
    if not isinstance(value, dict):
        raise Refusal("content_invalid", "This has to be a JSON object, in braces.", field=one.name)
    return value


def _unix(text: str) -> str:
    return text.replace("\r\n", "\n").replace("\r", "\n")
