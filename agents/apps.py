"""The agents app: tells the trail its events."""

from django.apps import AppConfig

from agents.events import EVENTS
from audit import events


class AgentsConfig(AppConfig):
    """Wires the executor into the apps below it."""

    name = "agents"

    def ready(self) -> None:
        """Register what the lower apps have to know."""
        from agents import conditions, frozen  # noqa: PLC0415 - models cannot be imported before the apps are ready
        from registry import stops  # noqa: PLC0415

        events.register(EVENTS)
        stops.register_reach(frozen.of)
        conditions.register()
