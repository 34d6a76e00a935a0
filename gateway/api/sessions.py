"""Sessions over REST."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from django.contrib.postgres.expressions import ArraySubquery
from django.db.models import OuterRef
from drf_spectacular.utils import extend_schema
from rest_framework.permissions import IsAuthenticated
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from audit.refusal import Refusal, not_found
from gateway import credentials, sessions
from gateway.api import frame, shapes
from gateway.models import Session, SessionLabel
from gateway.principal import Principal
from registry import memberships, permissions

OPENERS = ("author", "reviewer", "security", "operator")
CLOSERS = ("operator", "security", "admin")
_PLAIN = (
    "environment", "agent", "release", "opener", "on_behalf_of", "request_source", "sticky", "state",
    "opened_at", "expires_at", "closed_at",
)  # fmt: skip


class SessionsView(APIView):
    """Sessions of a workspace, or of the credential that asks."""

    permission_classes = (IsAuthenticated,)

    @extend_schema(
        operation_id="sessions_create",
        summary="Open a session",
        request=shapes.SessionRequest,
        responses={201: shapes.SessionRow, **frame.refusals(409)},
    )
    def post(self, request: Request) -> Response:
        body = frame.parsed(shapes.SessionRequest, request.data)
        principal = frame.principal(request)
        row = _by_credential(request, principal, body) if principal else _by_person(request, body)
        return Response(_shown(row), status=201)

    @extend_schema(
        operation_id="sessions_list",
        summary="List sessions, the newest first",
        parameters=[shapes.SessionQuery],
        responses={200: shapes.SessionPage, **frame.refusals()},
    )
    def get(self, request: Request) -> Response:
        query = frame.parsed(shapes.SessionQuery, request.query_params)
        principal = frame.principal(request)
        if principal is not None:
            rows = Session.objects.filter(workspace_id=frame.within(principal, query), credential_id=principal.id)
        else:
            rows = Session.objects.filter(workspace_id=permissions.workspace_of(request, query.get("workspace")).pk)
        for name in ("state", "environment", "agent"):
            if name in query:
                rows = rows.filter(**{name: query[name]})
        labels = SessionLabel.objects.filter(root=OuterRef("root_id")).order_by("label").values("label")
        return frame.page(request, query, rows.annotate(labels_now=ArraySubquery(labels)), _listed)


class SessionView(APIView):
    """One session."""

    permission_classes = (IsAuthenticated,)

    @extend_schema(operation_id="sessions_retrieve", responses={200: shapes.SessionRow, **frame.refusals()})
    def get(self, request: Request, session: UUID) -> Response:
        return Response(_shown(_find(request, session)))


class ClosuresView(APIView):
    """The end of a session before its time."""

    permission_classes = (IsAuthenticated,)

    @extend_schema(
        operation_id="sessions_close", request=None, responses={201: shapes.SessionRow, **frame.refusals(409)}
    )
    def post(self, request: Request, session: UUID) -> Response:
        row = _find(request, session)
        by = frame.principal(request)
        if by is None:
            person = frame.person(request)
            if row.opener != person.actor:
                place = frame.environment(row.workspace_id, row.environment)
                memberships.require(person, row.workspace_id, CLOSERS, environment=place)
            closed = sessions.close(row.pk, by=person, now=frame.now(), correlation_id=frame.correlation_id(request))
            return Response(_shown(closed), status=201)
        if row.sticky:
            detail = "Labels would be lost with the sticky session; only a person may close it."
            raise Refusal("session_sticky", detail, status=403)
        closed = sessions.close(row.pk, by=by, now=frame.now(), correlation_id=frame.correlation_id(request))
        return Response(_shown(closed), status=201)


def _by_person(request: Request, body: dict[str, Any]) -> Session:
    person = frame.person(request)
    workspace = permissions.workspace_of(request, body.get("workspace"))
    missing = next((name for name in ("environment", "agent") if not body.get(name)), None)
    if missing:
        raise Refusal("invalid", f"{missing}: it is needed to open a session.", field=missing)
    place = frame.environment(workspace.pk, body["environment"])
    memberships.require(person, workspace.pk, OPENERS, environment=place)
    bind = _bind(workspace.pk, body)
    return sessions.open(
        person,
        workspace=workspace.pk,
        environment=place.name,
        agent=body["agent"],
        now=frame.now(),
        correlation_id=frame.correlation_id(request),
        user_request=body.get("request"),
        on_behalf_of=body.get("on_behalf_of"),
        parent=body.get("parent"),
        bind=bind,
    )


def _by_credential(request: Request, principal: Principal, body: dict[str, Any]) -> Session:
    return sessions.open(
        principal,
        workspace=principal.workspace,
        environment=body.get("environment", principal.environment),
        agent=body.get("agent", principal.agent or ""),
        now=frame.now(),
        correlation_id=frame.correlation_id(request),
        user_request=body.get("request"),
        on_behalf_of=body.get("on_behalf_of"),
        parent=body.get("parent"),
        bind=_bind(principal.workspace, body),
    )


def _bind(workspace: UUID, body: dict[str, Any]) -> Principal | None:
    if not body.get("credential"):
        return None
    principal = credentials.principal_of(body["credential"])
    if principal.workspace != workspace:
        raise not_found("credential")
    return principal


def _find(request: Request, session: UUID) -> Session:
    row = Session.objects.filter(pk=session).first()
    if row is None:
        raise not_found("session")
    principal = frame.principal(request)
    if principal is None:
        frame.member(request, row.workspace_id, "session")
    elif principal.id != row.credential_id and principal.actor != row.opener:
        raise not_found("session")
    return row


def _shown(row: Session) -> dict[str, Any]:
    return _row(row, sessions.labels_of(row.root_id))


def _listed(row: Any) -> dict[str, Any]:
    """Show a row of a list, which brings its labels along."""
    return _row(row, row.labels_now)


def _row(row: Session, labels: Sequence[str]) -> dict[str, Any]:
    ids = {"id": row.pk, "credential": row.credential_id, "parent": row.parent_id, "root": row.root_id}
    return ids | {name: getattr(row, name) for name in _PLAIN} | {"labels": labels}
