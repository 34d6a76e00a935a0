"""Issuers of JWTs that are believed, and the subjects that act as credentials."""

from typing import Any
from uuid import UUID

from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from audit.refusal import not_found
from gateway import trusts
from gateway.api import credentials, frame, shapes
from gateway.models import Credential, Trust
from registry import authentication, memberships, permissions
from registry.models import Role

_PLAIN = (
    "environment", "name", "issuer", "audience", "jwks_url", "jwks", "algorithms", "claim", "behalf_claim",
    "longest_seconds", "created_at", "created_by", "revoked_at",
)  # fmt: skip


class TrustsView(APIView):
    """Trusts of a workspace."""

    permission_classes = (permissions.SignedIn,)

    @extend_schema(
        operation_id="trusts_create",
        summary="Believe an issuer's JWTs",
        request=shapes.TrustRequest,
        responses={201: shapes.TrustRow, **frame.refusals(409)},
    )
    def post(self, request: Request) -> Response:
        body = frame.parsed(shapes.TrustRequest, request.data)
        workspace = permissions.workspace_of(request, body.pop("workspace"))
        place = frame.environment(workspace.pk, body.pop("environment"))
        row = trusts.create(place, **body, **_decided(request))
        return Response(_shown(row), status=201)

    @extend_schema(
        operation_id="trusts_list",
        summary="List trusts, the newest first",
        parameters=[frame.PageQuery],
        responses={200: shapes.TrustPage, **frame.refusals()},
    )
    def get(self, request: Request) -> Response:
        query = frame.parsed(frame.PageQuery, request.query_params)
        workspace = permissions.workspace_of(request, query.get("workspace"))
        rows = Trust.objects.filter(workspace=workspace).select_related("workspace", "fetched")
        return frame.page(request, query, rows, _shown)


class TrustView(APIView):
    """One trust."""

    permission_classes = (permissions.SignedIn,)

    @extend_schema(operation_id="trusts_retrieve", responses={200: shapes.TrustRow, **frame.refusals()})
    def get(self, request: Request, trust: UUID) -> Response:
        return Response(_shown(_find(request, trust)))


class RevocationsView(APIView):
    """The end of a trust and of its credentials, for good."""

    permission_classes = (permissions.SignedIn,)

    @extend_schema(operation_id="trusts_revoke", request=None, responses={201: shapes.TrustRow, **frame.refusals()})
    def post(self, request: Request, trust: UUID) -> Response:
        row = _find(request, trust)
        person = frame.person(request)
        memberships.require(
            person,
            row.workspace_id,
            [Role.ADMIN, Role.SECURITY],
            environment=frame.environment(row.workspace_id, row.environment),
        )
        trusts.revoke(row, actor=person, now=frame.now(), correlation_id=frame.correlation_id(request))
        return Response(_shown(_find(request, trust)), status=201)


class CredentialsView(APIView):
    """Federated credentials of a trust."""

    permission_classes = (permissions.SignedIn,)

    @extend_schema(
        operation_id="trusts_admit",
        summary="Let a subject act as a credential",
        request=shapes.AdmissionRequest,
        responses={201: shapes.CredentialRow, **frame.refusals(409)},
    )
    def post(self, request: Request, trust: UUID) -> Response:
        row = _find(request, trust)
        body = frame.parsed(shapes.AdmissionRequest, request.data)
        owner = credentials.owner(row.workspace_id, body.pop("owner")) or frame.person(request)
        made = trusts.admit(row, owner=owner, **body, **_decided(request))
        return Response(credentials.shown(Credential.objects.prefetch_related("keys").get(pk=made.pk)), status=201)


def _decided(request: Request) -> dict[str, Any]:
    return {
        "actor": frame.person(request),
        "now": frame.now(),
        "correlation_id": frame.correlation_id(request),
        "proof": authentication.of(request),
    }


def _find(request: Request, trust: UUID) -> Trust:
    row = Trust.objects.filter(pk=trust).select_related("workspace", "fetched").first()
    if row is None:
        raise not_found("trust")
    frame.member(request, row.workspace_id, "trust")
    return row


def _shown(row: Trust) -> dict[str, Any]:
    fetched = getattr(row, "fetched", None)
    keys = {"fetched_at": fetched and fetched.fetched_at, "failure": fetched.failure if fetched else ""}
    return {"id": row.pk, "workspace": row.workspace.slug, **keys} | {name: getattr(row, name) for name in _PLAIN}
