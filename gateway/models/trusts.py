"""Whose bearer JWTs are believed, and the keys that sign them."""

from typing import ClassVar

from django.db import models
from django.db.models import Q

from registry.models.row import Row, history, texts


class Trust(Row):
    """An issuer outside whose JWTs are believed in one environment of one workspace.

    `claim` names the claim whose exact value is the subject of a federated credential. Keys come from `jwks_url`, or
    stand in the row (`jwks`).
    """

    workspace = models.ForeignKey("registry.Workspace", models.PROTECT, related_name="+")
    environment = models.TextField()
    name = models.TextField()
    issuer = models.TextField()
    audience = models.TextField(help_text="What the token must have been issued for (RFC 8707).")
    jwks_url = models.TextField(blank=True, default="")
    jwks = models.JSONField(null=True)
    algorithms = texts()
    claim = models.TextField(default="sub")
    behalf_claim = models.TextField(blank=True, default="", help_text="The claim that says for whom; empty: none.")
    longest_seconds = models.IntegerField(default=3600)
    created_at = models.DateTimeField(db_default=models.functions.Now())
    created_by = models.TextField(help_text="Actor.")
    revoked_at = models.DateTimeField(null=True)
    revoked_by = models.TextField(blank=True, default="")

    history = history()

    class Meta:
        constraints: ClassVar = [
            # A token leads to one workspace, never to a choice between several.
            models.UniqueConstraint(
                fields=["issuer", "audience"], condition=Q(revoked_at=None), name="trust_issuer_audience_unique"
            ),
            models.CheckConstraint(condition=Q(jwks__isnull=True) ^ Q(jwks_url=""), name="trust_keys_from_one_place"),
        ]

    def __str__(self) -> str:
        return f"{self.name}: {self.issuer}"


class KeySet(Row):
    """The keys that were last fetched for a trust, shared by all processes; `tried_at` bounds how often one asks."""

    trust = models.OneToOneField(Trust, models.PROTECT, related_name="fetched")
    jwks = models.JSONField(null=True)
    fetched_at = models.DateTimeField(null=True)
    tried_at = models.DateTimeField()
    failure = models.TextField(blank=True, default="")

    def __str__(self) -> str:
        return f"keys of {self.trust_id}"
