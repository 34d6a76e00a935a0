"""Who may look into the back office, and which rows are theirs."""

from functools import cache, wraps
from typing import Any
from uuid import UUID

from django.contrib import admin
from django.contrib.auth.views import redirect_to_login
from django.db.models import Model
from django.http import Http404, HttpRequest, HttpResponse

from registry import models

ENTITLED = (models.Role.OPERATOR, models.Role.ADMIN)
OURS = ("registry", "gateway", "agents", "operations")


class Site(admin.AdminSite):
    """The back office: for operators and admins, each in their own workspaces. To everybody else it is not there."""

    site_header = site_title = "Placet, back office"
    index_title = "Rows, to look at"

    def has_permission(self, request: HttpRequest) -> bool:
        """Say whether the visitor is an operator or admin somewhere; no flag of a person opens it."""
        return bool(entitled(request))

    def admin_view(self, view: Any, cacheable: bool = False) -> Any:
        """Guard each page: nobody is led to sign in, who has no role gets what an unknown address gets."""
        shown = super().admin_view(view, cacheable)

        @wraps(shown)
        def guarded(request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
            if not request.user.is_authenticated:
                return redirect_to_login(request.get_full_path(), "/login/")
            if not self.has_permission(request):
                raise Http404
            return shown(request, *args, **kwargs)

        return guarded

    def login(self, request: HttpRequest, extra_context: Any = None) -> HttpResponse:
        """Lead to the one page where people sign in."""
        return redirect_to_login("/admin/", "/login/")


def entitled(request: HttpRequest) -> frozenset[UUID]:
    """Return the workspaces of which the visitor is an operator or admin."""
    known: frozenset[UUID] | None = request.__dict__.get("placet_entitled")
    if known is None:
        person = request.user
        if not isinstance(person, models.Person) or not person.is_active:
            return frozenset()
        grants = models.Grant.objects.filter(
            membership__person_id=person.pk,
            membership__active=True,
            role__in=ENTITLED,
            environment=None,
            revoked_at=None,
        )
        known = frozenset(grants.values_list("membership__workspace_id", flat=True))
        request.__dict__["placet_entitled"] = known
    return known


@cache
def way(model: type[Model], seen: tuple[type[Model], ...] = ()) -> str | None:
    """Return the lookup that leads from a row to its workspace; None if there is none."""
    if model is models.Workspace:
        return "pk"
    if model is models.Person:
        return "memberships__workspace"
    fields = model._meta.concrete_fields
    direct = next((field.name for field in fields if field.name in ("workspace", "workspace_id")), None)
    if direct:
        return direct
    for field in fields:
        target = field.related_model
        if isinstance(target, type) and issubclass(target, Model) and target not in (*seen, model, models.Person):
            further = way(target, (*seen, model)) if target._meta.app_label in OURS else None
            if further:
                return f"{field.name}__{further}".removesuffix("__pk")
    return None
