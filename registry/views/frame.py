"""What every page of a workspace shares: who visits it, and how a refusal is shown."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from functools import wraps
from typing import Concatenate, ParamSpec

from django.contrib.auth.decorators import login_required
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils import timezone
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods

from audit.refusal import Refusal
from registry import memberships
from registry.models import Environment, Membership, Person, Workspace

P = ParamSpec("P")


@dataclass(frozen=True, slots=True)
class Visit:
    """A member on a page of their workspace.

    :param roles: what they hold anywhere in the workspace. Decides which buttons appear, never what is allowed.
    :param now: when the request came in; UTC.
    """

    workspace: Workspace
    person: Person
    roles: frozenset[str]
    now: datetime
    correlation_id: str

    @property
    def sorted_roles(self) -> list[str]:
        """Return the roles in a steady order."""
        return sorted(self.roles)

    def roles_in(self, environment: Environment | None) -> frozenset[str]:
        """Return the roles that count in `environment`; None: for the whole workspace."""
        return memberships.roles_of(self.person, self.workspace.pk, environment)


def page(
    *methods: str,
) -> Callable[[Callable[Concatenate[HttpRequest, Visit, P], HttpResponse]], Callable[..., HttpResponse]]:
    """Make a view of `view(request, visit, …)`: members only, never cached; to anybody else the page does not exist."""

    def decorate(view: Callable[Concatenate[HttpRequest, Visit, P], HttpResponse]) -> Callable[..., HttpResponse]:
        @wraps(view)
        @never_cache
        @require_http_methods(list(methods or ("GET", "HEAD")))
        @login_required
        def shown(request: HttpRequest, slug: str, *args: P.args, **kwargs: P.kwargs) -> HttpResponse:
            try:
                _refuse_nul(request)
                return view(request, visit(request, slug), *args, **kwargs)
            except Refusal as refusal:
                if refusal.status == 404:
                    raise Http404(refusal.detail) from refusal
                return refused(request, refusal)

        return shown

    return decorate


def visit(request: HttpRequest, slug: str) -> Visit:
    """Return the visit. :raises Http404: no such workspace, or none of theirs."""
    person = request.user
    if not isinstance(person, Person):
        raise Http404
    member = (
        Membership.objects.select_related("workspace").filter(workspace__slug=slug, person=person, active=True).first()
    )
    if member is None:
        raise Http404
    roles = memberships.roles_anywhere(person, member.workspace_id)
    made = Visit(member.workspace, person, roles, timezone.now(), str(getattr(request, "correlation_id", "")))
    request.visit = made  # type: ignore[attr-defined]  # the navigation reads it
    return made


def _refuse_nul(request: HttpRequest) -> None:
    """Refuse what the database cannot store, before it gets there."""
    given = [*request.GET.values(), *request.POST.values(), request.path]
    if any("\x00" in text for text in given if isinstance(text, str)):
        raise Refusal("text_invalid", "The character U+0000 cannot stand in a text; take it out.")


def refused(request: HttpRequest, refusal: Refusal) -> HttpResponse:
    """Return a page of its own for a refusal that has no form to go back to."""
    context = {"title": "Not done", "detail": refusal.detail, "code": refusal.code}
    return render(request, "error.html", context, status=refusal.status)
