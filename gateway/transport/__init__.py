"""The only way to a tool or a model: called by gateway.pep alone, after the decision is on record."""

import random
import time
from collections.abc import Callable, Mapping
from typing import Protocol

from audit.canonical import JSON
from gateway import upstreams
from gateway.transport import bulkhead, http, mcp, openai, portal, python, scripted
from gateway.transport.outcome import Contract, Happened, Result, Scope, TransportFailed

__all__ = ["Result", "Scope", "TransportFailed", "close", "invoke", "open"]
# Failures after which the same request may well succeed.
_PASSING = {"tool_timeout", "tool_unreachable", "tool_busy"}
_PAUSE_SECONDS = 0.1
_TIMEOUT_MS = 30_000


class _Transport(Protocol):
    def __call__(
        self,
        contract: Contract,
        arguments: Mapping[str, JSON],
        *,
        key: str,
        deadline: float,
        scope: Scope,
        correlation_id: str,
    ) -> Result: ...


_TOOLS: dict[str, _Transport] = {"http": http.invoke, "mcp": mcp.invoke, "python": python.invoke}
_MODELS: dict[str, _Transport] = {"openai": openai.invoke, "scripted": scripted.invoke}


def open() -> None:
    """Start the event loop of the tool clients now instead of with the first call."""
    portal.get()


def close() -> None:
    """End all tool servers of this process. A later call starts them again."""
    portal.close()


def invoke(
    contract: Contract,
    arguments: Mapping[str, JSON],
    *,
    key: str,
    deadline: float,
    scope: Scope,
    correlation_id: str,
    may_retry: Callable[[], bool] = lambda: True,
) -> Result:
    """Carry out one decided call, in a place of the upstream's bulkhead.

    :param key: the call's idempotency key, the same for all its attempts.
    :param deadline: time.monotonic() seconds by which the answer must be here; the contract's timeout_ms may be sooner.
    :param may_retry: takes a retry from the tool's budget; False: there is none left.
    :raises TransportFailed: no usable answer; `happened` says whether the tool may have acted, over all tries together.
    """
    transport = _transport(contract)
    timeout = contract.content.get("timeout_ms", _TIMEOUT_MS) / 1000
    tries = contract.content.get("retry", {}).get("attempts", 1)
    happened: Happened = "no"
    with bulkhead.place(upstreams.name_of(contract), deadline=deadline):
        for number in range(1, tries + 1):
            until = min(deadline, time.monotonic() + timeout)
            if until <= time.monotonic():
                raise TransportFailed("tool_timeout", happened, "the deadline passed before the call")
            given = {"key": key, "deadline": until, "scope": scope, "correlation_id": correlation_id}
            try:
                result = transport(contract, arguments, **given)
            except TransportFailed as failure:
                if failure.happened == "maybe":
                    happened = "maybe"
                pause = _PAUSE_SECONDS * 2**number * random.random()  # noqa: S311 - spreads retries, guards nothing
                last = number == tries or time.monotonic() + pause >= deadline
                if last or not _repeatable(contract, failure, happened) or not may_retry():
                    raise failure.over(happened) from failure
                time.sleep(pause)
            else:
                return Result(result.content, result.is_error, {**result.meta, "tries": number})
    raise AssertionError("unreachable: the last try returns or raises")


def _transport(contract: Contract) -> _Transport:
    if contract.kind == "model":
        provider = contract.content["provider"]
        if provider not in _MODELS:
            raise TransportFailed("provider_unknown", "no", f"no transport speaks to model provider {provider!r}")
        return _MODELS[provider]
    kind = contract.content["transport"]["kind"]
    if kind not in _TOOLS:
        raise TransportFailed("transport_unknown", "no", f"there is no transport {kind!r}")
    return _TOOLS[kind]


def _repeatable(contract: Contract, failure: TransportFailed, happened: Happened) -> bool:
    """An unsafe tool is asked again only if it never got the request; the others bear the same key twice."""
    if failure.code not in _PASSING:
        return False
    return (
        happened == "no"
        or contract.kind == "model"
        or contract.content.get("effect") in {"read", "idempotent", "keyed"}
    )
