"""The audit app: its own events are registered at start, as every app's are."""

from django.apps import AppConfig

from audit import events


class AuditConfig(AppConfig):
    name = "audit"

    def ready(self) -> None:
        events.register(events.EVENTS)
