"""Breakers over REST: which tools are away, and an operator's word that one is back."""

from typing import Any
from uuid import UUID

from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from audit.refusal import not_found
from gateway import breakers
from gateway.api import frame, shapes
from gateway.models import Breaker
from registry import memberships, permissions

RESETTERS = ("operator",)
_PLAIN = ("environment", "kind", "name", "state", "failures", "failed_at", "code", "openings", "opened_at", "probe_at")


class BreakerQuery(frame.PageQuery):
    """Which breakers to list."""

    state = serializers.ChoiceField(choices=Breaker.State.choices, required=False)
    environment = serializers.CharField(required=False)
    kind = serializers.ChoiceField(choices=["tool", "model"], required=False)
    name = serializers.CharField(required=False)


class BreakerRow(shapes.Shape):
    """The circuit breaker of one tool or model in one environment."""

    id = serializers.UUIDField()
    environment = serializers.CharField()
    kind = serializers.CharField()
    name = serializers.CharField()
    state = serializers.ChoiceField(choices=Breaker.State.choices)
    failures = serializers.IntegerField(help_text="By how many failures outnumber answers while closed.")
    failed_at = serializers.DateTimeField(allow_null=True)
    code = serializers.CharField(allow_blank=True, help_text="Of the last failure.")
    openings = serializers.IntegerField(help_text="In a row, without having closed.")
    opened_at = serializers.DateTimeField(allow_null=True)
    probe_at = serializers.DateTimeField(allow_null=True, help_text="When open: the time of the next probe.")


class BreakerPage(shapes.Shape):
    """A page of breakers."""

    next = serializers.CharField(allow_null=True)
    results = BreakerRow(many=True)


class BreakersView(APIView):
    """Breakers of a workspace. A tool that has never failed has none."""

    permission_classes = (permissions.SignedIn,)

    @extend_schema(
        operation_id="breakers_list",
        summary="List the breakers of tools that have failed",
        parameters=[BreakerQuery],
        responses={200: BreakerPage, **frame.refusals()},
    )
    def get(self, request: Request) -> Response:
        query = frame.parsed(BreakerQuery, request.query_params)
        rows = Breaker.objects.filter(workspace_id=permissions.workspace_of(request, query.get("workspace")).pk)
        for name in ("state", "environment", "kind", "name"):
            if name in query:
                rows = rows.filter(**{name: query[name]})
        return frame.page(request, query, rows, _shown)


class BreakerView(APIView):
    """One breaker."""

    permission_classes = (permissions.SignedIn,)

    @extend_schema(operation_id="breakers_retrieve", responses={200: BreakerRow, **frame.refusals()})
    def get(self, request: Request, breaker: UUID) -> Response:
        return Response(_shown(_find(request, breaker)))


class ResetsView(APIView):
    """An operator closes a breaker: the tool is back."""

    permission_classes = (permissions.SignedIn,)

    @extend_schema(operation_id="breakers_reset", request=None, responses={201: BreakerRow, **frame.refusals()})
    def post(self, request: Request, breaker: UUID) -> Response:
        row = _find(request, breaker)
        person = frame.person(request)
        place = frame.environment(row.workspace_id, row.environment)
        memberships.require(person, row.workspace_id, RESETTERS, environment=place)
        row = breakers.reset(row, actor=person.actor, now=frame.now(), correlation_id=frame.correlation_id(request))
        return Response(_shown(row), status=201)


def _find(request: Request, breaker: UUID) -> Breaker:
    row = Breaker.objects.filter(pk=breaker).first()
    if row is None:
        raise not_found("breaker")
    frame.member(request, row.workspace_id, "breaker")
    return row


def _shown(row: Breaker) -> dict[str, Any]:
    return {"id": row.pk} | {name: getattr(row, name) for name in _PLAIN}
