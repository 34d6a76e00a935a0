"""The gateway app: registers its events and tells the bundler which policies are still in use."""

from django.apps import AppConfig


class GatewayConfig(AppConfig):
    name = "gateway"
