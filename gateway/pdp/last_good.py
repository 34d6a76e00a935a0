"""The last-good rule: with OPA away, a read that may be degraded is decided by the same policies, embedded.

Only when nobody answers. An answer that is wrong, undefined or an error is a deny: then somebody is there who does
not say what the policies say. The decision's engine names the rule, so the trail tells which calls went this way.
"""

import functools
import time
from dataclasses import replace
from uuid import UUID

import structlog

from audit.refusal import Refusal
from gateway.pdp.question import Engine, PdpFailed, Question, Reply
from registry import resolve

AWAY = frozenset({"pdp_unavailable", "pdp_timeout", "pdp_slow", "pdp_cut"})
log = structlog.get_logger(__name__)


class LastGood:
    """`first`, or for degradable reads `second` while `first` is away."""

    def __init__(self, first: Engine, second: Engine) -> None:
        self._first = first
        self._second = second

    def evaluate(self, question: Question) -> Reply:
        """Return what `first` says, or what `second` says in its place. :raises PdpFailed:"""
        if not question.degradable:
            return self._first.evaluate(question)
        # The second needs time, too.
        half = time.monotonic() + (question.until - time.monotonic()) / 2
        try:
            return self._first.evaluate(replace(question, until=half))
        except PdpFailed as failed:
            if failed.code not in AWAY or not _portable(question):
                raise
            log.warning("decided by the last good policies", code=failed.code, environment=question.environment)
            reply = self._second.evaluate(question)
            return replace(reply, engine=f"embedded:last_good {reply.engine}")


def _portable(question: Question) -> bool:
    """Say whether both engines may evaluate the policies; the floor always is portable."""
    try:
        return all(_requires(question.workspace, one) == "portable" for one in (question.policy, question.baseline))
    except Refusal:
        return False  # a policy that nobody knows


@functools.lru_cache(maxsize=1024)
def _requires(workspace: UUID, digest: str) -> str:
    return str(resolve.by_digest(workspace, digest)["content"]["requires"])
