"""What the gateway's outcome of a call means for the step that asked for it. Pure."""

import random
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from agents import plan
from agents.plan import Story
from audit.refusal import Refusal
from gateway.exchange import Outcome

LIMITS = frozenset({"rate_limited", "rate_unavailable", "concurrency_exceeded"})
AWAY = frozenset({"breaker_open", "bulkhead_full"})


@dataclass(frozen=True, slots=True)
class Said:
    """The step is done. :param code: why its call was denied or failed, else empty."""

    output: Mapping[str, Any]
    code: str = ""


@dataclass(frozen=True, slots=True)
class Parked:
    """A person has to decide."""

    hold: UUID
    code: str


@dataclass(frozen=True, slots=True)
class Later:
    """The same key may be asked for again. :param wait: "timer" or "budget"; `after`: at least so many seconds."""

    code: str
    wait: str = "timer"
    after: float = 0.0


@dataclass(frozen=True, slots=True)
class Lost:
    """It may have happened, and asking again might make it happen twice."""

    code: str


@dataclass(frozen=True, slots=True)
class Broken:
    """The run cannot go on."""

    code: str


Meaning = Said | Parked | Later | Lost | Broken


@dataclass(frozen=True, slots=True)
class Retries:
    """How often and how fast a class of failures is tried again. Times in seconds."""

    most: int
    first: float
    longest: float

    def pause(self, failures: int, *, at_least: float = 0.0) -> float:
        """Return how long to wait after so many failures: exponential, with full jitter."""
        bound = min(self.longest, self.first * 2 ** min(failures, 30))
        return at_least + random.uniform(0.0, bound)  # noqa: S311 - spreads retries, guards nothing


PASSING = Retries(most=8, first=0.5, longest=60.0)
LIMITED = Retries(most=40, first=1.0, longest=60.0)
# Somebody else holds the call; that ends with their lease, and is no failure of ours.
BUSY = Retries(most=1_000_000, first=0.5, longest=5.0)


def retries_of(code: str) -> Retries:
    """Return how failures with this code are retried."""
    if code == "in_flight":
        return BUSY
    return LIMITED if code in LIMITS | AWAY else PASSING


def weigh(outcome: Outcome, *, kind: str, story: Story | None) -> Meaning:
    """Return what `outcome` means for a step of `kind`. :param story: of the run; a tool's step needs none."""
    code = outcome.code
    if code.startswith("budget_"):
        return Broken(code)
    if outcome.status == "parked" and outcome.hold is not None:
        return Parked(outcome.hold, code)
    # What could not be put on record is on record later, as unknown at least: the gateway then says so.
    if outcome.status == "in_flight" or outcome.again or code == "outcome_unrecorded":
        return Later(code or "in_flight", "budget" if code in LIMITS else "timer", float(outcome.retry_after or 0))
    if outcome.status == "unknown":
        return Lost(code or "outcome_unknown")
    if outcome.status == "finished" and kind == "model" and story is not None:
        return Broken("tool_error") if outcome.is_error else Said(plan.answer(story, outcome.result))
    if outcome.status == "finished":
        return Said(plan.observation("error" if outcome.is_error else "result", outcome.result))
    # Denied or failed for good: a model that may not be asked ends the run, a tool is one the agent has to do without.
    if kind == "model":
        return Broken(code or "run_failed")
    seen = {"code": code, "message": outcome.message}
    return Said(plan.observation("denied" if outcome.status == "denied" else "failed", seen), code)


def weigh_refusal(refusal: Refusal, *, kind: str) -> Meaning:
    """Return what it means that the gateway could not even take the call."""
    if refusal.status in (429, 503):
        return Later(refusal.code)
    if refusal.code == "arguments_too_large" and kind == "tool":
        return Said(plan.observation("denied", {"code": refusal.code, "message": refusal.detail}), refusal.code)
    return Broken(refusal.code)
