"""Runs and steps in the admin: to look at, not to touch."""

from django.contrib import admin

from agents.models import Run, Step
from registry.admin import ReadOnly


@admin.register(Run)
class RunAdmin(ReadOnly):
    """Runs."""


@admin.register(Step)
class StepAdmin(ReadOnly):
    """Steps."""
