"""The registry as a Django app."""

from django.apps import AppConfig


class RegistryConfig(AppConfig):
    """Registers the registry's events with the trail."""

    name = "registry"
    default_auto_field = "django.db.models.UUIDField"
