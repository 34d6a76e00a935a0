"""The registry as a Django app."""

from django.apps import AppConfig

from audit import events
from registry.events import EVENTS


class RegistryConfig(AppConfig):
    """Registers the registry's events with the trail."""

    name = "registry"
    default_auto_field = "django.db.models.UUIDField"

    def ready(self) -> None:
        events.register(EVENTS)
