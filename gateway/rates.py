"""Rates of tools: exact moving windows in Valkey, shared by all processes. Without Valkey, mostly nothing is called."""

import functools
import time
from typing import Any

import redis.exceptions
from django.conf import settings
from limits import RateLimitItemPerSecond
from limits.storage import Storage, storage_from_string
from limits.strategies import MovingWindowRateLimiter

from audit.canonical import JSON
from audit.refusal import Refusal
from registry.resolve import Contract, Release

_VALKEY_SECONDS = 0.25


def take(release: Release, contract: Contract) -> list[dict[str, JSON]]:
    """Take one token of the tool's rate, if its contract has one; return [{"name", "used", "limit"}].

    :raises Refusal: rate_limited; rate_unavailable, unless the tool is a degradable read.
    """
    rate = contract.content.get("rate")
    if rate is None:
        return []
    window = RateLimitItemPerSecond(rate["calls"], rate["seconds"], namespace="placet")
    key = (str(release.workspace), release.environment, contract.kind, contract.name)
    try:
        limiter = MovingWindowRateLimiter(_valkey(settings.CACHE_URL))
        taken = limiter.hit(window, *key)
        stats = limiter.get_window_stats(window, *key)
    except (redis.exceptions.RedisError, OSError) as error:
        if contract.content.get("degradable") and contract.content.get("effect") == "read":
            return []
        detail = "The rate of this tool cannot be counted now, so it may not be called."
        raise Refusal("rate_unavailable", detail, status=503, retry_after=5) from error
    if not taken:
        wait = max(1, int(stats.reset_time - time.time()) + 1)
        detail = f"{contract.name} may be called {rate['calls']} times in {rate['seconds']} s."
        raise Refusal("rate_limited", detail, status=429, retry_after=wait)
    return [{"name": "rate", "used": rate["calls"] - stats.remaining, "limit": rate["calls"]}]


@functools.cache
def _valkey(url: str) -> Storage:
    storage: Any = storage_from_string(url, socket_timeout=_VALKEY_SECONDS, socket_connect_timeout=_VALKEY_SECONDS)
    return storage  # type: ignore[no-any-return]
