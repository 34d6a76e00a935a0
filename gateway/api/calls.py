"""Tool calls over REST. Making one is a plain Django view: DRF would cost a quarter of a millisecond each."""

import time
from typing import Any
from uuid import UUID

import jsonschema_rs
import orjson
from django.http import HttpRequest, HttpResponse
from django.utils import timezone
from django.views.decorators.csrf import csrf_exempt
from drf_spectacular.utils import OpenApiParameter, OpenApiResponse, extend_schema
from rest_framework.permissions import IsAuthenticated
from rest_framework.request import Request as ApiRequest
from rest_framework.response import Response
from rest_framework.settings import api_settings
from rest_framework.views import APIView

from audit import canonical
from audit.refusal import Refusal, not_found
from gateway import authentication, disclosures, pep, recall
from gateway.api import frame, shapes
from gateway.exchange import ARRIVED, Outcome, Request
from gateway.models import Call
from registry import permissions

_BODY = jsonschema_rs.Draft202012Validator(
    {
        "type": "object",
        "additionalProperties": False,
        "required": ["name", "arguments"],
        "properties": {
            "kind": {"enum": ["tool", "model"]},
            "name": {"type": "string", "maxLength": 200, "pattern": r"^[^\x00]+$"},  # PostgreSQL's text has no NUL
            "arguments": {"type": "object"},
            "session": {"anyOf": [{"type": "null"}, {"type": "string", "pattern": "^[0-9a-f-]{36}$"}]},
            "timeout_ms": {"type": "integer", "minimum": 1, "maximum": 600_000},
        },
    },
    offline=True,
)
# Codes of a denial or a failure that have a status of their own; any other denial is 403, any other failure 502.
_STATUS = {
    "rate_limited": 429,
    "concurrency_exceeded": 429,
    "rate_unavailable": 503,
    "trail_lagging": 503,
    "trail_broken": 503,
    "breaker_open": 503,
    "bulkhead_full": 503,
    "outcome_unrecorded": 503,
    "tool_timeout": 504,
    "deadline_passed": 504,
    "outcome_unknown": 504,
    "in_flight": 409,
}
_PLAIN = (
    "kind", "name", "environment", "agent", "run", "correlation_id", "state", "code", "attempt", "effect",
    "release", "tool_digest", "decided_record", "outcome_record", "fallback",
    "instead_of", "opened_at", "finished_at",
)  # fmt: skip


def create(request: HttpRequest) -> HttpResponse:
    """Make one call: 200 finished, 202 parked, else a problem document that says why."""
    try:
        principal = authentication.bearer(request)
        asked = _asked(request)
        outcome = pep.call(principal, asked, now=timezone.now())
        return _answer(request, outcome)
    except Exception as error:  # noqa: BLE001 - one shape for every error; the handler logs what it does not know
        return _refused(error, request)


class ToolCallsView(APIView):
    """Calls of a workspace, or of the credential that asks."""

    permission_classes = (IsAuthenticated,)

    @extend_schema(
        operation_id="tool_calls_create",
        summary="Make one call",
        description="Decided, recorded, executed if allowed, recorded. The same key and body never execute twice.",
        request=shapes.ToolCallRequest,
        parameters=[OpenApiParameter("Idempotency-Key", str, OpenApiParameter.HEADER, required=True)],
        responses={
            200: shapes.Outcome,
            202: OpenApiResponse(shapes.Outcome, description="Parked for a person; send the same request again."),
            **frame.refusals(409, 413, 415, 422, 429, 502, 503, 504),
        },
    )
    def post(self, request: ApiRequest) -> HttpResponse:
        return create(request._request)

    @extend_schema(
        operation_id="tool_calls_list",
        summary="List calls, the newest first",
        parameters=[shapes.CallQuery],
        responses={200: shapes.CallPage, **frame.refusals()},
    )
    def get(self, request: ApiRequest) -> Response:
        query = frame.parsed(shapes.CallQuery, request.query_params)
        principal = frame.principal(request)
        if principal is not None:
            rows = Call.objects.filter(workspace_id=frame.within(principal, query), credential_id=principal.id)
        else:
            rows = Call.objects.filter(workspace_id=permissions.workspace_of(request, query.get("workspace")).pk)
        for name in ("state", "session", "environment", "agent", "name"):
            if name in query:
                rows = rows.filter(**{name: query[name]})
        return frame.page(request, query, rows, _row)


class ToolCallView(APIView):
    """One call."""

    permission_classes = (IsAuthenticated,)

    @extend_schema(operation_id="tool_calls_retrieve", responses={200: shapes.CallDetail, **frame.refusals(410)})
    def get(self, request: ApiRequest, call: UUID) -> Response:
        row = _find(request, call)
        outcome = document(recall.outcome(row.pk))
        _, executed = recall.arguments_of(row.decided_record) if row.decided_record else (None, None)
        if frame.principal(request) is None:
            # The agent sees what was its own; a person asks on the call's page, with a reason that is on record.
            executed, outcome["result"] = disclosures.masked(executed), disclosures.masked(outcome.get("result"))
        return Response(_row(row) | {"arguments": executed, "outcome": outcome})


class SettlementsView(APIView):
    """What a person found out about a call whose outcome was unknown."""

    permission_classes = (permissions.SignedIn,)

    @extend_schema(
        operation_id="tool_calls_settle",
        request=shapes.SettlementRequest,
        responses={201: shapes.Outcome, **frame.refusals(409)},
    )
    def post(self, request: ApiRequest, call: UUID) -> Response:
        row = _find(request, call)
        body = frame.parsed(shapes.SettlementRequest, request.data)
        outcome = pep.settle(
            row.pk,
            person=frame.person(request),
            outcome=body["outcome"],
            result=body["result"],
            now=frame.now(),
            correlation_id=frame.correlation_id(request),
        )
        return Response(document(outcome), status=201)


_others = ToolCallsView.as_view()


@csrf_exempt
def tool_calls(request: HttpRequest) -> Any:
    """Send a POST the short way and everything else through DRF."""
    return create(request) if request.method == "POST" else _others(request)


# The OpenAPI document is made from this class, whichever way a request goes.
tool_calls.cls = ToolCallsView  # type: ignore[attr-defined]
tool_calls.initkwargs = {}  # type: ignore[attr-defined]


def document(outcome: Outcome) -> dict[str, Any]:
    """Return what a caller may know of an outcome."""
    decision = outcome.decision
    return {
        "id": str(outcome.call),
        "status": outcome.status,
        "attempt": outcome.attempt,
        "code": outcome.code,
        "message": outcome.message,
        "result": outcome.result,
        "is_error": outcome.is_error,
        "labels": list(outcome.labels),
        "reasons": [{"code": r.code, "message": r.message, "layer": r.layer} for r in decision.reasons]
        if decision
        else [],
        "hold": str(outcome.hold) if outcome.hold else None,
        "again": outcome.again,
        "replayed": outcome.replayed,
        "answered_by": outcome.answered_by or None,
        "instead_of": str(outcome.instead_of) if outcome.instead_of else None,
        "receipts": list(outcome.receipts),
    }


def _asked(request: HttpRequest) -> Request:
    """Return the request. :raises Refusal: whatever is wrong with it, by its own code."""
    if request.content_type != "application/json":
        raise Refusal("unsupported_media_type", "Send the call as application/json.", status=415)
    key = request.headers.get("Idempotency-Key", "")
    if not key:
        detail = "Send an Idempotency-Key header: a new one for each call, the same one when you ask again."
        raise Refusal("idempotency_key_missing", detail, field="Idempotency-Key")
    body = canonical.loads(request.read(canonical.LARGEST_BODY + 1), max_bytes=canonical.LARGEST_BODY)
    wrong = next(iter(_BODY.iter_errors(body)), None)
    if wrong is not None:
        place = "/".join(map(str, wrong.instance_path)) or "body"
        raise Refusal("invalid", f"{place}: {wrong.message[:300]}.", field=place)
    session = body.get("session")
    return Request(
        kind=body.get("kind", "tool"),
        name=body["name"],
        arguments=body["arguments"],
        key=key,
        correlation_id=frame.correlation_id(request),
        session=_uuid(session) if session else None,
        deadline=_deadline(request, body.get("timeout_ms")),
    )


def _deadline(request: HttpRequest, timeout_ms: int | None) -> float | None:
    """Return when the caller stops waiting: counted from the arrival, so that waiting for a place is in it."""
    if timeout_ms is None:
        return None
    return float(request.META.get(ARRIVED, time.monotonic())) + timeout_ms / 1000


def _uuid(text: str) -> UUID:
    try:
        return UUID(text)
    except ValueError as error:
        raise Refusal("invalid", "session: it is not a UUID.", field="session") from error


def _answer(request: HttpRequest, outcome: Outcome) -> HttpResponse:
    response: HttpResponse
    if outcome.status in ("finished", "parked"):
        # A result of 2 kB costs json twenty times what it costs orjson; what leaves here has a canonical form.
        body, status = orjson.dumps(document(outcome)), 200 if outcome.status == "finished" else 202
        response = HttpResponse(body, status=status, content_type="application/json")
        if outcome.status == "parked":
            response.headers["Location"] = f"{request.path}{outcome.call}/"
            response.headers["Retry-After"] = str(outcome.retry_after or recall.PARKED_SECONDS)
    else:
        response = _refused(_problem(outcome), request)
        if outcome.retry_after is not None:
            response.headers["Retry-After"] = str(outcome.retry_after)
    response.headers["Cache-Control"] = "no-store"
    if outcome.replayed:
        response.headers["Idempotency-Replayed"] = "true"
    return response


def _problem(outcome: Outcome) -> Refusal:
    """Return a call that was not carried out, or whose result cannot be told, as a problem."""
    ours = outcome.decision is not None and outcome.decision.failure is not None
    other = 503 if ours else {"denied": 403, "unknown": 504}.get(outcome.status, 502)
    more = document(outcome)
    more = {name: more[name] for name in ("reasons", "again", "replayed", "receipts", "labels")}
    return Refusal(
        outcome.code or outcome.status,
        outcome.message or "The call was not carried out.",
        status=_STATUS.get(outcome.code, other),
        call=str(outcome.call),
        outcome=outcome.status,
        **more,
    )


def _refused(error: Exception, request: HttpRequest) -> HttpResponse:
    """Return the problem document of `error`, as every other view does."""
    handler: Any = api_settings.EXCEPTION_HANDLER
    response: HttpResponse = handler(error, {"request": request})
    return response


def _find(request: ApiRequest, call: UUID) -> Call:
    row = Call.objects.filter(pk=call).first()
    if row is None:
        raise not_found("call")
    principal = frame.principal(request)
    if principal is None:
        frame.member(request, row.workspace_id, "call")
    elif row.credential_id != principal.id:
        raise not_found("call")
    return row


def _row(row: Call) -> dict[str, Any]:

    ids = {"id": row.pk, "credential": row.credential_id, "session": row.session_id}
    return ids | {name: getattr(row, name) for name in _PLAIN}
