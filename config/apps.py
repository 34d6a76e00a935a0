"""The config app holds commands and wiring; it owns no tables."""

from importlib import import_module

from django.apps import AppConfig


class Config(AppConfig):
    name = "config"

    def ready(self) -> None:
        """Make config.celery the Celery of this process: whoever rings the doorbell then rings the right one."""
        import_module("config.celery")
        import_module("config.identity.records")
