"""Is this process alive, is it ready, and what has it counted?"""

import hmac
import time

from django.conf import settings
from django.db import DatabaseError, connection
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.views.decorators.http import require_safe
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

LARGEST_SKEW = 2.0  # seconds against the database; past it, expiry and leases cannot be trusted


@require_safe
def live(request: HttpRequest) -> HttpResponse:
    """Answer 200 while the process can answer at all."""
    return HttpResponse("ok\n", content_type="text/plain")


@require_safe
def ready(request: HttpRequest) -> HttpResponse:
    """Answer 200 if calls can be decided and recorded here; else 503 with what is missing."""
    problems = []
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT extract(epoch FROM clock_timestamp())")
            skew = abs(float(cursor.fetchone()[0]) - time.time())
        if skew > LARGEST_SKEW:
            problems.append(f"clock differs from the database by {skew:.1f} s")
    except DatabaseError:
        problems.append("database does not answer")
    return JsonResponse({"ready": not problems, "problems": problems}, status=503 if problems else 200)


@require_safe
def metrics(request: HttpRequest) -> HttpResponse:
    """Prometheus text. With PLACET_METRICS_TOKEN set: its bearer only; else clients on this machine only."""
    token = settings.PLACET_METRICS_TOKEN
    given = request.headers.get("Authorization", "")
    local = request.META.get("REMOTE_ADDR", "") in ("127.0.0.1", "::1", "")
    allowed = hmac.compare_digest(given.encode(), f"Bearer {token}".encode()) if token else local
    if not allowed:
        return HttpResponse("metrics need the bearer token of PLACET_METRICS_TOKEN\n", status=403)
    return HttpResponse(generate_latest(), content_type=CONTENT_TYPE_LATEST)
