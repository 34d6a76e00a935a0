"""The agents app: tells the trail its events."""

from django.apps import AppConfig

from agents.events import EVENTS
from audit import events


class AgentsConfig(AppConfig):
    """Wires the executor into the apps below it."""

    name = "agents"

    def ready(self) -> None:
        """Register what the lower apps have to know."""
        events.register(EVENTS)
