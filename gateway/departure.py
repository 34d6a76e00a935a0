"""Whether a request has begun to leave this process, and the bounds of its exchange. Pure.

A transport sets a departure for the call that it makes; what writes to a pipe or a socket finds it in the context.
"""

import time
from collections.abc import Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field


@dataclass(slots=True)
class Departure:
    """One exchange with somebody outside.

    :param deadline: time.monotonic() seconds by which all of the answer must be here.
    :param most_bytes: of the whole answer as it comes over the wire, its frame included.
    :ivar status, headers: of an HTTP answer, once there is one.
    :ivar begun: the first byte of the request was handed to the system: from here on it may have happened.
    :ivar ended: the other side has closed the connection.
    :ivar failure: why it failed, where the protocol between us and the writer cannot carry it.
    """

    deadline: float = float("inf")
    most_bytes: float = float("inf")
    begun: bool = False
    received: int = 0
    ended: bool = False
    failure: Exception | None = None
    status: int = 0
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def remaining(self) -> float:
        """Seconds until the deadline; may be negative or infinite."""
        return self.deadline - time.monotonic()


departure: ContextVar[Departure | None] = ContextVar("departure", default=None)
