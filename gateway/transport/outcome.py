"""What a tool answered, and what is known when it did not."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, Protocol
from uuid import UUID

from audit.canonical import JSON

Happened = Literal["no", "maybe"]
RESULT_BYTES = 1 << 20  # of canonical JSON


class Contract(Protocol):
    """The approved contract that a call runs under (registry.resolve.Contract is one)."""

    @property
    def kind(self) -> str: ...
    @property
    def name(self) -> str: ...
    @property
    def content(self) -> Mapping[str, JSON]: ...


@dataclass(frozen=True)
class Scope:
    """Whose call it is: tool processes are never shared across any of these."""

    workspace: UUID
    environment: str
    release: str
    session: UUID | None = None


@dataclass(frozen=True)
class Result:
    """A tool's answer. `content` has a canonical JSON form and at most RESULT_BYTES of it.

    :param is_error: the tool itself says that it failed; whether something happened is then in its words alone.
    :param meta: how the answer came about (transport, attempts, protocol revision); never from the tool.
    """

    content: JSON
    is_error: bool = False
    meta: Mapping[str, JSON] = field(default_factory=dict)


class TransportFailed(Exception):
    """No usable answer.

    :param code: reason code, listed in docs/reference/transports.md.
    :param happened: "no": the tool never got a whole request; "maybe": it got one, or nobody can tell.
    :param detail: for the operator's log, never for the agent: it may carry words of the tool.
    :param retry_after: seconds that the server asks us to wait, if it does.
    """

    def __init__(self, code: str, happened: Happened, detail: str = "", *, retry_after: int | None = None) -> None:
        super().__init__(f"{code} (happened: {happened}) {detail}".rstrip())
        self.code = code
        self.happened = happened
        self.detail = detail
        self.retry_after = retry_after

    def over(self, happened: Happened) -> "TransportFailed":
        """Return this failure as the last of several tries, over which `happened` is known."""
        return TransportFailed(self.code, happened, self.detail, retry_after=self.retry_after)
