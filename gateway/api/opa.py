"""The sink of OPA's decision logs, and the alarms that came of them."""

from typing import Any

from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from gateway import decision_logs, opa_log
from gateway.api import frame, shapes
from gateway.models import Alarm
from registry import permissions
from registry.api.opa import OpaView, read

_PLAIN = ("environment", "kind", "pdp", "count", "reasons", "decisions", "calls", "record", "at")


class LogsView(OpaView):
    """Decisions that an OPA server made."""

    @extend_schema(exclude=True)
    def post(self, request: Request, workspace: str, environment: str) -> Response:
        events = read(request, largest=opa_log.LARGEST)
        decision_logs.receive(self.place, events, now=frame.now(), correlation_id=frame.correlation_id(request))
        return Response(status=204)


class AlarmsView(APIView):
    """What somebody has to look into."""

    permission_classes = (permissions.SignedIn,)

    @extend_schema(
        operation_id="alarms_list",
        summary="List alarms about decisions, the newest first",
        parameters=[frame.PageQuery],
        responses={200: shapes.AlarmPage, **frame.refusals()},
    )
    def get(self, request: Request) -> Response:
        query = frame.parsed(frame.PageQuery, request.query_params)
        workspace = permissions.workspace_of(request, query.get("workspace"))
        return frame.page(request, query, Alarm.objects.filter(workspace_id=workspace.pk), _shown)


def _shown(row: Alarm) -> dict[str, Any]:
    return {"id": row.pk, **{name: getattr(row, name) for name in _PLAIN}}
