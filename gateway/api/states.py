"""State over REST: an agent's credential reads and writes what the agent remembers; members see what there is."""

from typing import Any
from uuid import UUID

from drf_spectacular.utils import OpenApiParameter, OpenApiResponse, extend_schema
from rest_framework import serializers
from rest_framework.permissions import IsAuthenticated
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from audit.refusal import Refusal
from gateway import states
from gateway.api import frame, shapes
from gateway.models import State
from gateway.principal import Principal
from registry import permissions

_PLAIN = ("environment", "agent", "key", "version", "labels", "bytes", "written_by", "written_at")
_IF_MATCH = OpenApiParameter("If-Match", str, OpenApiParameter.HEADER, description="ETag of the version replaced.")
_IF_NONE = OpenApiParameter("If-None-Match", str, OpenApiParameter.HEADER, description="*: nothing stands there yet.")
_SESSION = OpenApiParameter("session", UUID, OpenApiParameter.QUERY, description="Left out: the sticky session.")


class StateQuery(frame.PageQuery):
    """Which states to list."""

    environment = serializers.CharField(required=False)
    agent = serializers.CharField(required=False)


class StateRow(shapes.Shape):
    """What there is of one state, without its value."""

    id = serializers.UUIDField()
    environment = serializers.CharField()
    agent = serializers.CharField()
    key = serializers.CharField()
    version = serializers.IntegerField()
    labels = serializers.ListField(child=serializers.CharField())
    bytes = serializers.IntegerField(help_text="Of canonical JSON.")
    written_by = serializers.CharField()
    written_at = serializers.DateTimeField()


class StatePage(shapes.Shape):
    """A page of states."""

    next = serializers.CharField(allow_null=True)
    results = StateRow(many=True)


class StateRead(StateRow):
    """One state with its value."""

    value = serializers.JSONField(allow_null=True)
    session_labels = serializers.ListField(child=serializers.CharField(), help_text="With those of the value.")


class StateWrite(shapes.Shape):
    """A value to remember."""

    value = serializers.JSONField(allow_null=True)
    session = serializers.UUIDField(required=False, allow_null=True, help_text="Without one: the sticky session.")


class SessionQuery(shapes.Shape):
    """In which session the state is used."""

    session = serializers.UUIDField(required=False)


class StatesView(APIView):
    """What the agents of a workspace remember."""

    permission_classes = (permissions.SignedIn,)

    @extend_schema(
        operation_id="states_list",
        summary="List what agents remember, without the values",
        parameters=[StateQuery],
        responses={200: StatePage, **frame.refusals()},
    )
    def get(self, request: Request) -> Response:
        query = frame.parsed(StateQuery, request.query_params)
        rows = State.objects.filter(workspace_id=permissions.workspace_of(request, query.get("workspace")).pk)
        for name in ("environment", "agent"):
            if name in query:
                rows = rows.filter(**{name: query[name]})
        return frame.page(request, query, rows, _shown)


class StateView(APIView):
    """One value that the asking agent remembers."""

    permission_classes = (IsAuthenticated,)

    @extend_schema(
        operation_id="states_retrieve", parameters=[_SESSION], responses={200: StateRead, **frame.refusals(409, 410)}
    )
    def get(self, request: Request, key: str) -> Response:
        query = frame.parsed(SessionQuery, request.query_params)
        found = states.read(_agent(request), key, session=query.get("session"), **_how(request))
        shown = _shown(found.row) | {"value": found.value, "session_labels": found.labels}
        return _tagged(Response(shown), found.row)

    @extend_schema(
        operation_id="states_write",
        summary="Remember a value, if nobody has written there since",
        parameters=[_IF_MATCH, _IF_NONE],
        request=StateWrite,
        responses={200: StateRow, 201: StateRow, **frame.refusals(409, 412, 428)},
    )
    def put(self, request: Request, key: str) -> Response:
        agent = _agent(request)
        expected = _expected(request)
        body = frame.parsed(StateWrite, request.data)
        row = states.write(agent, key, body["value"], expected=expected, session=body.get("session"), **_how(request))
        return _tagged(Response(_shown(row), status=201 if expected is None else 200), row)

    @extend_schema(
        operation_id="states_delete",
        parameters=[_IF_MATCH, _SESSION],
        responses={204: OpenApiResponse(description="It is forgotten."), **frame.refusals(409, 412, 428)},
    )
    def delete(self, request: Request, key: str) -> Response:
        agent = _agent(request)
        query = frame.parsed(SessionQuery, request.query_params)
        expected = _expected(request)
        if expected is None:
            raise _unconditional()
        states.delete(agent, key, expected=expected, session=query.get("session"), **_how(request))
        return Response(status=204)


def _agent(request: Request) -> Principal:
    found = frame.principal(request)
    if found is None:
        raise Refusal("forbidden", "Only an agent's credential reads and writes its state.", status=403)
    return found


def _how(request: Request) -> dict[str, Any]:
    return {"now": frame.now(), "correlation_id": frame.correlation_id(request)}


def _expected(request: Request) -> UUID | None:
    """Return the version that is replaced, None for a new key. :raises Refusal: 428 if neither is said."""
    if request.headers.get("If-None-Match", "").strip() == "*":
        return None
    tag = request.headers.get("If-Match", "").strip()
    if not tag:
        raise _unconditional()
    try:
        return UUID(tag.strip('"'))
    except ValueError:
        # It is no tag of ours, so it matches nothing.
        return UUID(int=0)


def _unconditional() -> Refusal:
    detail = "Say what you replace: If-Match with the ETag that you read, or If-None-Match: * for a new key."
    return Refusal("precondition_missing", detail, status=428, field="If-Match")


def _tagged(response: Response, row: State) -> Response:
    response.headers["ETag"] = f'"{row.record}"'
    response.headers["Cache-Control"] = "no-store"
    return response


def _shown(row: State) -> dict[str, Any]:
    return {"id": row.pk} | {name: getattr(row, name) for name in _PLAIN}
