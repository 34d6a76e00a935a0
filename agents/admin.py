"""Runs and steps in the admin: to look at, not to touch."""

from django.contrib import admin
from django.db.models import Model
from django.http import HttpRequest

from agents.models import Run, Step


class _ReadOnly(admin.ModelAdmin):  # type: ignore[type-arg]
    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False


@admin.register(Run)
class RunAdmin(_ReadOnly):
    list_display = ("id", "agent", "environment", "state", "wait", "code", "created_at")
    list_filter = ("state", "environment")
    ordering = ("-id",)


@admin.register(Step)
class StepAdmin(_ReadOnly):
    list_display = ("id", "run", "no", "kind", "name", "state", "code", "attempts")
    list_filter = ("state", "kind")
    ordering = ("-id",)
