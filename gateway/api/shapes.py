"""The bodies that the gateway's REST views take and give."""

from typing import Any

from rest_framework import serializers

from gateway.api.frame import PageQuery
from gateway.credentials import SCOPES
from gateway.models import Alarm, Call, Hold, Session
from gateway.settlement import OUTCOMES

Shape = serializers.Serializer[dict[str, Any]]


class Reason(Shape):
    """Why a policy, or the line itself, said so."""

    code = serializers.CharField()
    message = serializers.CharField()
    layer = serializers.CharField(help_text="floor, baseline, release, line or pdp")


class ToolCallRequest(Shape):
    """One call that an agent wants to make."""

    kind = serializers.ChoiceField(choices=["tool", "model"], default="tool")
    name = serializers.CharField(max_length=200, help_text="The pin's name in the release.")
    arguments = serializers.DictField()
    session = serializers.UUIDField(required=False, allow_null=True, help_text="Without one: the sticky session.")
    timeout_ms = serializers.IntegerField(required=False, min_value=1, max_value=600_000)


class Outcome(Shape):
    """What became of a call."""

    id = serializers.UUIDField()
    status = serializers.ChoiceField(choices=["finished", "parked", "denied", "failed", "unknown", "in_flight"])
    attempt = serializers.IntegerField()
    code = serializers.CharField(allow_blank=True)
    message = serializers.CharField(allow_blank=True)
    result = serializers.JSONField(allow_null=True)
    is_error = serializers.BooleanField(help_text="The tool itself says that it failed.")
    labels = serializers.ListField(child=serializers.CharField(), help_text="Of the session, this call's included.")
    reasons = Reason(many=True)
    hold = serializers.UUIDField(allow_null=True)
    again = serializers.BooleanField(help_text="The same key may be sent again and may end otherwise.")
    replayed = serializers.BooleanField()
    answered_by = serializers.CharField(
        allow_null=True, help_text="The tool that answered in place of the one that was asked, which is away."
    )
    instead_of = serializers.UUIDField(allow_null=True, help_text="The call of the tool that was asked.")
    receipts = serializers.ListField(child=serializers.CharField())


class CallQuery(PageQuery):
    """Which calls to list."""

    state = serializers.ChoiceField(choices=Call.State.choices, required=False)
    session = serializers.UUIDField(required=False)
    environment = serializers.CharField(required=False)
    agent = serializers.CharField(required=False)
    name = serializers.CharField(required=False)


class CallRow(Shape):
    """One call in a list."""

    id = serializers.UUIDField()
    kind = serializers.CharField()
    name = serializers.CharField()
    environment = serializers.CharField()
    agent = serializers.CharField()
    credential = serializers.UUIDField()
    session = serializers.UUIDField(allow_null=True)
    run = serializers.DictField(allow_null=True)
    correlation_id = serializers.CharField()
    state = serializers.ChoiceField(choices=Call.State.choices)
    code = serializers.CharField(allow_blank=True)
    attempt = serializers.IntegerField()
    effect = serializers.CharField(allow_blank=True)
    release = serializers.CharField(allow_blank=True)
    tool_digest = serializers.CharField(allow_blank=True)
    decided_record = serializers.UUIDField(allow_null=True)
    outcome_record = serializers.UUIDField(allow_null=True)
    fallback = serializers.CharField(allow_blank=True, help_text="The tool that was asked instead.")
    instead_of = serializers.UUIDField(allow_null=True, help_text="The call in whose place this one was made.")
    opened_at = serializers.DateTimeField()
    finished_at = serializers.DateTimeField(allow_null=True)


class CallPage(Shape):
    """A page of calls."""

    next = serializers.CharField(allow_null=True)
    results = CallRow(many=True)


class CallDetail(CallRow):
    """One call with its arguments as executed (or as they would have been) and its outcome."""

    arguments = serializers.JSONField(allow_null=True)
    outcome = Outcome()


class SettlementRequest(Shape):
    """What a person found out about a call whose outcome was unknown."""

    outcome = serializers.ChoiceField(choices=OUTCOMES)
    result = serializers.JSONField(required=False, allow_null=True, default=None)


class SessionRequest(Shape):
    """A session to open."""

    workspace = serializers.CharField(required=False, help_text="Slug; a credential may leave it out.")
    environment = serializers.CharField(required=False, help_text="A credential may leave it out.")
    agent = serializers.CharField(required=False, help_text="A credential may leave it out.")
    request = serializers.CharField(
        required=False, help_text="What the user asks for; trusted only from who may vouch."
    )
    on_behalf_of = serializers.CharField(required=False, max_length=500)
    parent = serializers.UUIDField(required=False, allow_null=True)  # type: ignore[assignment]
    credential = serializers.UUIDField(required=False, allow_null=True, help_text="Whose calls may use the session.")


class SessionQuery(PageQuery):
    """Which sessions to list."""

    state = serializers.ChoiceField(choices=Session.State.choices, required=False)
    environment = serializers.CharField(required=False)
    agent = serializers.CharField(required=False)


class SessionRow(Shape):
    """One session."""

    id = serializers.UUIDField()
    environment = serializers.CharField()
    agent = serializers.CharField()
    release = serializers.CharField()
    credential = serializers.UUIDField(allow_null=True)
    opener = serializers.CharField()
    on_behalf_of = serializers.CharField(allow_null=True)
    request_source = serializers.ChoiceField(choices=Session.Source.choices)
    parent = serializers.UUIDField(allow_null=True)  # type: ignore[assignment]
    root = serializers.UUIDField()  # type: ignore[assignment]
    sticky = serializers.BooleanField()
    state = serializers.ChoiceField(choices=Session.State.choices)
    labels = serializers.ListField(child=serializers.CharField())
    opened_at = serializers.DateTimeField()
    expires_at = serializers.DateTimeField()
    closed_at = serializers.DateTimeField(allow_null=True)


class SessionPage(Shape):
    """A page of sessions."""

    next = serializers.CharField(allow_null=True)
    results = SessionRow(many=True)


class CredentialRequest(Shape):
    """A credential to make."""

    workspace = serializers.CharField(help_text="Slug.")
    environment = serializers.CharField()
    agent = serializers.CharField(max_length=128)
    name = serializers.CharField(required=False, default="", allow_blank=True, max_length=200)
    owner = serializers.CharField(required=False, help_text="Username of who answers for it; default: you.")
    scopes = serializers.ListField(child=serializers.ChoiceField(choices=sorted(SCOPES)), min_length=1)
    expires_at = serializers.DateTimeField()


class RotationRequest(Shape):
    """A new key for a credential."""

    expires_at = serializers.DateTimeField()
    overlap_seconds = serializers.IntegerField(required=False, default=86_400, min_value=0, max_value=30 * 86_400)


class KeyRow(Shape):
    """One key of a credential, by its first characters."""

    prefix = serializers.CharField()
    created_at = serializers.DateTimeField()
    expires_at = serializers.DateTimeField()
    last_used_at = serializers.DateTimeField(allow_null=True)


class CredentialRow(Shape):
    """One credential."""

    id = serializers.UUIDField()
    environment = serializers.CharField()
    agent = serializers.CharField()
    kind = serializers.CharField()
    name = serializers.CharField(allow_blank=True)
    owner = serializers.CharField(allow_null=True, help_text="Username.")
    scopes = serializers.ListField(child=serializers.CharField())
    created_at = serializers.DateTimeField()
    created_by = serializers.CharField()
    expires_at = serializers.DateTimeField(allow_null=True)
    revoked_at = serializers.DateTimeField(allow_null=True)
    keys = KeyRow(many=True)


class CredentialMade(CredentialRow):
    """A credential with its new key, which is shown once and never again."""

    key = serializers.CharField()


class CredentialPage(Shape):
    """A page of credentials."""

    next = serializers.CharField(allow_null=True)
    results = CredentialRow(many=True)


class HoldQuery(PageQuery):
    """Which holds to list."""

    state = serializers.ChoiceField(choices=Hold.State.choices, required=False)
    environment = serializers.CharField(required=False)
    agent = serializers.CharField(required=False)


class HoldVerdict(Shape):
    """One person's word on a hold."""

    approver = serializers.CharField()
    verdict = serializers.CharField()
    comment = serializers.CharField(allow_blank=True)
    at = serializers.DateTimeField()


class HoldRow(Shape):
    """One parked call."""

    id = serializers.UUIDField()
    call = serializers.UUIDField()
    environment = serializers.CharField()
    agent = serializers.CharField()
    name = serializers.CharField()
    state = serializers.ChoiceField(choices=Hold.State.choices)
    codes = serializers.ListField(child=serializers.CharField())
    requirements = serializers.JSONField(help_text="[{code, role, quorum}]: each must be met.")
    digest = serializers.CharField(help_text="Send it back with your verdict.")
    tool_digest = serializers.CharField()
    policy = serializers.CharField()
    baseline = serializers.CharField()
    release = serializers.CharField()
    on_behalf_of = serializers.CharField(allow_null=True)
    run_starter = serializers.CharField(allow_null=True)
    session_opener = serializers.CharField()
    credential_owner = serializers.CharField(allow_null=True)
    opened_at = serializers.DateTimeField()
    expires_at = serializers.DateTimeField()
    closed_at = serializers.DateTimeField(allow_null=True)


class HoldPage(Shape):
    """A page of holds."""

    next = serializers.CharField(allow_null=True)
    results = HoldRow(many=True)


class HoldDetail(HoldRow):
    """One parked call, with what a person decides on."""

    arguments = serializers.JSONField(help_text="As they would be executed.")
    reasons = Reason(many=True)
    verdicts = HoldVerdict(many=True)
    may_decide = serializers.BooleanField(help_text="Whether you may.")


class HoldDecision(Shape):
    """A verdict: bound to the digest of what was seen."""

    digest = serializers.CharField()
    comment = serializers.CharField(required=False, default="", allow_blank=True, max_length=2000)


class AlarmRow(Shape):
    """Decisions of OPA servers that do not fit what the gateway asked."""

    id = serializers.UUIDField()
    environment = serializers.CharField()
    kind = serializers.ChoiceField(choices=Alarm.Kind.choices)
    pdp = serializers.CharField(help_text="The label `id` of the OPA server; empty: of several.")
    count = serializers.IntegerField(help_text="Decisions that it is about.")
    reasons = serializers.DictField(child=serializers.IntegerField(), help_text="Why -> how many.")
    decisions = serializers.ListField(child=serializers.CharField(), help_text="The first ones, as OPA names them.")
    calls = serializers.ListField(child=serializers.CharField(), help_text="Calls that they name.")
    record = serializers.UUIDField()
    at = serializers.DateTimeField()


class AlarmPage(Shape):
    """A page of alarms."""

    next = serializers.CharField(allow_null=True)
    results = AlarmRow(many=True)


class TrustRequest(Shape):
    """An issuer whose JWTs are to be believed."""

    workspace = serializers.CharField()
    environment = serializers.CharField()
    name = serializers.CharField(max_length=200)
    issuer = serializers.CharField(max_length=500, help_text="Exactly as `iss` says it.")
    audience = serializers.CharField(max_length=500, help_text="What `aud` must name: us.")
    jwks_url = serializers.CharField(max_length=2000, required=False, default="")
    jwks = serializers.JSONField(required=False, allow_null=True, default=None)
    algorithms = serializers.ListField(child=serializers.CharField(), default=["RS256"])
    claim = serializers.CharField(max_length=100, default="sub", help_text="Whose exact value names the credential.")
    behalf_claim = serializers.CharField(max_length=100, required=False, allow_blank=True, default="")
    longest_seconds = serializers.IntegerField(default=3600)


class TrustRow(TrustRequest):
    """A trust."""

    id = serializers.UUIDField()
    created_at = serializers.DateTimeField()
    created_by = serializers.CharField()
    revoked_at = serializers.DateTimeField(allow_null=True)
    fetched_at = serializers.DateTimeField(allow_null=True, help_text="When its keys were last fetched.")
    failure = serializers.CharField(allow_blank=True, help_text="Why they could not be the last time.")


class TrustPage(Shape):
    """One page of trusts."""

    next = serializers.CharField(allow_null=True)
    results = TrustRow(many=True)


class AdmissionRequest(Shape):
    """A subject of an issuer, and as what it acts."""

    subject = serializers.CharField(max_length=500)
    agent = serializers.CharField(max_length=200)
    scopes = serializers.ListField(child=serializers.CharField())
    expires_at = serializers.DateTimeField()
    owner = serializers.CharField(required=False, allow_null=True, default=None, help_text="Username; default: you.")
    name = serializers.CharField(required=False, allow_blank=True, default="", max_length=200)
