"""Whose signed statements about versions count."""

from typing import ClassVar

from django.db import models
from django.db.models import F, Q

from registry.models.people import Person, Workspace
from registry.models.row import Row, history


class Signer(Row):
    """A key, usually of a build system, whose statements the workspace believes until it is revoked.

    `confirmed_at` is when a second admin agreed: before, it counts for nothing in a protected environment.
    """

    workspace = models.ForeignKey(Workspace, on_delete=models.PROTECT, related_name="signers")
    name = models.CharField(max_length=200)
    public_key = models.TextField(help_text="PEM: Ed25519, or ECDSA on P-256.")
    fingerprint = models.CharField(max_length=71, help_text="sha256 of its SubjectPublicKeyInfo.")
    added_by = models.ForeignKey(Person, on_delete=models.PROTECT, related_name="+")
    added_at = models.DateTimeField()
    confirmed_by = models.ForeignKey(Person, on_delete=models.PROTECT, null=True, related_name="+")
    confirmed_at = models.DateTimeField(null=True)
    revoked_by = models.ForeignKey(Person, on_delete=models.PROTECT, null=True, related_name="+")
    revoked_at = models.DateTimeField(null=True)

    history = history()

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["workspace", "fingerprint"], name="signer_unique", condition=Q(revoked_at=None)
            ),
            models.CheckConstraint(
                name="signer_confirmed_by_another", condition=Q(confirmed_by=None) | ~Q(confirmed_by=F("added_by"))
            ),
        ]

    def __str__(self) -> str:
        return self.name
