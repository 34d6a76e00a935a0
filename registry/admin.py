"""The back office looks and never touches: every row is read-only, for everybody, superusers included."""

from typing import TYPE_CHECKING, Any

from django.contrib import admin
from django.contrib.auth.models import Group
from django.core.exceptions import PermissionDenied
from django.db.models import Field, Model
from django.http import HttpRequest, HttpResponse
from simple_history.admin import SimpleHistoryAdmin

from registry import models

if TYPE_CHECKING:
    Base = admin.ModelAdmin[Model]
else:
    Base = admin.ModelAdmin


class ReadOnly(Base):
    """Shows rows to staff. There is nothing to add, change, delete or run."""

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
        user: Any = request.user
        return bool(user.is_active and user.is_staff)

    def has_module_permission(self, request: HttpRequest) -> bool:
        return self.has_view_permission(request)

    def get_fields(self, request: HttpRequest, obj: Model | None = None) -> Any:
        """Show every column but those of bytes and secrets."""
        return [field.name for field in self.model._meta.fields if field.name not in self.hidden]

    def get_readonly_fields(self, request: HttpRequest, obj: Model | None = None) -> Any:
        """Show all of them as text: no form has an input."""
        return self.get_fields(request, obj)

    def get_list_display(self, request: HttpRequest) -> Any:
        """List the short columns."""
        return ["__str__", *[field.name for field in self.model._meta.fields if _short(field, self.hidden)][:8]]


class ReadOnlyWithHistory(ReadOnly, SimpleHistoryAdmin):  # type: ignore[misc]
    """Shows what changed on a row, too; nothing can be reverted from there."""

    def has_view_history_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return self.has_view_permission(request, obj)

    def has_change_history_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False

    def revert_disabled(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return True

    def history_form_view(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        # The package's own view saves what is posted although the visitor may only look.
        if request.method != "GET":
            raise PermissionDenied
        response: HttpResponse = super().history_form_view(request, *args, **kwargs)
        return response

    def save_model(self, request: HttpRequest, obj: Model, form: Any, change: bool) -> None:
        raise PermissionDenied


# Groups grant nothing here: what people may do are grants in a workspace.
admin.site.unregister(Group)


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
