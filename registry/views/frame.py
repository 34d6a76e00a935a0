"""What every page of a workspace shares: who visits it, the part of it that moves, and how a refusal is shown."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import wraps
from typing import Any, Concatenate, ParamSpec

from django.contrib.auth.decorators import login_required
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBase, HttpResponseNotModified
from django.shortcuts import redirect, render
from django.utils import timezone
from django.utils.http import urlencode
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods

from audit.refusal import Refusal
from registry import holdings
from registry.holdings import Holding
from registry.models import Environment, Membership, Person, Workspace

P = ParamSpec("P")
KEPT = ("verdict", "comment", "role", "reason")  # what a form shows again after a refusal or a proof
_TYPED = "placet_typed"
ENVIRONMENT_COOKIE = "placet_environment"
PART_HEADER = "Placet-Part"  # names the part of a page that an answer is, so that the script puts nothing else there


@dataclass(frozen=True, slots=True)
class Visit:
    """A member on a page of their workspace.

    :param held: their grants, all that stand. They decide which buttons appear, never what is allowed.
    :param environments: of the workspace, the protected ones last.
    :param environment: the one that the visitor chose to look at; None: all of them.
    :param now: when the request came in; UTC.
    """

    workspace: Workspace
    person: Person
    held: Holding
    environments: Sequence[Environment]
    environment: Environment | None
    now: datetime
    correlation_id: str

    @property
    def roles(self) -> frozenset[str]:
        """Return the roles that the visitor holds anywhere in the workspace: enough to look, never to decide."""
        return self.held.everywhere()

    @property
    def sorted_roles(self) -> list[str]:
        """Return the roles in a steady order."""
        return sorted(self.roles)

    def roles_in(self, environment: Environment | None) -> frozenset[str]:
        """Return the roles that count in `environment`; None: for the whole workspace."""
        return self.held.roles(environment)


def page(
    *methods: str,
) -> Callable[[Callable[Concatenate[HttpRequest, Visit, P], HttpResponseBase]], Callable[..., HttpResponseBase]]:
    """Make a view of `view(request, visit, …)`: members only, never cached; to anybody else the page does not exist."""

    def decorate(
        view: Callable[Concatenate[HttpRequest, Visit, P], HttpResponseBase],
    ) -> Callable[..., HttpResponseBase]:
        @wraps(view)
        @never_cache
        @require_http_methods(list(methods or ("GET", "HEAD")))
        @login_required
        def shown(request: HttpRequest, slug: str, *args: P.args, **kwargs: P.kwargs) -> HttpResponseBase:
            try:
                _refuse_nul(request)
                return view(request, visit(request, slug), *args, **kwargs)
            except Refusal as refusal:
                if refusal.status == 404:
                    raise Http404(refusal.detail) from refusal
                return refused(request, refusal)

        shown.methods = methods or ("GET", "HEAD")  # type: ignore[attr-defined]  # the tests ask for each of them
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
    environments = list(Environment.objects.filter(workspace=member.workspace_id).order_by("protected", "name"))
    chosen = request.COOKIES.get(ENVIRONMENT_COOKIE)
    made = Visit(
        member.workspace,
        person,
        holdings.of([person.pk], member.workspace_id)[person.pk],
        environments,
        next((each for each in environments if each.name == chosen), None),
        timezone.now(),
        str(getattr(request, "correlation_id", "")),
    )
    request.visit = made  # type: ignore[attr-defined]  # the navigation reads it
    return made


def asked_part(request: HttpRequest) -> str:
    """Return the id of the part of the page that its script asks for; "" where somebody asks for the whole."""
    return request.headers.get("HX-Target", "") if request.headers.get("HX-Request") == "true" else ""


def live(
    request: HttpRequest, whole: str, part: str, context: Mapping[str, Any], *, name: str, version: object
) -> HttpResponse:
    """Answer with a page, or, to its script, with the one part of it that moves: 304 as long as nothing moved.

    :param whole: template of the page, which includes `part`. :param part: template of an element whose id is `name`
        and that has the attributes of the tag `live`. :param version: its `repr` differs when the part does.
    """
    tag = f'"{hashlib.sha256(repr(version).encode()).hexdigest()[:24]}"'
    wanted = asked_part(request) == name
    response: HttpResponse
    if wanted and request.headers.get("If-None-Match") == tag:
        response = HttpResponseNotModified()
    else:
        response = render(request, part if wanted else whole, {**context, "live_tag": tag})
    if wanted:
        response.headers["ETag"] = tag
        response.headers[PART_HEADER] = name
    return response


def _refuse_nul(request: HttpRequest) -> None:
    """Refuse what the database cannot store, before it gets there."""
    given = [*request.GET.values(), *request.POST.values(), request.path]
    if any("\x00" in text for text in given if isinstance(text, str)):
        raise Refusal("text_invalid", "The character U+0000 cannot stand in a text; take it out.")


def refused(request: HttpRequest, refusal: Refusal) -> HttpResponse:
    """Return a page of its own for a refusal that has no form to go back to."""
    context = {"title": "Not done", "detail": refusal.detail, "code": refusal.code}
    return render(request, "error.html", context, status=refusal.status)


def confirm(request: HttpRequest, there: str) -> HttpResponse:
    """Lead to the proof that a decision asks for, and keep what was typed until the visitor is back at `there`."""
    typed = {name: request.POST[name] for name in KEPT if request.POST.get(name)}
    request.session[_TYPED] = {"there": there, "typed": typed}
    return redirect(f"/account/confirm/?{urlencode({'next': there})}")


def typed(request: HttpRequest) -> dict[str, str]:
    """Return what was typed here before the visitor was led away, once."""
    held = request.session.get(_TYPED)
    if not held or held["there"] != request.path:
        return {}
    del request.session[_TYPED]
    found: dict[str, str] = held["typed"]
    return found
