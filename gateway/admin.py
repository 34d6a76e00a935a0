"""The gateway's rows in the read-only back office; keys and fingerprints are left out."""

from django.contrib import admin

from gateway import models
from registry.admin import ReadOnly, ReadOnlyWithHistory


@admin.register(models.Credential)
class CredentialAdmin(ReadOnlyWithHistory):
    """Credentials, without their keys."""


@admin.register(models.Key)
class KeyAdmin(ReadOnly):
    """Keys, by their first characters."""

    hidden = ("hash",)


@admin.register(models.Call)
class CallAdmin(ReadOnly):
    """Calls; what was asked and answered is sealed elsewhere."""

    hidden = ("fingerprint",)


@admin.register(
    models.Session,
    models.SessionLabel,
    models.Token,
    models.Attempt,
    models.Hold,
    models.HoldApproval,
    models.Counter,
    models.Breaker,
    models.State,
    models.RetryBudget,
    models.DecisionLog,
    models.Alarm,
)
class RowAdmin(ReadOnly):
    """Sessions with their labels, attempts, holds with their verdicts, counters, breakers, alarms."""
