"""How a person lets a program act as them over REST: access tokens, and the logins by which a device gets one."""

from typing import ClassVar

from django.db import models
from django.db.models import Q

from registry.models.people import Person
from registry.models.row import Row


class AccessToken(Row):
    """A secret with which a program acts as a person. Only its hash is kept; it expires and can be revoked."""

    person = models.ForeignKey(Person, on_delete=models.PROTECT, related_name="access_tokens")
    name = models.CharField(max_length=200, help_text="What it is for: the machine that asked, as it calls itself.")
    prefix = models.TextField(help_text="The first characters, to recognise it by.")
    hash = models.BinaryField(unique=True, help_text="SHA-256 of the token.")
    created_at = models.DateTimeField()
    expires_at = models.DateTimeField()
    first_used_at = models.DateTimeField(null=True)
    last_used_at = models.DateTimeField(null=True)
    revoked_at = models.DateTimeField(null=True)
    revoked_by = models.TextField(blank=True, default="", help_text="Actor.")

    def __str__(self) -> str:
        return self.prefix


class DeviceLogin(Row):
    """One request of a program to act as whoever confirms it in a browser (RFC 8628). Short-lived, used once.

    It is no evidence: rows of yesterday are deleted. What was confirmed, refused and made is in the trail.
    """

    device_hash = models.BinaryField(unique=True, help_text="SHA-256 of what the program alone knows.")
    code = models.CharField(max_length=9, unique=True, help_text="What the person compares.")
    machine = models.CharField(max_length=200, help_text="As it calls itself: proves nothing.")
    address = models.GenericIPAddressField(null=True, help_text="Where the request came from.")
    hours = models.PositiveSmallIntegerField(help_text="Life of the token that was asked for.")
    state = models.CharField(max_length=20, default="pending")
    person = models.ForeignKey(Person, on_delete=models.PROTECT, null=True, related_name="+")
    created_at = models.DateTimeField()
    expires_at = models.DateTimeField()
    asked_at = models.DateTimeField(null=True, help_text="When the program last asked whether it was confirmed.")

    class Meta:
        constraints: ClassVar = [
            models.CheckConstraint(
                name="devicelogin_state",
                condition=Q(state="pending", person=None)
                | Q(state__in=["confirmed", "refused", "collected"], person__isnull=False),
            ),
        ]

    def __str__(self) -> str:
        return f"{self.machine}: {self.state}"
