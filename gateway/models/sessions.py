"""Conversations and the labels that they carry."""

from typing import ClassVar

from django.db import models
from django.db.models import Q

from gateway.models.credentials import Credential
from registry.models.row import Row


class Session(Row):
    """An agent's conversation, bound to one credential and one release. Labels belong to the tree of its root."""

    class State(models.TextChoices):
        OPEN = "open"
        CLOSED = "closed"
        EXPIRED = "expired"

    class Source(models.TextChoices):
        USER = "user", "user: told to us by somebody who may vouch for it"
        CLAIMED = "claimed", "claimed: told to us by the agent itself"
        NONE = "none"

    workspace_id = models.UUIDField()
    environment = models.TextField()
    agent = models.TextField()
    release = models.TextField(help_text="Digest of the release that the session keeps.")
    policy = models.TextField(
        help_text="Digest of that release's policy: it stays in the bundle while the session is open."
    )
    credential = models.ForeignKey(Credential, models.PROTECT, null=True, related_name="+")
    opener = models.TextField(help_text="Actor who opened it.")
    on_behalf_of = models.TextField(null=True, blank=True)  # noqa: DJ001 - null is "nobody", as in the decision input
    request = models.UUIDField(null=True, help_text="Sealed: what the user asked for.")
    request_source = models.TextField(choices=Source, default=Source.NONE)
    parent = models.ForeignKey("self", models.PROTECT, null=True, related_name="+")
    root = models.ForeignKey("self", models.PROTECT, related_name="+", help_text="Owner of the tree's labels.")
    sticky = models.BooleanField(default=False, help_text="Of calls that name no session.")
    state = models.TextField(choices=State, default=State.OPEN)
    opened_at = models.DateTimeField(db_default=models.functions.Now())
    idle_seconds = models.IntegerField(null=True, help_text="Null for a sticky session, which only has an end.")
    expires_at = models.DateTimeField()
    closed_at = models.DateTimeField(null=True)

    class Meta:
        constraints: ClassVar = [
            models.CheckConstraint(condition=Q(state__in=["open", "closed", "expired"]), name="session_state"),
            models.CheckConstraint(condition=Q(request_source__in=["user", "claimed", "none"]), name="session_source"),
            models.UniqueConstraint(
                fields=["credential"], condition=Q(sticky=True, state="open"), name="session_one_sticky"
            ),
        ]
        indexes: ClassVar = [
            models.Index(fields=["workspace_id", "-id"], name="session_newest"),
            models.Index(fields=["expires_at"], condition=Q(state="open"), name="session_open"),
        ]

    def __str__(self) -> str:
        return f"{self.agent}@{self.environment} {self.id}"


class SessionLabel(Row):
    """A label of a session tree. Runtime roles may only insert: labels only grow."""

    root = models.ForeignKey(Session, models.PROTECT, related_name="labels")
    label = models.TextField()
    call = models.UUIDField(null=True, help_text="The call that brought it.")
    at = models.DateTimeField(db_default=models.functions.Now())

    class Meta:
        constraints: ClassVar = [models.UniqueConstraint(fields=["root", "label"], name="session_label_once")]
        indexes: ClassVar = [models.Index(fields=["label", "root"], name="session_label_of")]

    def __str__(self) -> str:
        return self.label


class Token(Row):
    """What stands for a value on its way to a tool or model. Valid in one tree of sessions; the value is sealed."""

    workspace_id = models.UUIDField()
    root = models.ForeignKey(Session, models.PROTECT, related_name="tokens")
    token = models.TextField()
    value = models.UUIDField(help_text="Sealed; gone when its data subject is erased.")
    call = models.UUIDField(help_text="The call that it was first made for.")
    at = models.DateTimeField(db_default=models.functions.Now())

    class Meta:
        constraints: ClassVar = [models.UniqueConstraint(fields=["root", "token"], name="token_once")]

    def __str__(self) -> str:
        return self.token
