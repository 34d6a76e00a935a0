"""Slots, activations and stops."""

from typing import Any
from uuid import UUID

from django.urls import reverse
from drf_spectacular.utils import OpenApiParameter
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from audit.refusal import Refusal
from registry import activations, permissions, stops
from registry.api.exchange import Empty, View, asked, body, decided, documented, environment, gone, made
from registry.models import Activation, Proposal, Slot, SlotHistory, Stop, Version


class SlotShape(serializers.Serializer[Any]):
    id = serializers.UUIDField()
    workspace = serializers.SlugField(source="workspace.slug")
    environment = serializers.CharField(source="environment.name", default=None, allow_null=True)
    kind = serializers.CharField(source="artifact.kind")
    name = serializers.CharField(source="artifact.name")
    version = serializers.UUIDField(source="version_id", allow_null=True)
    digest = serializers.CharField(source="version.digest", default=None, allow_null=True)
    changed_at = serializers.DateTimeField()
    expires_at = serializers.DateTimeField(allow_null=True)


class SlotHistoryShape(serializers.Serializer[Any]):
    version = serializers.UUIDField(source="version_id", allow_null=True)
    digest = serializers.CharField(source="version.digest", default=None, allow_null=True)
    activation = serializers.UUIDField(source="activation_id", allow_null=True)
    kind = serializers.CharField()
    at = serializers.DateTimeField()


class ActivationShape(serializers.Serializer[Any]):
    id = serializers.UUIDField()
    workspace = serializers.SlugField(source="workspace.slug")
    environment = serializers.CharField(source="environment.name", default=None, allow_null=True)
    version = serializers.UUIDField(source="version_id")
    digest = serializers.CharField(source="version.digest")
    previous = serializers.CharField(source="previous.digest", default=None, allow_null=True)
    proposal = serializers.UUIDField(source="proposal_id", allow_null=True)
    kind = serializers.CharField()
    state = serializers.CharField()
    revision = serializers.CharField()
    failure = serializers.CharField()
    reason = serializers.CharField()
    requested_by = serializers.UUIDField(source="requested_by_id", allow_null=True)
    requested_at = serializers.DateTimeField()
    published_at = serializers.DateTimeField(allow_null=True)
    finished_at = serializers.DateTimeField(allow_null=True)
    expires_at = serializers.DateTimeField(allow_null=True)
    reverted_at = serializers.DateTimeField(allow_null=True)
    review_due_at = serializers.DateTimeField(allow_null=True)
    reviewed_by = serializers.UUIDField(source="reviewed_by_id", allow_null=True)
    reviewed_at = serializers.DateTimeField(allow_null=True)
    review = serializers.CharField()


class NewActivation(serializers.Serializer[Any]):
    kind = serializers.ChoiceField(["activate", "rollback", "break_glass"], default="activate")
    proposal = serializers.UUIDField(required=False, help_text="What to activate (activate).")
    version = serializers.UUIDField(required=False, help_text="What to bring back or push through.")
    environment = serializers.CharField(required=False, allow_null=True, default=None)
    reason = serializers.CharField(required=False, allow_blank=True, default="", max_length=10_000)
    minutes = serializers.IntegerField(required=False, default=60, help_text="Of a break-glass, 1 to 60.")


class Review(serializers.Serializer[Any]):
    comment = serializers.CharField(max_length=10_000)


class StopShape(serializers.Serializer[Any]):
    id = serializers.UUIDField()
    workspace = serializers.SlugField(source="workspace.slug")
    scope = serializers.ChoiceField(stops.SCOPES)
    target = serializers.CharField()
    reason = serializers.CharField()
    by = serializers.UUIDField(source="by_id")
    at = serializers.DateTimeField()
    lifted_by = serializers.UUIDField(source="lifted_by_id", allow_null=True)
    lifted_at = serializers.DateTimeField(allow_null=True)


class NewStop(serializers.Serializer[Any]):
    workspace = serializers.CharField()
    scope = serializers.CharField()
    target = serializers.CharField(required=False, allow_blank=True, default="")
    reason = serializers.CharField(max_length=10_000)


class Slots(View):
    """What is live."""

    @documented("List slots", gives=SlotShape, listed=True, parameters=(OpenApiParameter("environment", str),))
    def get(self, request: Request) -> Response:
        rows = self.mine(request, Slot.objects.select_related("workspace", "environment", "artifact", "version"))
        if "environment" in request.query_params:
            rows = rows.filter(environment__name=request.query_params["environment"])
        return self.page(request, rows.defer("version__content"), SlotShape)


class OneSlot(View):
    """One slot."""

    @documented("Read a slot", gives=SlotShape)
    def get(self, request: Request, pk: UUID) -> Response:
        rows = Slot.objects.select_related("workspace", "environment", "artifact", "version")
        return Response(SlotShape(self.row(request, rows, pk, "slot")).data)


class SlotPast(View):
    """What has been live in a slot."""

    @documented("List what has been live in a slot", gives=SlotHistoryShape, listed=True)
    def get(self, request: Request, pk: UUID) -> Response:
        slot = self.row(request, Slot.objects.all(), pk, "slot")
        rows = SlotHistory.objects.filter(environment=slot.environment, artifact=slot.artifact)
        return self.page(request, rows.select_related("version"), SlotHistoryShape)


class Activations(View):
    """What is to go live: by an approved proposal, as a rollback, or by break-glass."""

    rows = Activation.objects.select_related("workspace", "environment", "version", "previous")

    @documented("List activations", gives=ActivationShape, listed=True, parameters=(OpenApiParameter("state", str),))
    def get(self, request: Request) -> Response:
        rows = self.mine(request, self.rows.all())
        if "state" in request.query_params:
            rows = rows.filter(state=request.query_params["state"])
        return self.page(request, rows, ActivationShape)

    @documented("Ask that a version go live", takes=NewActivation, gives=ActivationShape, code=201)
    def post(self, request: Request) -> Response:
        asks = body(request, NewActivation)
        known = set(Activation.objects.filter(state__in=["requested", "published"]).values_list("pk", flat=True))
        row = self.activate(request, asks) if asks["kind"] == "activate" else self.push(request, asks)
        return made(ActivationShape(self.rows.get(pk=row.pk)).data, created=row.pk not in known)

    def activate(self, request: Request, asks: dict[str, Any]) -> Activation:
        """Activate by quorum."""
        rows = Proposal.objects.select_related("workspace", "environment")
        proposal = self.row(request, rows, _needed(asks, "proposal"), "proposal")
        page = reverse("pages:proposal", args=[proposal.workspace.slug, proposal.pk])
        permissions.require_browser(request, proposal.environment, page)
        return activations.request(proposal, actor=self.person(request), reason=asks["reason"], **decided(request))

    def push(self, request: Request, asks: dict[str, Any]) -> Activation:
        """Roll back, or break glass."""
        version = self.row(request, Version.objects.defer("content"), _needed(asks, "version"), "version")
        where = environment(version.workspace_id, asks["environment"])
        says = {"actor": self.person(request), "reason": asks["reason"], **decided(request)}
        if asks["kind"] == "rollback":
            return activations.roll_back(version, where, **says)
        if where is None:
            raise Refusal("environment_missing", "Break-glass is about one environment; name it.", field="environment")
        return activations.break_glass(version, where, minutes=asks["minutes"], **says)


class OneActivation(View):
    """One activation."""

    @documented("Read an activation", gives=ActivationShape)
    def get(self, request: Request, pk: UUID) -> Response:
        return Response(ActivationShape(self.row(request, Activations.rows.all(), pk, "activation")).data)


class ActivationReview(View):
    """The review that follows a break-glass."""

    @documented("Review a break-glass activation", takes=Review, gives=ActivationShape, code=201)
    def post(self, request: Request, pk: UUID) -> Response:
        row = self.row(request, Activation.objects.all(), pk, "activation")
        comment = body(request, Review)["comment"]
        activations.review(row, reviewer=self.person(request), comment=comment, **asked(request))
        return made(ActivationShape(Activations.rows.get(pk=pk)).data)


class Stops(View):
    """Kill switches, set and lifted."""

    permission_classes = (permissions.MemberOfWorkspace,)

    @documented("List stops", gives=StopShape, listed=True)
    def get(self, request: Request) -> Response:
        return self.page(request, self.mine(request, Stop.objects.select_related("workspace")), StopShape)

    @documented("Stop a workspace, an agent or a tool", takes=NewStop, gives=StopShape, code=201)
    def post(self, request: Request) -> Response:
        asks = body(request, NewStop)
        workspace = self.workspace(request, asks["workspace"])
        known = set(Stop.objects.filter(workspace=workspace, lifted_at=None).values_list("pk", flat=True))
        row = stops.set(
            workspace,
            scope=asks["scope"],
            target=asks["target"],
            reason=asks["reason"],
            by=self.person(request),
            **asked(request),
        )
        return made(StopShape(row).data, created=row.pk not in known)


class OneStop(View):
    """One stop; deleting it lifts it. The row stays."""

    @documented("Read a stop", gives=StopShape)
    def get(self, request: Request, pk: UUID) -> Response:
        return Response(StopShape(self.row(request, Stop.objects.select_related("workspace"), pk, "stop")).data)

    @documented("Lift a stop", takes=Empty, code=204)
    def delete(self, request: Request, pk: UUID) -> Response:
        row = self.row(request, Stop.objects.all(), pk, "stop")
        stops.lift(row, by=self.person(request), **asked(request))
        return gone()


def _needed(asks: dict[str, Any], name: str) -> UUID:
    value = asks.get(name)
    if value is None:
        raise Refusal(f"{name}_missing", f"An activation of kind {asks['kind']} names its {name}.", field=name)
    found: UUID = value
    return found
