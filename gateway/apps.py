"""The gateway app: tells the trail its events."""

from django.apps import AppConfig

from audit import events
from gateway.events import EVENTS


class GatewayConfig(AppConfig):
    """Wires the gateway into the apps below it."""

    name = "gateway"

    def ready(self) -> None:
        """Register what the lower apps have to know."""
        events.register(EVENTS)
