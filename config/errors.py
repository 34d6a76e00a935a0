"""One shape for every error of the API: problem+json (RFC 9457) with a code and the correlation id."""

from http import HTTPStatus
from typing import Any

import structlog
from django.core.exceptions import PermissionDenied
from django.db import DatabaseError, OperationalError
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import render
from rest_framework import exceptions
from rest_framework.request import Request

from audit.refusal import Refusal

log = structlog.get_logger(__name__)
CODES = {
    400: "bad_request",
    401: "not_authenticated",
    403: "forbidden",
    404: "not_found",
    405: "method_not_allowed",
    406: "not_acceptable",
    415: "unsupported_media_type",
    429: "rate_limited",
    500: "internal_error",
    503: "unavailable",
}


def problem(
    request: HttpRequest | Request, *, status: int, code: str, detail: str, field: str | None = None, **extra: object
) -> JsonResponse:
    """Return a problem document. `extra` are further members, such as `reasons` of a denial."""
    correlation_id = getattr(request, "correlation_id", "")
    document: dict[str, object] = {
        "type": f"urn:placet:error:{code}",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "code": code,
        "detail": detail,
        "instance": request.path,
        "correlation_id": correlation_id,
    }
    if field is not None:
        document["field"] = field
    response = JsonResponse(document | extra, status=status, content_type="application/problem+json")
    response.headers["Cache-Control"] = "no-store"
    if status == HTTPStatus.UNAUTHORIZED:
        response.headers["WWW-Authenticate"] = 'Bearer realm="placet"'
    if status in (HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE, HTTPStatus.CONFLICT):
        response.headers["Retry-After"] = str(extra.get("retry_after", 1))
    return response


def respond(error: Exception, context: dict[str, Any]) -> HttpResponse | None:
    """DRF's exception handler: every error of a view becomes a problem document."""
    request = context["request"]
    if isinstance(error, Refusal):
        return from_refusal(request, error)
    if isinstance(error, exceptions.ValidationError):
        errors = _flatten(error.detail)
        field, detail = errors[0]
        listed = [{"field": name, "detail": text} for name, text in errors]
        return problem(request, status=400, code="invalid", detail=f"{field}: {detail}", field=field, errors=listed)
    if isinstance(error, exceptions.APIException):
        code = CODES.get(error.status_code, "error")
        response = problem(request, status=error.status_code, code=code, detail=_first(error.detail))
        wait = getattr(error, "wait", None)
        if wait is not None:
            response.headers["Retry-After"] = str(int(wait) + 1)
        return response
    if isinstance(error, Http404):
        return problem(request, status=404, code="not_found", detail="There is nothing here that you can see.")
    if isinstance(error, PermissionDenied):
        return problem(request, status=403, code="forbidden", detail="You may not do this.")
    if isinstance(error, OperationalError):
        log.error("database unavailable", error=str(error))
        return problem(request, status=503, code="unavailable", detail="The database does not answer. Try again.")
    log.exception("unexpected error", kind=type(error).__name__, database=isinstance(error, DatabaseError))
    return problem(
        request,
        status=500,
        code="internal_error",
        detail="An error of ours. Report the correlation id to the operator.",
    )


def from_refusal(request: HttpRequest | Request, refusal: Refusal) -> JsonResponse:
    """Return the problem document of `refusal`."""
    return problem(
        request, status=refusal.status, code=refusal.code, detail=refusal.detail, field=refusal.field, **refusal.extra
    )


def _first(detail: object) -> str:
    while isinstance(detail, (list, dict)):
        detail = next(iter(detail.values() if isinstance(detail, dict) else detail), "")
    return str(detail)


def _flatten(detail: object, path: str = "") -> list[tuple[str, str]]:
    if isinstance(detail, dict):
        return [
            pair for key, value in detail.items() for pair in _flatten(value, f"{path}.{key}" if path else str(key))
        ]
    if isinstance(detail, list):
        return [pair for value in detail for pair in _flatten(value, path)] or [(path or "body", "is not valid")]
    return [(path or "body", str(detail))]


def _page(request: HttpRequest, status: int, code: str, detail: str) -> HttpResponse:
    if "text/html" in request.headers.get("Accept", ""):
        context = {"title": HTTPStatus(status).phrase, "detail": detail, "code": code}
        return render(request, "error.html", context, status=status)
    return problem(request, status=status, code=code, detail=detail)


def bad_request(request: HttpRequest, exception: Exception) -> HttpResponse:
    """Answer 400 outside DRF."""
    return _page(request, 400, "bad_request", "The request cannot be understood.")


def forbidden(request: HttpRequest, exception: Exception) -> HttpResponse:
    """Answer 403 outside DRF."""
    return _page(request, 403, "forbidden", "You may not do this.")


def not_found(request: HttpRequest, exception: Exception) -> HttpResponse:
    """Answer 404 outside DRF."""
    return _page(request, 404, "not_found", "There is nothing here that you can see.")


def server_error(request: HttpRequest) -> HttpResponse:
    """Answer 500 outside DRF."""
    return _page(request, 500, "internal_error", "An error of ours. Report the correlation id to the operator.")
