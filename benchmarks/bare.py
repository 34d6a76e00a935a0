"""The least that an ungoverned endpoint has to do: know who asks, and insert one row durably."""

from hashlib import sha256

from django.db import connection
from django.http import HttpRequest, JsonResponse
from django.views.decorators.csrf import csrf_exempt

from audit.uuid7 import uuid7

# The anchors' table; pgbench inserts into the same one.
TABLE = """
CREATE TABLE bench_row (id uuid PRIMARY KEY, credential uuid NOT NULL, body bytea NOT NULL);
GRANT SELECT, INSERT ON bench_row TO placet_web;
"""
_LOOK_UP = "SELECT credential_id FROM gateway_key WHERE hash = %s AND expires_at > now()"
_INSERT = "INSERT INTO bench_row (id, credential, body) VALUES (%s, %s, %s)"


@csrf_exempt
def insert(request: HttpRequest) -> JsonResponse:
    """Authenticate the bearer key by its hash and keep the body: two statements, one commit."""
    key = request.META.get("HTTP_AUTHORIZATION", "").removeprefix("Bearer ")
    with connection.cursor() as cursor:
        cursor.execute(_LOOK_UP, [sha256(key.encode()).digest()])
        found = cursor.fetchone()
        if found is None:
            return JsonResponse({"code": "credential_unknown"}, status=401)
        pk = uuid7()
        cursor.execute(_INSERT, [pk, found[0], request.body])
    return JsonResponse({"id": str(pk)})
