"""The executor's own keys: one per step for all its attempts, and a fingerprint per request to start a run."""

import hmac
from collections.abc import Mapping
from uuid import UUID

from agents.plan import Ask
from audit import canonical, keys
from audit.canonical import JSON


def step(workspace: UUID, run: UUID, no: int, ask: Ask) -> str:
    """Return the idempotency key of step `no`. It is kept with the step, so rotating the secret changes none."""
    return _digest("step", [str(workspace), str(run), no, ask.kind, ask.name, dict(ask.arguments)]).hex()


def fingerprint(asked: Mapping[str, JSON]) -> bytes:
    """Return what tells one request to start a run from another under the same idempotency key."""
    return _digest("run", dict(asked))


def fits(kept: bytes, asked: Mapping[str, JSON]) -> bool:
    """Say whether a fingerprint that was kept is that of `asked`, under any secret that is still good."""
    return any(
        hmac.compare_digest(kept, _digest("run", dict(asked), secret)) for secret in keys.every_secret("executor.hmac")
    )


def _digest(purpose: str, value: JSON, secret: bytes | None = None) -> bytes:
    message = purpose.encode() + b"\0" + canonical.dumps(value)
    return hmac.digest(secret or keys.secret("executor.hmac"), message, "sha256")
