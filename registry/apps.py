"""The registry as a Django app."""

from importlib import import_module

from django.apps import AppConfig

from audit import events
from registry.events import EVENTS


class RegistryConfig(AppConfig):
    """Registers the registry's events with the trail, and what it has to say in /metrics."""

    name = "registry"
    default_auto_field = "django.db.models.UUIDField"

    def ready(self) -> None:
        from registry import telemetry  # noqa: PLC0415 - models cannot be imported before the apps are ready

        events.register(EVENTS)
        # It listens to sign-ins: an approval says how fresh they were.
        import_module("registry.authentication")
        telemetry.register()
