"""Who may read the trail is decided above: settings.PLACET_AUDIT_PERMISSION names the class that knows."""

from typing import Literal, Protocol
from uuid import UUID

from django.conf import settings
from django.utils.module_loading import import_string
from rest_framework.permissions import BasePermission
from rest_framework.request import Request
from rest_framework.views import APIView

from audit.refusal import not_found

Purpose = Literal["read", "export"]


class Reader(Protocol):
    """What the named class must offer."""

    def has_permission(self, request: Request, view: APIView) -> bool:
        """Say whether the caller is known at all."""

    def workspace(self, request: Request, reference: str, *, purpose: Purpose) -> UUID:
        """Return the id of the workspace with this slug or id. :raises Refusal: if the caller may not see its trail."""

    def actor(self, request: Request) -> str:
        """Return the caller as an actor of records."""


class Nobody:
    """Stands where no class is named: nobody may read anything."""

    def has_permission(self, request: Request, view: APIView) -> bool:
        return False

    def workspace(self, request: Request, reference: str, *, purpose: Purpose) -> UUID:
        raise not_found("workspace")

    def actor(self, request: Request) -> str:
        raise not_found("workspace")


def reader() -> Reader:
    """Return an instance of the class that decides."""
    name = getattr(settings, "PLACET_AUDIT_PERMISSION", None)
    chosen: Reader = import_string(name)() if name else Nobody()
    return chosen


class Injected(BasePermission):
    """Asks the named class."""

    def has_permission(self, request: Request, view: APIView) -> bool:
        return reader().has_permission(request, view)
