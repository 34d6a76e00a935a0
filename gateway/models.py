"""What the gateway remembers: who may call, in which session, which call was claimed, decided, parked and finished.

Calls, sessions and holds carry plain ids of workspaces and people: these rows outlive neither, and the call path
reads them by raw cursors. What must be provable stands in the trail; these rows may be erased.
"""

from typing import Any, ClassVar

from django.conf import settings
from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import F, Q

from registry.models.row import Row, history


def texts(**options: Any) -> Any:
    """Return a column of short texts, empty by default."""
    return ArrayField(models.TextField(), default=list, blank=True, **options)


class Credential(Row):
    """What an agent, an application in front of it, or our own executor acts as. It stays the same when keys rotate."""

    class Kind(models.TextChoices):
        AGENT = "agent", "agent: makes calls"
        OPENER = "opener", "opener: opens sessions for people, makes no calls"
        EXECUTOR = "executor", "executor: our own durable executor, has no secret"

    workspace = models.ForeignKey("registry.Workspace", models.PROTECT, related_name="+")
    environment = models.TextField()
    agent = models.TextField()
    kind = models.TextField(choices=Kind, default=Kind.AGENT)
    name = models.TextField(blank=True, default="", help_text="What people call it.")
    owner = models.ForeignKey(settings.AUTH_USER_MODEL, models.PROTECT, null=True, related_name="+")
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

    def __str__(self) -> str:
        return self.label


class Call(Row):
    """The claim of one call: one per (workspace, credential, key) is live. Its state moves in gateway.calls alone."""

    class State(models.TextChoices):
        CLAIMED = "claimed", "claimed: nothing decided yet"
        DECIDED = "decided", "decided: allowed and under way"
        PARKED = "parked", "parked: waits for a person"
        DENIED = "denied"
        COMPLETED = "completed"
        FAILED = "failed", "failed: not executed, or its result is withheld"
        UNKNOWN = "unknown", "unknown: it may have happened"

    workspace_id = models.UUIDField()
    environment = models.TextField()
    agent = models.TextField()
    credential = models.ForeignKey(Credential, models.PROTECT, related_name="+")
    key = models.TextField(help_text="The caller's idempotency key.")
    live = models.BooleanField(default=True, help_text="False: the claim has expired and its key is free again.")
    fingerprint = models.BinaryField(help_text="HMAC-SHA256 of session, kind, name and arguments as received.")
    kind = models.TextField()
    name = models.TextField()
    asked_session = models.UUIDField(null=True, help_text="As the caller named it; null: the sticky one.")
    session = models.ForeignKey(Session, models.PROTECT, null=True, related_name="+")
    run = models.JSONField(null=True, help_text="{id, step, starter} of the run that makes this call.")
    correlation_id = models.TextField()
    state = models.TextField(choices=State, default=State.CLAIMED)
    code = models.TextField(blank=True, default="", help_text="Why it ended so.")
    again = models.BooleanField(default=False, help_text="The same key may open a further attempt.")
    attempt = models.IntegerField(default=0, help_text="Number of attempts that were decided.")
    fence = models.BigIntegerField(default=1)
    lease_until = models.DateTimeField()
    effect = models.TextField(blank=True, default="")
    release = models.TextField(blank=True, default="")
    tool_digest = models.TextField(blank=True, default="")
    decided_record = models.UUIDField(null=True)
    outcome_record = models.UUIDField(null=True)
    opened_at = models.DateTimeField(db_default=models.functions.Now())
    repeatable_until = models.DateTimeField(null=True, help_text="End of the dedup window, from the first decision on.")
    finished_at = models.DateTimeField(null=True)
    expires_at = models.DateTimeField(help_text="When the key may be used for something else.")

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["workspace_id", "credential", "key"], condition=Q(live=True), name="call_key_once"
            ),
            models.CheckConstraint(
                condition=Q(state__in=["claimed", "decided", "parked", "denied", "completed", "failed", "unknown"]),
                name="call_state",
            ),
            models.CheckConstraint(condition=Q(kind__in=["tool", "model"]), name="call_kind"),
            models.CheckConstraint(
                condition=Q(state__in=["claimed", "decided", "parked", "unknown"]) | Q(finished_at__isnull=False),
                name="call_finished_has_time",
            ),
        ]
        indexes: ClassVar = [
            models.Index(fields=["workspace_id", "-id"], name="call_newest"),
            models.Index(fields=["lease_until"], condition=Q(state__in=["claimed", "decided"]), name="call_leased"),
            models.Index(fields=["expires_at"], condition=Q(live=True), name="call_expires"),
            models.Index(fields=["session", "id"], name="call_of_session"),
        ]

    def __str__(self) -> str:
        return f"{self.name} {self.id}"


class Attempt(Row):
    """One decision about a call, and what came of it. Each attempt has exactly one decision record."""

    call = models.ForeignKey(Call, models.PROTECT, related_name="attempts")
    number = models.IntegerField()
    fence = models.BigIntegerField()
    verdict = models.TextField()
    state = models.TextField()
    code = models.TextField(blank=True, default="")
    hold = models.UUIDField(null=True, help_text="The hold whose approval this attempt used.")
    decided_record = models.UUIDField()
    outcome_record = models.UUIDField(null=True)
    decided_at = models.DateTimeField(db_default=models.functions.Now())
    finished_at = models.DateTimeField(null=True)

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["call", "number"], name="attempt_number_once"),
            models.CheckConstraint(condition=Q(verdict__in=["allow", "deny", "hold"]), name="attempt_verdict"),
            models.CheckConstraint(
                condition=Q(verdict="allow", state__in=["decided", "completed", "failed", "unknown"])
                | Q(verdict="deny", state="denied")
                | Q(verdict="hold", state="parked"),
                name="attempt_state_fits_verdict",
            ),
        ]

    def __str__(self) -> str:
        return f"attempt {self.number} of {self.call_id}"


class Hold(Row):
    """A call parked for a person: what was shown, who may not decide it, and what was decided."""

    class State(models.TextChoices):
        OPEN = "open"
        APPROVED = "approved"
        REJECTED = "rejected"
        RELEASED = "released", "released: used, once"
        VOID = "void", "void: what was shown has changed"
        EXPIRED = "expired"

    workspace_id = models.UUIDField()
    environment = models.TextField()
    agent = models.TextField()
    call = models.ForeignKey(Call, models.PROTECT, related_name="holds")
    attempt = models.IntegerField(help_text="The attempt that parked.")
    state = models.TextField(choices=State, default=State.OPEN)
    codes = texts(help_text="Reason codes that the person sees.")
    requirements = models.JSONField(default=list, help_text="[{code, role, quorum}]: each must be met.")
    digest = models.TextField(help_text="HMAC over executed arguments, tool, policy, baseline, release and codes.")
    name = models.TextField(help_text="The tool or model.")
    tool_digest = models.TextField()
    policy = models.TextField()
    baseline = models.TextField()
    release = models.TextField()
    decided_record = models.UUIDField(help_text="Its sealed values hold the arguments as they would be executed.")
    on_behalf_of = models.TextField(null=True)  # noqa: DJ001 - null is "nobody"
    run_starter = models.TextField(null=True)  # noqa: DJ001 - null is "no run"
    session_opener = models.TextField()
    credential_owner = models.TextField(null=True)  # noqa: DJ001 - null is "the executor's own credential"
    opened_at = models.DateTimeField(db_default=models.functions.Now())
    expires_at = models.DateTimeField()
    decided_at = models.DateTimeField(null=True)
    closed_at = models.DateTimeField(null=True)

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["call"], condition=Q(state__in=["open", "approved"]), name="hold_one_open_per_call"
            ),
            models.CheckConstraint(
                condition=Q(state__in=["open", "approved", "rejected", "released", "void", "expired"]),
                name="hold_state",
            ),
        ]
        indexes: ClassVar = [
            models.Index(fields=["workspace_id", "-id"], name="hold_newest"),
            models.Index(fields=["expires_at"], condition=Q(state__in=["open", "approved"]), name="hold_waiting"),
        ]

    def __str__(self) -> str:
        return f"{self.name} {self.id}"


class HoldApproval(Row):
    """One person's word on one hold, bound to the digest that they saw."""

    class Verdict(models.TextChoices):
        APPROVED = "approved"
        REJECTED = "rejected"

    hold = models.ForeignKey(Hold, models.PROTECT, related_name="approvals")
    approver = models.ForeignKey(settings.AUTH_USER_MODEL, models.PROTECT, related_name="+")
    verdict = models.TextField(choices=Verdict)
    digest = models.TextField()
    comment = models.TextField(blank=True, default="")
    at = models.DateTimeField(db_default=models.functions.Now())

    class Meta:
        constraints: ClassVar = [models.UniqueConstraint(fields=["hold", "approver"], name="hold_approval_once")]

    def __str__(self) -> str:
        return f"{self.verdict} {self.hold_id}"


class Counter(Row):
    """What one session, run or tool has used, and what calls under way have reserved of it.

    The id is the session's, the run's, or made from (workspace, environment, tool): see gateway.limits.
    """

    workspace_id = models.UUIDField()
    scope = models.TextField(help_text="session, run, or tool:<environment>:<name>")
    calls = models.BigIntegerField(default=0)
    under_way = models.BigIntegerField(default=0)
    tokens = models.BigIntegerField(default=0, help_text="Used and reserved.")
    cost_micro_usd = models.BigIntegerField(default=0, help_text="Used and reserved.")
    started_at = models.DateTimeField(db_default=models.functions.Now())
    touched_at = models.DateTimeField(db_default=models.functions.Now())

    class Meta:
        constraints: ClassVar = [
            models.CheckConstraint(
                condition=Q(calls__gte=0, under_way__gte=0, tokens__gte=0, cost_micro_usd__gte=0),
                name="counter_not_negative",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.scope} {self.id}"


class Lease(Row):
    """What one call under way has reserved. Deleting the row gives it back, so it is given back once."""

    call = models.UUIDField(unique=True)
    fence = models.BigIntegerField()
    counters = ArrayField(models.UUIDField())
    tokens = models.BigIntegerField(default=0)
    cost_micro_usd = models.BigIntegerField(default=0)
    until = models.DateTimeField()

    class Meta:
        indexes: ClassVar = [models.Index(F("until"), name="lease_until")]

    def __str__(self) -> str:
        return f"of {self.call}"
