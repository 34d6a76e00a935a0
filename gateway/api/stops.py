"""The report of a stop: what it came too late for, and what became of that since."""

from typing import Any
from uuid import UUID

from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from audit.refusal import not_found
from gateway import reach
from gateway.api import frame
from gateway.models import Call
from registry import permissions
from registry.models import Stop


class NotStopped(serializers.Serializer[Any]):
    """A call that was decided before the stop and could still act."""

    call = serializers.UUIDField()
    kind = serializers.CharField()
    name = serializers.CharField()
    agent = serializers.CharField()
    environment = serializers.CharField()
    effect = serializers.CharField()
    state = serializers.ChoiceField([*Call.State.values, "erased"], help_text="As it is now.")
    finished_at = serializers.DateTimeField(allow_null=True)


class StopReport(serializers.Serializer[Any]):
    """What a stop could not stop. The counts are those of the moment when it was set."""

    stop = serializers.UUIDField()
    at = serializers.DateTimeField()
    under_way = serializers.IntegerField(help_text="Calls that were decided and could still act.")
    holds = serializers.IntegerField(help_text="Parked calls that cannot be released while the stop stands.")
    runs = serializers.IntegerField(help_text="Runs that cannot go on while the stop stands.")
    calls = NotStopped(many=True, help_text=f"The first {reach.LISTED} of those under way.")
    still_acting = serializers.IntegerField(help_text="Of the listed calls, those whose outcome is not known yet.")


class ReportView(APIView):
    """What a stop could not stop."""

    permission_classes = (permissions.SignedIn,)

    @extend_schema(
        operation_id="stop_report",
        summary="Read what a stop could not stop",
        responses={200: StopReport, **frame.refusals()},
    )
    def get(self, request: Request, stop: UUID) -> Response:
        row = Stop.objects.filter(pk=stop).first()
        if row is None:
            raise not_found("stop")
        frame.member(request, row.workspace_id, "stop")
        listed = reach.since(row)
        calls = [
            {**named, "state": call.state if call else "erased", "finished_at": call.finished_at if call else None}
            for named, call in listed
        ]
        return Response(
            {
                "stop": row.pk,
                "at": row.at,
                "under_way": row.reach.get("under_way", 0),
                "holds": row.reach.get("holds", 0),
                "runs": row.reach.get("runs", 0),
                "calls": calls,
                "still_acting": sum(one["state"] in reach.ACTING for one in calls),
            }
        )
