"""Policy decision points: which of them serves what, and the credentials of those that are not our own processes."""

from typing import ClassVar

from django.db import models
from django.db.models import Q
from django.db.models.functions import Now

from registry.models.people import Environment, Workspace
from registry.models.row import Row


class Pdp(Row):
    """A policy decision point and the revision that it serves for one environment. Stale after 30 s of silence."""

    kind = models.CharField(max_length=20)
    name = models.CharField(max_length=200, help_text="Of an OPA: its label `id`.")
    environment = models.ForeignKey(Environment, on_delete=models.PROTECT, related_name="pdps")
    revision = models.CharField(max_length=100, blank=True, default="")
    version = models.TextField(blank=True, default="", db_default="", help_text="Of the engine, as it says.")
    problem = models.TextField(blank=True, default="", db_default="", help_text="Why it has not taken the newest.")
    last_seen = models.DateTimeField()

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["kind", "name", "environment"], name="pdp_unique"),
            models.CheckConstraint(name="pdp_kind", condition=Q(kind__in=["embedded", "opa"])),
        ]

    def __str__(self) -> str:
        return f"{self.kind} {self.name}"


class PdpCredential(Row):
    """What the decision points of one environment show to get its bundles and to report. It opens no other door."""

    class Kind(models.TextChoices):
        OPA = "opa", "opa: an OPA server"

    workspace = models.ForeignKey(Workspace, on_delete=models.PROTECT, related_name="+")
    environment = models.ForeignKey(Environment, on_delete=models.PROTECT, related_name="+")
    kind = models.TextField(choices=Kind, default=Kind.OPA)
    name = models.TextField(blank=True, default="", help_text="What people call it.")
    created_at = models.DateTimeField(db_default=Now())
    created_by = models.TextField(help_text="Actor.")
    expires_at = models.DateTimeField(help_text="Of its newest key.")
    revoked_at = models.DateTimeField(null=True)
    revoked_by = models.TextField(blank=True, default="")

    class Meta:
        constraints: ClassVar = [
            models.CheckConstraint(name="pdp_credential_kind", condition=Q(kind__in=["opa"])),
        ]

    def __str__(self) -> str:
        return f"{self.kind} {self.name}".strip()


class PdpKey(Row):
    """One secret of such a credential. Two are valid while they overlap; only the hash is kept."""

    credential = models.ForeignKey(PdpCredential, on_delete=models.PROTECT, related_name="keys")
    prefix = models.TextField(help_text="The first characters, to recognise it by.")
    hash = models.BinaryField(unique=True, help_text="SHA-256 of the key.")
    created_at = models.DateTimeField(db_default=Now())
    expires_at = models.DateTimeField()
    last_used_at = models.DateTimeField(null=True)

    def __str__(self) -> str:
        return self.prefix
