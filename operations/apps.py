"""An empty app for now; objectives, drift, cost and incidents come later."""

from django.apps import AppConfig


class OperationsConfig(AppConfig):
    name = "operations"
