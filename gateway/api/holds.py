"""Holds over REST: what a person decides on, and their word on it."""

from typing import Any
from uuid import UUID

from django.urls import reverse
from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from audit.refusal import not_found
from gateway import deciders, disclosures, holds, recall, telemetry
from gateway.api import frame, shapes
from gateway.models import Hold
from registry import authentication, permissions

_PLAIN = (
    "environment", "agent", "name", "state", "codes", "requirements", "digest", "tool_digest", "policy",
    "baseline", "release", "on_behalf_of", "run_starter", "session_opener", "credential_owner", "opened_at",
    "expires_at", "closed_at",
)  # fmt: skip


class HoldsView(APIView):
    """Holds of a workspace."""

    permission_classes = (permissions.SignedIn,)

    @extend_schema(
        operation_id="holds_list",
        summary="List holds, the newest first",
        parameters=[shapes.HoldQuery],
        responses={200: shapes.HoldPage, **frame.refusals()},
    )
    def get(self, request: Request) -> Response:
        query = frame.parsed(shapes.HoldQuery, request.query_params)
        rows = Hold.objects.filter(workspace_id=permissions.workspace_of(request, query.get("workspace")).pk)
        for name in ("state", "environment", "agent"):
            if name in query:
                rows = rows.filter(**{name: query[name]})
        return frame.page(request, query, rows, _shown)


class HoldView(APIView):
    """One hold, with the arguments as they would be executed."""

    permission_classes = (permissions.SignedIn,)

    @extend_schema(operation_id="holds_retrieve", responses={200: shapes.HoldDetail, **frame.refusals(410)})
    def get(self, request: Request, hold: UUID) -> Response:
        row = _find(request, hold)
        _, executed = recall.arguments_of(row.decided_record)
        decision = recall.decision_of(row.decided_record)
        verdicts = [
            {"approver": given.approver.username, "verdict": given.verdict, "comment": given.comment, "at": given.at}
            for given in row.approvals.select_related("approver").order_by("pk")
        ]
        reasons = decision.reasons if decision else ()
        # Who decides has to see what would run; everybody else looks without what may be personal or secret.
        may_decide = deciders.refusal(row, frame.person(request)) is None
        seen = executed if may_decide and row.state == Hold.State.OPEN else disclosures.masked(executed)
        return Response(
            _shown(row)
            | {
                "arguments": seen,
                "reasons": [{"code": r.code, "message": r.message, "layer": r.layer} for r in reasons],
                "verdicts": verdicts,
                "may_decide": may_decide,
            }
        )


class ApprovalsView(APIView):
    """Approvals of a hold."""

    permission_classes = (permissions.SignedIn,)

    @extend_schema(
        operation_id="holds_approve",
        description="The call goes on when its caller, or the executor, asks again with the same key.",
        request=shapes.HoldDecision,
        responses={201: shapes.HoldRow, **frame.refusals(409)},
    )
    def post(self, request: Request, hold: UUID) -> Response:
        row = _find(request, hold)
        workspace = permissions.workspace_of(request, str(row.workspace_id))
        page = reverse("pages:hold", args=[workspace.slug, row.pk])
        permissions.require_browser(request, frame.environment(row.workspace_id, row.environment), page)
        row = holds.approve(row.pk, **_verdict(request))
        telemetry.HOLDS.labels("approved").inc()
        return Response(_shown(row), status=201)


class RejectionsView(APIView):
    """Rejections of a hold."""

    permission_classes = (permissions.SignedIn,)

    @extend_schema(
        operation_id="holds_reject",
        request=shapes.HoldDecision,
        responses={201: shapes.HoldRow, **frame.refusals(409)},
    )
    def post(self, request: Request, hold: UUID) -> Response:
        row = _find(request, hold)
        row = holds.reject(row.pk, **_verdict(request))
        telemetry.HOLDS.labels("rejected").inc()
        return Response(_shown(row), status=201)


def _verdict(request: Request) -> dict[str, Any]:
    body = frame.parsed(shapes.HoldDecision, request.data)
    person, correlation_id = frame.person(request), frame.correlation_id(request)
    proof = authentication.of(request)
    return {**body, "approver": person, "now": frame.now(), "correlation_id": correlation_id, "proof": proof}


def _find(request: Request, hold: UUID) -> Hold:
    row = Hold.objects.filter(pk=hold).first()
    if row is None:
        raise not_found("hold")
    frame.member(request, row.workspace_id, "hold")
    return row


def _shown(row: Hold) -> dict[str, Any]:

    return {"id": row.pk, "call": row.call_id} | {name: getattr(row, name) for name in _PLAIN}
