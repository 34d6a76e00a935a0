"""Is this process alive, is it ready, and what has it counted?"""

import hmac
import shutil
import time

from django.conf import settings
from django.db import DatabaseError, connection
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.views.decorators.http import require_safe
from prometheus_client import CONTENT_TYPE_LATEST, Gauge, generate_latest

from audit import halts
from config import schema

LARGEST_SKEW = 2.0  # seconds against the database; past it, expiry and leases cannot be trusted


@require_safe
def live(request: HttpRequest) -> HttpResponse:
    """Answer 200 while the process can answer at all."""
    return HttpResponse("ok\n", content_type="text/plain")


@require_safe
def ready(request: HttpRequest) -> HttpResponse:
    """Answer 200 if calls can be decided and recorded here; else 503 with what is missing.

    `alarms` are for the operator: calls go on, though some tools are refused.
    """
    problems, alarms = [], []
    try:
        if (skew := _skew()) > LARGEST_SKEW:
            problems.append(f"clock differs from the database by {skew:.1f} s")
        problems += schema.problems()
        alarms = [f"the publisher refuses log {halt.workspace}: {halt.code}" for halt in halts.standing()]
    except DatabaseError:
        problems = problems or ["database does not answer"]
    told = {"ready": not problems, "problems": problems, "alarms": alarms}
    return JsonResponse(told, status=503 if problems else 200)


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


def _skew() -> float:
    with connection.cursor() as cursor:
        cursor.execute("SELECT extract(epoch FROM clock_timestamp())")
        return abs(float(cursor.fetchone()[0]) - time.time())


def _shown_skew() -> float:
    try:
        return _skew()
    except DatabaseError:
        return float("nan")  # nobody can tell


def _free() -> float:
    usage = shutil.disk_usage(settings.PLACET_HOME)
    return usage.free / usage.total


SKEW = Gauge("placet_clock_skew_seconds", "How far this machine's clock is off the database's.")
SKEW.set_function(_shown_skew)
FREE = Gauge("placet_disk_free_ratio", "Free part of the disk that PLACET_HOME is on, 0 to 1.")
FREE.set_function(_free)
