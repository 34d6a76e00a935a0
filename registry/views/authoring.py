"""Write a new version in the browser, and ask for its approval in the same step."""

from typing import Any

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render

from audit.refusal import Refusal
from registry import proposals, versions, workspaces
from registry.models import Kind, Version
from registry.views import catalogue, forms
from registry.views.frame import Visit, page

MOST_CHOICES = 500


@page("GET", "HEAD", "POST")
def edition(request: HttpRequest, visit: Visit, kind: str, name: str, number: int) -> HttpResponse:
    """Show the content of a version as a form; store what comes back as a new version, and propose it if asked to."""
    base = catalogue.find(visit, kind, name, number)
    those = forms.fields(kind, versions.content_of(base), _pinnable(base))
    if request.method != "POST":
        return _show(request, visit, base, those)
    those = forms.filled(those, {name: str(value) for name, value in request.POST.items()})
    how: dict[str, Any] = {"now": visit.now, "correlation_id": visit.correlation_id}
    try:
        content = forms.content(kind, those)
        newest = base.artifact.count
        version = versions.create(visit.workspace, kind=kind, name=name, content=content, actor=visit.person, **how)
    except Refusal as refusal:
        return _show(request, visit, base, forms.faulted(those, _errors(refusal)), refusal)
    stored = f"Stored as version {version.number}."
    if version.number <= newest:
        stored = f"These are the bytes of version {version.number}: no new one was made."
    return _proposed(request, visit, version, stored, how)


def _proposed(request: HttpRequest, visit: Visit, version: Version, stored: str, how: dict[str, Any]) -> HttpResponse:
    wanted = request.POST.get("propose", "")
    if wanted:
        try:
            charter = version.kind == Kind.CHARTER
            where = None if charter else workspaces.environment(visit.workspace.pk, wanted)
            reason = request.POST.get("reason", "")
            row = proposals.open(version, where, proposer=visit.person, reason=reason, **how)
        except Refusal as refusal:
            messages.success(request, stored)
            return catalogue.show(request, visit, version, refusal)
        messages.success(request, f"{stored} The proposal is open. Its reviewers see it in their queue.")
        return redirect("pages:proposal", visit.workspace.slug, row.pk)
    messages.success(request, stored)
    return redirect("pages:version", visit.workspace.slug, version.kind, version.name, version.number)


def _show(
    request: HttpRequest, visit: Visit, base: Version, those: list[forms.Field], refusal: Refusal | None = None
) -> HttpResponse:
    context = {
        "version": base,
        "fields": those,
        "environments": visit.environments,
        "may_write": bool(visit.roles & {"author"}),
        "refusal": refusal,
        "given": {name: request.POST.get(name, "") for name in ("propose", "reason")},
    }
    return render(request, "registry/edition.html", context, status=refusal.status if refusal else 200)


def _errors(refusal: Refusal) -> list[tuple[str, str]]:
    """Return (field, words) of each thing that is wrong with the content; nothing if it is about the visitor."""
    listed: Any = refusal.extra.get("errors") or [{"field": refusal.field or forms.REST, "detail": refusal.detail}]
    return [(str(one["field"]), str(one["detail"])) for one in listed] if refusal.status in (400, 409, 413) else []


def _pinnable(base: Version) -> list[Version]:
    """Return the versions that a release could pin instead of what it does, the newest first."""
    if base.kind != Kind.AGENT:
        return []
    rows = Version.objects.filter(artifact__versions__pinned_by__version=base)
    usable = rows.exclude(lifecycle__state__in=("retired", "revoked")).defer("content").distinct()
    return list(usable.order_by("-number")[:MOST_CHOICES])
