"""The gateway app: tells the trail its events, and the bundler which policies are still in use."""

from django.apps import AppConfig

from audit import events
from gateway.events import EVENTS


class GatewayConfig(AppConfig):
    """Wires the gateway into the apps below it."""

    name = "gateway"

    def ready(self) -> None:
        """Register what the lower apps have to know."""
        from gateway import conditions, reach, sessions  # noqa: PLC0415 - models cannot be imported before the apps are ready
        from registry import bundles, stops  # noqa: PLC0415

        events.register(EVENTS)
        bundles.register_draining(sessions.policies_in_use)
        stops.register_reach(reach.of)
        conditions.register()
