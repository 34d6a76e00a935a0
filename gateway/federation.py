"""Bearer JWTs of the organisation's provider (RFC 7519, 8725): checked here, never issued here.

Order matters: an unverified token chooses nothing but the trust whose keys have to fit it; algorithms come from the
trust, never from the token; only then are its claims believed.
"""

import base64
import binascii
import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

from django.db import connection
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet

from audit import canonical
from audit.refusal import Refusal
from gateway import keysets
from gateway.principal import Principal

LONGEST = 8192
SKEW_SECONDS = 30
# Asymmetric alone. With HS256 whoever knows the public key could sign; `none` is no signature.
ALGORITHMS = (
    "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA", "Ed25519",
)  # fmt: skip
_FORM = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+")
_TRUSTS = """
SELECT id, workspace_id, environment, audience, jwks_url, jwks::text, algorithms, claim, behalf_claim, longest_seconds
FROM gateway_trust WHERE issuer = %s AND audience = ANY(%s) AND revoked_at IS NULL
"""
_CREDENTIAL = """
SELECT c.id, c.agent, c.owner_id, c.scopes, c.expires_at <= now(), c.revoked_at IS NOT NULL, p.is_active AND m.active
FROM gateway_credential c
JOIN registry_person p ON p.id = c.owner_id
LEFT JOIN registry_membership m ON m.person_id = c.owner_id AND m.workspace_id = c.workspace_id
WHERE c.trust_id = %s AND c.subject = %s ORDER BY c.revoked_at NULLS FIRST, c.id DESC LIMIT 1
"""


class Trusted(NamedTuple):
    """What a row of trusts says."""

    id: UUID
    workspace: UUID
    environment: str
    audience: str
    jwks_url: str
    jwks: str | None
    algorithms: list[str]
    claim: str
    behalf_claim: str
    longest_seconds: int


def looks_like(text: str) -> bool:
    """Say whether a bearer is a JWT by its form, and no key of ours."""
    return len(text) <= LONGEST and _FORM.fullmatch(text) is not None


def authenticate(text: str, *, now: datetime) -> Principal:
    """Return the principal of a JWT. :raises Refusal: 401 saying what is wrong with it; keys_unavailable (503)."""
    header, claims = (_peek(part) for part in text.split(".")[:2])
    trust = _trust(claims)
    if header.get("alg") not in trust.algorithms or "crit" in header:
        raise _refused("token_algorithm", f"Tokens are signed with {', '.join(trust.algorithms)} here.")
    kid = header.get("kid")
    if not isinstance(kid, str) or not kid:
        raise _refused("token_key_unknown", "The token does not say by `kid` which key signed it.")
    believed = _verified(text, trust, kid)
    _check_times(believed, trust, now)
    subject = believed.get(trust.claim)
    if not isinstance(subject, str) or not subject:
        raise _refused("token_claim_missing", f"The token has no claim {trust.claim}.")
    return _principal(trust, subject, _behalf(believed, trust))


def _trust(claims: Mapping[str, Any]) -> Trusted:
    """Return the one trust that an issuer and an audience lead to."""
    given = claims.get("aud")
    audiences = [given] if isinstance(given, str) else given
    issuer = claims.get("iss")
    if not isinstance(issuer, str) or not isinstance(audiences, list) or not all(isinstance(a, str) for a in audiences):
        raise _refused("token_malformed", "The token does not say who issued it (iss) and for whom (aud).")
    with connection.cursor() as cursor:
        cursor.execute(_TRUSTS, [issuer, audiences])
        rows = [Trusted(*row) for row in cursor.fetchall()]
    if len(rows) != 1:
        raise _refused("token_untrusted", "No trust of this installation fits the token's issuer and audience.")
    return rows[0]


def _verified(text: str, trust: Trusted, kid: str) -> Mapping[str, Any]:
    if trust.jwks is not None:
        keys: Mapping[str, Any] = canonical.loads(trust.jwks.encode())
    else:
        keys = keysets.find(trust.id, trust.jwks_url, kid)
    chosen = [key for key in keys["keys"] if key.get("kid") == kid]
    if not chosen:
        raise _refused("token_key_unknown", "No key of the issuer has the token's `kid`.")
    try:
        decoded = jwt.decode(text, KeySet.import_key_set({"keys": chosen}), algorithms=trust.algorithms)
        registry = jwt.JWTClaimsRegistry(iss={"essential": True}, aud={"essential": True, "value": trust.audience})
        registry.validate({name: decoded.claims[name] for name in ("iss", "aud")})
    except (JoseError, ValueError, KeyError, TypeError) as error:
        raise _refused("token_signature", "The token's signature does not fit the issuer's key.") from error
    return decoded.claims


def _check_times(claims: Mapping[str, Any], trust: Trusted, now: datetime) -> None:
    """Check exp, iat and nbf by our clock, with half a minute of grace, and how long the token lives."""
    moment = now.timestamp()
    given = [claims.get("iat"), claims.get("exp"), claims.get("nbf", claims.get("iat"))]
    times = [value for value in given if isinstance(value, int | float) and not isinstance(value, bool)]
    if len(times) != len(given):
        raise _refused("token_times", "The token needs iat and exp, in seconds.")
    issued, ends, begins = times
    if ends <= moment - SKEW_SECONDS:
        raise _refused("token_expired", "The token has expired; get a new one.")
    if max(issued, begins) > moment + SKEW_SECONDS:
        raise _refused("token_not_yet", "The token is not valid yet: is the clock of its issuer right?")
    if ends - issued > trust.longest_seconds:
        raise _refused("token_too_long", f"Tokens may live {trust.longest_seconds} s here; this one lives longer.")


def _behalf(claims: Mapping[str, Any], trust: Trusted) -> str | None:
    if not trust.behalf_claim or trust.behalf_claim not in claims:
        return None
    value = claims[trust.behalf_claim]
    if not isinstance(value, str) or not 0 < len(value) <= 320:
        raise _refused("token_claim_invalid", f"The claim {trust.behalf_claim} is not a short text.")
    return value


def _principal(trust: Trusted, subject: str, behalf: str | None) -> Principal:
    with connection.cursor() as cursor:
        cursor.execute(_CREDENTIAL, [trust.id, subject])
        row = cursor.fetchone()
    if row is None:
        raise _refused("credential_unknown", "The token is good, but no credential here has its subject.")
    pk, agent, owner, scopes, expired, revoked, owned = row
    if revoked:
        raise _refused("credential_revoked", "This credential was revoked.")
    if expired:
        raise _refused("credential_expired", "This credential has expired.")
    if not owned:
        raise _refused("credential_orphaned", "The person who answers for this credential has left the workspace.")
    return Principal(
        "agent", pk, trust.workspace, trust.environment, agent, owner, frozenset(scopes), behalf, f"credential:{pk}"
    )


def _peek(part: str) -> Mapping[str, Any]:
    """Return an unverified part of a token."""
    try:
        loaded = canonical.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
    except (ValueError, binascii.Error, Refusal) as error:
        raise _refused("token_malformed", "This is no JSON Web Token.") from error
    if not isinstance(loaded, dict):
        raise _refused("token_malformed", "This is no JSON Web Token.")
    return loaded


def _refused(code: str, detail: str) -> Refusal:
    return Refusal(code, detail, status=401)
