"""Who may call: credentials and their keys."""

from typing import ClassVar

from django.conf import settings
from django.db import models
from django.db.models import Q

from registry.models.row import Row, history, texts


class Credential(Row):
    """What an agent, an application in front of it, or our own executor acts as. It stays the same when keys rotate."""

    class Kind(models.TextChoices):
        AGENT = "agent", "agent: makes calls"
        OPENER = "opener", "opener: opens sessions for people, makes no calls"
        FEDERATED = "federated", "federated: makes calls with JWTs of the organisation's provider, has no key"
        EXECUTOR = "executor", "executor: our own durable executor, has no secret"

    workspace = models.ForeignKey("registry.Workspace", models.PROTECT, related_name="+")
    environment = models.TextField()
    agent = models.TextField()
    kind = models.TextField(choices=Kind, default=Kind.AGENT)
    name = models.TextField(blank=True, default="", help_text="What people call it.")
    owner = models.ForeignKey(settings.AUTH_USER_MODEL, models.PROTECT, null=True, related_name="+")
    trust = models.ForeignKey("gateway.Trust", models.PROTECT, null=True, related_name="credentials")
    subject = models.TextField(
        blank=True, default="", db_default="", help_text="Federated: the exact value of the claim."
    )
    scopes = texts()
    created_at = models.DateTimeField(db_default=models.functions.Now())
    created_by = models.TextField(help_text="Actor.")
    expires_at = models.DateTimeField(null=True, help_text="Of its newest key; null for the executor.")
    revoked_at = models.DateTimeField(null=True)
    revoked_by = models.TextField(blank=True, default="")

    history = history()

    class Meta:
        constraints: ClassVar = [
            models.CheckConstraint(
                condition=Q(kind="executor", owner__isnull=True, expires_at__isnull=True)
                | (~Q(kind="executor") & Q(owner__isnull=False, expires_at__isnull=False)),
                name="credential_owner_fits_kind",
            ),
            # Who calls tools cannot also vouch for what a user asked.
            models.CheckConstraint(
                condition=Q(kind="opener", scopes__contains=["sessions:open"])
                | (~Q(kind="opener") & ~Q(scopes__contains=["sessions:open"])),
                name="credential_only_openers_open",
            ),
            models.CheckConstraint(
                condition=Q(kind="federated", trust__isnull=False) & ~Q(subject="")
                | (~Q(kind="federated") & Q(trust__isnull=True, subject="")),
                name="credential_trust_fits_kind",
            ),
            models.UniqueConstraint(
                fields=["trust", "subject"],
                condition=Q(kind="federated", revoked_at=None),
                name="credential_one_of_a_subject",
            ),
            models.UniqueConstraint(
                fields=["workspace", "environment", "agent"],
                condition=Q(kind="executor"),
                name="credential_one_executor",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.kind} {self.agent}@{self.environment}"


class Key(Row):
    """One secret of a credential. Two are valid while they overlap; only the hash is kept."""

    credential = models.ForeignKey(Credential, models.PROTECT, related_name="keys")
    prefix = models.TextField(help_text="The first characters, to recognise it by.")
    hash = models.BinaryField(unique=True, help_text="SHA-256 of the key.")
    created_at = models.DateTimeField(db_default=models.functions.Now())
    expires_at = models.DateTimeField()
    last_used_at = models.DateTimeField(null=True)

    def __str__(self) -> str:
        return self.prefix
