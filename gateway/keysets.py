"""The public keys of trusted issuers: kept in the database, fetched seldom, whoever asks and however often."""

import json
import time
from collections.abc import Mapping
from typing import Any
from uuid import UUID

from django.db import connection

from audit import canonical
from audit.refusal import Refusal
from audit.uuid7 import uuid7
from gateway import connect

FRESH_SECONDS = 600  # how long keys are used without asking again
STALE_SECONDS = 24 * 3600  # how long they are used while the issuer cannot be reached
RETRY_SECONDS = 30  # at most one question in this time for a trust, in all processes together
FETCH_SECONDS = 2.0
MOST_BYTES = 65_536
_READ = """
SELECT jwks::text, extract(epoch FROM now() - fetched_at)::float8 FROM gateway_keyset WHERE trust_id = %s
"""
# Who gets a row back may ask the issuer; all others use what there is.
_CLAIM = """
INSERT INTO gateway_keyset AS held (id, trust_id, tried_at, failure) VALUES (%s, %s, now(), '')
ON CONFLICT (trust_id) DO UPDATE SET tried_at = now() WHERE held.tried_at < now() - %s * interval '1 s'
RETURNING 1
"""
_KEEP = "UPDATE gateway_keyset SET jwks = %s::jsonb, fetched_at = now(), failure = '' WHERE trust_id = %s"
_FAIL = "UPDATE gateway_keyset SET failure = %s WHERE trust_id = %s"


def find(trust: UUID, url: str, kid: str) -> Mapping[str, Any]:
    """Return the key set of a trust, asking its issuer if `kid` is not in it or it is old, and if it is time to.

    :raises Refusal: keys_unavailable (503): there are no keys, or they are older than a day.
    """
    held, age = _read(trust)
    if held is None or age > FRESH_SECONDS or not has(held, kid):
        if _may_ask(trust):
            _ask(trust, url)
        held, age = _read(trust)
    if held is None or age > STALE_SECONDS:
        detail = "The issuer's keys cannot be fetched now, so the token cannot be checked. Try again."
        raise Refusal("keys_unavailable", detail, status=503)
    return held


def has(keys: Mapping[str, Any], kid: str) -> bool:
    """Say whether a key of that id is in the set."""
    return any(key.get("kid") == kid for key in keys["keys"])


def check(keys: Any) -> Mapping[str, Any]:
    """Return a JSON Web Key Set (RFC 7517) of public keys. :raises Refusal: jwks_invalid."""
    listed = keys.get("keys") if isinstance(keys, dict) else None
    usable = isinstance(listed, list) and bool(listed) and all(_public(key) for key in listed)
    if not usable:
        detail = 'Give {"keys": [...]} with public RSA, EC or OKP keys, each with a kid, and no private member.'
        raise Refusal("jwks_invalid", detail, field="jwks")
    return {"keys": listed}


def _public(key: Any) -> bool:
    """Say whether `key` is public and asymmetric: a symmetric one would let everybody sign who can check."""
    return isinstance(key, dict) and key.get("kty") in ("RSA", "EC", "OKP") and bool(key.get("kid")) and "d" not in key


def _read(trust: UUID) -> tuple[Mapping[str, Any] | None, float]:
    with connection.cursor() as cursor:
        cursor.execute(_READ, [trust])
        row = cursor.fetchone()
    if row is None or row[0] is None:
        return None, 0.0
    loaded: Any = canonical.loads(row[0].encode())
    return loaded, row[1]


def _may_ask(trust: UUID) -> bool:
    with connection.cursor() as cursor:
        cursor.execute(_CLAIM, [uuid7(), trust, RETRY_SECONDS])
        return cursor.fetchone() is not None


def _ask(trust: UUID, url: str) -> None:
    """Fetch and keep the keys; on any failure keep what there was, and say why beside it."""
    try:
        answer = connect.fetch(url, purpose="jwks", deadline=time.monotonic() + FETCH_SECONDS, most_bytes=MOST_BYTES)
        if answer.status != 200:
            raise Refusal("jwks_status", f"The issuer answered {answer.status}.")
        given: Any = canonical.loads(answer.body)
        # Keys that we cannot use, encryption keys for one, are no reason to lose the others.
        keys = check(
            {"keys": [key for key in given.get("keys", []) if _public(key)]} if isinstance(given, dict) else None
        )
    except (connect.ConnectRefused, Refusal, ValueError) as error:
        with connection.cursor() as cursor:
            cursor.execute(_FAIL, [str(error)[:500], trust])
        return
    with connection.cursor() as cursor:
        cursor.execute(_KEEP, [json.dumps(keys), trust])
