"""The codes that a call can be denied, held or ended for: those of the policies that are live, and our own."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render

from agents import reasons as agents
from gateway import reasons as gateway
from registry import policies, versions
from registry.models import Slot, Version
from registry.views.frame import Visit, page

_GIVEN = re.compile(r'"code": "([a-z][a-z0-9_]*)", "message": "((?:[^"\\]|\\.)*)"')


@dataclass(frozen=True, slots=True)
class Code:
    """One code. `where`: the policies that give it; `passing`: the same key may be asked again."""

    code: str
    message: str
    where: str = ""
    passing: bool = False


@page()
def reasons(request: HttpRequest, visit: Visit) -> HttpResponse:
    """List the codes."""
    own = gateway.REASONS | agents.REASONS
    context = {
        "given": _given(visit),
        "known": [Code(code, said, passing=code in gateway.PASSING) for code, said in sorted(own.items())],
    }
    return render(request, "gateway/codes.html", context)


def _given(visit: Visit) -> list[Code]:
    """Return what the texts of the live policies give, by code."""
    found: dict[tuple[str, str], list[str]] = {}
    for where, modules in _live(visit):
        for text in modules.values():
            for code, message in _GIVEN.findall(text):
                places = found.setdefault((code, message), [])
                if where not in places:
                    places.append(where)
    return [Code(code, message, ", ".join(places)) for (code, message), places in sorted(found.items())]


def _live(visit: Visit) -> Iterator[tuple[str, Mapping[str, str]]]:
    yield "the floor", policies.shipped("floor")["modules"]
    slots = Slot.objects.filter(workspace=visit.workspace, environment__isnull=False, version__isnull=False)
    live = [slot.version_id for slot in slots if slot.version_id]
    pinned = Version.objects.filter(pinned_by__version__in=live, kind="policy")
    for version in (pinned | Version.objects.filter(pk__in=live, kind="policy")).distinct().order_by("name", "number"):
        yield f"{version.name} {version.number}", versions.content_of(version)["modules"]
