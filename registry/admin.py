"""The back office looks and never touches: read-only for operators and admins, in their own workspaces alone."""

from typing import TYPE_CHECKING, Any

from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.db.models import Field, Model, QuerySet
from django.http import Http404, HttpRequest, HttpResponse
from simple_history.admin import SimpleHistoryAdmin

from registry import models
from registry.back_office import entitled, way

SEARCHED = ("name", "username", "email", "slug", "agent", "environment_name", "digest", "state", "kind", "code")

if TYPE_CHECKING:
    Base = admin.ModelAdmin[Model]
else:
    Base = admin.ModelAdmin


class ReadOnly(Base):
    """Shows the rows of one's own workspaces. There is nothing to add, change, delete or run."""

    actions = None
    list_per_page = 50
    show_full_result_count = False
    hidden: tuple[str, ...] = ()

    def has_add_permission(self, request: HttpRequest, *args: Any) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False

    def has_view_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        if obj is None:
            return bool(entitled(request))
        return self.get_queryset(request).filter(pk=obj.pk).exists()

    def has_module_permission(self, request: HttpRequest) -> bool:
        return self.has_view_permission(request)

    def get_queryset(self, request: HttpRequest) -> "QuerySet[Model]":
        """Return the rows of the visitor's workspaces; none, where no column leads to a workspace."""
        path = way(self.model)
        rows = self.model._default_manager.all()
        if path is None:
            return rows.none()
        found = rows.filter(**{f"{path}__in": entitled(request)}).order_by("-pk")
        return found.distinct() if path.startswith("memberships") else found

    def lookup_allowed(self, lookup: str, value: str, request: HttpRequest | None = None) -> bool:
        """Refuse to filter by what is not shown: the answer would tell it, letter by letter."""
        return lookup.partition("__")[0] in self._columns() and "__" not in lookup.removesuffix("__exact")

    def get_fields(self, request: HttpRequest, obj: Model | None = None) -> Any:
        """Show every column but those of bytes and secrets."""
        return self._columns()

    def get_readonly_fields(self, request: HttpRequest, obj: Model | None = None) -> Any:
        """Show all of them as text: no form has an input."""
        return self.get_fields(request, obj)

    def get_list_display(self, request: HttpRequest) -> Any:
        """List the short columns."""
        return ["__str__", *[field.name for field in self.model._meta.fields if _short(field, self.hidden)][:8]]

    def get_list_filter(self, request: HttpRequest) -> Any:
        """Filter by what has a fixed list of values: any other list would name rows of other workspaces."""
        fields = [field for field in self.model._meta.fields if field.name in self._columns()]
        return [field.name for field in fields if field.choices or field.get_internal_type() == "BooleanField"]

    def get_search_fields(self, request: HttpRequest) -> Any:
        """Search the texts that people know rows by."""
        return [name for name in SEARCHED if name in self._columns()]

    def _columns(self) -> list[str]:
        fields = self.model._meta.fields
        return [f.name for f in fields if f.name not in self.hidden and f.get_internal_type() != "BinaryField"]


class ReadOnlyWithHistory(ReadOnly, SimpleHistoryAdmin):  # type: ignore[misc]
    """Shows what changed on a row, too; nothing can be reverted from there."""

    def has_view_history_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return self.has_view_permission(request, obj)

    def has_change_history_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False

    def revert_disabled(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return True

    def history_view(self, request: HttpRequest, object_id: str, extra_context: Any = None) -> HttpResponse:
        if self.get_object(request, object_id) is None:
            raise Http404
        response: HttpResponse = super().history_view(request, object_id, extra_context)
        return response

    def history_form_view(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        # The package's own view saves what is posted although the visitor may only look.
        if request.method != "GET":
            raise PermissionDenied
        # It also finds past rows by id alone, whoever's they are.
        if self.get_object(request, args[0] if args else kwargs["object_id"]) is None:
            raise Http404
        response: HttpResponse = super().history_form_view(request, *args, **kwargs)
        return response

    def save_model(self, request: HttpRequest, obj: Model, form: Any, change: bool) -> None:
        raise PermissionDenied


@admin.register(models.Person)
class PersonAdmin(ReadOnlyWithHistory):
    """Persons, without their password hashes."""

    hidden = ("password",)


@admin.register(models.Version)
class VersionAdmin(ReadOnly):
    """Versions; their content is on the pages made for it."""

    hidden = ("content",)


@admin.register(models.PdpKey)
class PdpKeyAdmin(ReadOnly):
    """Keys of decision points, without their hashes."""

    hidden = ("hash",)


@admin.register(models.Bundle)
class BundleAdmin(ReadOnly):
    """Bundles, without their bytes."""

    hidden = ("content",)


@admin.register(models.AccessToken)
class AccessTokenAdmin(ReadOnly):
    """Access tokens, by their first characters."""

    hidden = ("hash",)


@admin.register(models.DeviceLogin)
class DeviceLoginAdmin(ReadOnly):
    """Logins of devices, without the codes that complete them."""

    hidden = ("device_hash", "code")


admin.site.register(
    [models.Workspace, models.Artifact, models.Lifecycle, models.Pin, models.Provenance, models.Contributor], ReadOnly
)
admin.site.register(
    [
        models.Check,
        models.Approval,
        models.Activation,
        models.SlotHistory,
        models.Evidence,
        models.Pdp,
        models.Stop,
        models.PdpCredential,
    ],
    ReadOnly,
)
admin.site.register(
    [models.Environment, models.Membership, models.Grant, models.Proposal, models.Slot, models.Signer],
    ReadOnlyWithHistory,
)


def _short(field: "Field[Any, Any]", hidden: tuple[str, ...]) -> bool:
    return field.name not in hidden and field.get_internal_type() not in ("TextField", "JSONField", "BinaryField")
