"""The config app holds commands and wiring; it owns no tables."""

from django.apps import AppConfig


class Config(AppConfig):
    name = "config"
