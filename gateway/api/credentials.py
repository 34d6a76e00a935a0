"""Credentials over REST. A key is in the answer that makes it, and nowhere else."""

from datetime import timedelta
from typing import Any
from uuid import UUID

from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from audit.refusal import Refusal, not_found
from gateway import credentials
from gateway.api import frame, shapes
from gateway.models import Credential
from registry import authentication, memberships, permissions
from registry.models import Membership, Person

MAKERS = ("operator", "admin")
REVOKERS = ("operator", "admin", "security")
_PLAIN = (
    "environment", "agent", "kind", "name", "scopes", "created_at", "created_by", "expires_at", "revoked_at",
)  # fmt: skip


class CredentialsView(APIView):
    """Credentials of a workspace."""

    permission_classes = (permissions.SignedIn,)

    @extend_schema(
        operation_id="credentials_create",
        summary="Make a credential",
        request=shapes.CredentialRequest,
        responses={201: shapes.CredentialMade, **frame.refusals()},
    )
    def post(self, request: Request) -> Response:
        body = frame.parsed(shapes.CredentialRequest, request.data)
        person = frame.person(request)
        workspace = permissions.workspace_of(request, body["workspace"])
        place = frame.environment(workspace.pk, body["environment"])
        memberships.require(person, workspace.pk, MAKERS, environment=place)
        row, key = credentials.create(
            workspace,
            environment=place.name,
            agent=body["agent"],
            owner=owner(workspace.pk, body.get("owner")) or person,
            scopes=body["scopes"],
            expires_at=body["expires_at"],
            name=body["name"],
            actor=person,
            now=frame.now(),
            correlation_id=frame.correlation_id(request),
            proof=authentication.of(request),
        )
        return _secret(shown(row) | {"key": key})

    @extend_schema(
        operation_id="credentials_list",
        summary="List credentials, the newest first",
        parameters=[frame.PageQuery],
        responses={200: shapes.CredentialPage, **frame.refusals()},
    )
    def get(self, request: Request) -> Response:
        query = frame.parsed(frame.PageQuery, request.query_params)
        workspace = permissions.workspace_of(request, query.get("workspace"))
        rows = Credential.objects.filter(workspace=workspace).select_related("owner").prefetch_related("keys")
        return frame.page(request, query, rows, shown)


class CredentialView(APIView):
    """One credential."""

    permission_classes = (permissions.SignedIn,)

    @extend_schema(operation_id="credentials_retrieve", responses={200: shapes.CredentialRow, **frame.refusals()})
    def get(self, request: Request, credential: UUID) -> Response:
        return Response(shown(_find(request, credential)))


class RotationsView(APIView):
    """A new key; the older ones end after an overlap."""

    permission_classes = (permissions.SignedIn,)

    @extend_schema(
        operation_id="credentials_rotate",
        request=shapes.RotationRequest,
        responses={201: shapes.CredentialMade, **frame.refusals(409)},
    )
    def post(self, request: Request, credential: UUID) -> Response:
        row = _find(request, credential)
        body = frame.parsed(shapes.RotationRequest, request.data)
        key = credentials.rotate(
            row,
            expires_at=body["expires_at"],
            overlap=timedelta(seconds=body["overlap_seconds"]),
            actor=_may(request, row, MAKERS),
            now=frame.now(),
            correlation_id=frame.correlation_id(request),
            proof=authentication.of(request),
        )
        return _secret(shown(_find(request, credential)) | {"key": key})


class RevocationsView(APIView):
    """The end of a credential, for good."""

    permission_classes = (permissions.SignedIn,)

    @extend_schema(
        operation_id="credentials_revoke", request=None, responses={201: shapes.CredentialRow, **frame.refusals(409)}
    )
    def post(self, request: Request, credential: UUID) -> Response:
        row = _find(request, credential)
        actor = _may(request, row, REVOKERS)
        credentials.revoke(row, actor=actor, now=frame.now(), correlation_id=frame.correlation_id(request))
        return Response(shown(_find(request, credential)), status=201)


def _secret(document: dict[str, Any]) -> Response:
    response = Response(document, status=201)
    response.headers["Cache-Control"] = "no-store"
    return response


def _find(request: Request, credential: UUID) -> Credential:
    row = Credential.objects.filter(pk=credential).select_related("owner").prefetch_related("keys").first()
    if row is None:
        raise not_found("credential")
    frame.member(request, row.workspace_id, "credential")
    return row


def _may(request: Request, row: Credential, roles: tuple[str, ...]) -> Person:
    """Return the person if they answer for the credential or hold one of `roles`. :raises Refusal: role_missing."""
    person = frame.person(request)
    if person.pk != row.owner_id:
        place = frame.environment(row.workspace_id, row.environment)
        memberships.require(person, row.workspace_id, roles, environment=place)
    return person


def owner(workspace: UUID, username: str | None) -> Person | None:
    """Return the member of that name. :raises Refusal: owner_not_member."""
    if username is None:
        return None
    row = Membership.objects.filter(workspace_id=workspace, person__username=username).select_related("person").first()
    if row is None:
        raise Refusal("owner_not_member", "The owner must be an active member of the workspace.", field="owner")
    return row.person


def shown(row: Credential) -> dict[str, Any]:
    """Return a credential as the API shows it."""
    keys = [
        {name: getattr(key, name) for name in ("prefix", "created_at", "expires_at", "last_used_at")}
        for key in row.keys.all()
    ]
    base = {"id": row.pk, "owner": row.owner.username if row.owner else None, "keys": keys}
    return base | {name: getattr(row, name) for name in _PLAIN}
