"""What is asked of the line and what it answers, whichever door it came through."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal
from uuid import UUID

from audit.canonical import JSON
from gateway.decision import Decision

ARRIVED = "placet.arrived"  # member of a WSGI environment: time.monotonic() when the request came
Status = Literal["finished", "denied", "parked", "in_flight", "failed", "unknown"]


@dataclass(frozen=True, slots=True)
class Request:
    """One call that somebody wants to make.

    :param kind: "tool" or "model"; `name` is the pin's name in the release.
    :param key: the caller's idempotency key; the same for all attempts at the same call.
    :param session: a session that the caller may use; None: the credential's sticky session.
    :param run: {"id", "step", "starter"} of the durable run that makes the call, or None.
    :param deadline: time.monotonic() seconds after which the caller does not wait any more: nothing is begun then.
    :param instead_of: the call in whose place this one is made, see gateway.fallbacks; no door takes it from a caller.
    :param compensates: the call that this one undoes. It has the budgets of its session, not of its run.
    """

    kind: Literal["tool", "model"]
    name: str
    arguments: Mapping[str, JSON]
    key: str
    correlation_id: str
    session: UUID | None = None
    run: Mapping[str, JSON] | None = None
    deadline: float | None = None
    instead_of: UUID | None = None
    compensates: UUID | None = None

    @property
    def remaining(self) -> float:
        """Seconds until the deadline; negative once it has passed, infinite if there is none."""
        return float("inf") if self.deadline is None else self.deadline - time.monotonic()


@dataclass(frozen=True, slots=True)
class Approval:
    """A person's word on the hold that is being released.

    :param digest: of what the person saw: executed arguments, tool, policy and baseline.
    :param codes: the hold's reasons; `requirements` are the {code, role, quorum} that were met.
    """

    id: UUID
    approver: str
    digest: str
    codes: tuple[str, ...]
    requirements: tuple[Mapping[str, JSON], ...]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a call.

    `finished`: the tool answered, `result` is what may be seen of it. `denied`: nothing was executed. `parked`: `hold`
    waits for a person. `in_flight`: another request with this key is under way. `failed`: not executed, or executed
    and the result is withheld; `code` says which. `unknown`: it may have happened.

    :param again: asking again later with the same key may end otherwise.
    :param receipts: signed promises that the records of this call are in the trail.
    :param fallback: nothing happened, and this tool is asked instead.
    :param answered_by: the tool that answered in place of the one that was asked; `instead_of` is that one's call.
    :param replayed: the stored outcome of an earlier request with this key.
    """

    status: Status
    call: UUID
    attempt: int = 0
    decision: Decision | None = None
    result: JSON = None
    is_error: bool = False
    code: str = ""
    message: str = ""
    hold: UUID | None = None
    receipts: tuple[str, ...] = ()
    replayed: bool = False
    labels: tuple[str, ...] = ()
    again: bool = False
    retry_after: int | None = None
    fallback: str = ""
    answered_by: str = ""
    instead_of: UUID | None = None
