"""The audit app: its own events are registered at start, as every app's are."""

from django.apps import AppConfig

from audit import events


class AuditConfig(AppConfig):
    name = "audit"

    def ready(self) -> None:
        """Register events, and what jobs do."""
        from audit import files, inspections, jobs  # noqa: PLC0415 - models cannot be imported before the apps are ready

        events.register(events.EVENTS)
        jobs.register(files.KIND, jobs.Work(files.write))
        jobs.register(inspections.KIND, jobs.Work(inspections.inspect, inspections.finish))
