"""What surrounds every request: a correlation id of ours, and a strict content security policy."""

from collections.abc import Callable

import structlog
from django.http import HttpRequest, HttpResponse

from audit.uuid7 import uuid7

GetResponse = Callable[[HttpRequest], HttpResponse]
CONTENT_SECURITY_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self'; "
    "connect-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
)


class Correlation:
    """Give each request a correlation id of ours; an inbound X-Request-ID proves nothing and is ignored."""

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        correlation_id = str(uuid7())
        request.correlation_id = correlation_id  # type: ignore[attr-defined]
        structlog.contextvars.clear_contextvars()
        structlog.contextvars.bind_contextvars(correlation_id=correlation_id)
        response = self.get_response(request)
        response.headers["X-Correlation-ID"] = correlation_id
        return response


class ContentSecurityPolicy:
    """Send the policy with every answer; nothing here needs an inline script, an inline style or another host."""

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        response = self.get_response(request)
        response.headers.setdefault("Content-Security-Policy", CONTENT_SECURITY_POLICY)
        return response
