"""What surrounds every request: a correlation id of ours, and a strict content security policy."""

from collections.abc import Callable
from typing import Any

import structlog
from django.core.handlers.exception import convert_exception_to_response
from django.http import HttpRequest, HttpResponse

from audit.uuid7 import uuid7
from config.content_policy import CONTENT_SECURITY_POLICY
from gateway.api import calls

GetResponse = Callable[[HttpRequest], HttpResponse]


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


class Shortcut:
    """Lead the making of a call past what only people's browsers need: cookies, sessions, messages, CSRF, history.

    What is left of the way behind is done here: the host is checked, and the answer carries the same headers.
    """

    PATH = "/api/v1/tool-calls/"
    HEADERS = (
        ("Content-Security-Policy", CONTENT_SECURITY_POLICY),
        ("X-Frame-Options", "DENY"),
        ("X-Content-Type-Options", "nosniff"),
        ("Referrer-Policy", "same-origin"),
        ("Cross-Origin-Opener-Policy", "same-origin"),
    )

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response
        self.call: Any = convert_exception_to_response(_call)

    def __call__(self, request: HttpRequest) -> HttpResponse:
        if request.method != "POST" or request.path_info != self.PATH:
            return self.get_response(request)
        response: HttpResponse = self.call(request)
        for name, value in self.HEADERS:
            response.headers[name] = value
        response.headers["Content-Length"] = str(len(response.content))
        return response


def _call(request: HttpRequest) -> HttpResponse:
    request.get_host()  # raises what the handler of errors answers with 400
    return calls.create(request)
