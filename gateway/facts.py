"""What the line has learned about one call so far: what a record tells, even of a call that was denied half-way."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from audit.canonical import JSON
from gateway.decision import Decision
from gateway.exchange import Approval, Request
from gateway.limits import Reserved
from gateway.principal import Principal
from gateway.sessions import Entered
from registry.resolve import Contract, Release


@dataclass(frozen=True, slots=True)
class Claim:
    """Our hold on a call: until the lease ends, or somebody with a higher fence took it over.

    :param number: of the attempt that is about to be decided.
    :param approval: of the hold that this attempt may use.
    :param counted: the counter whose budget of steps an earlier attempt was counted in: it counts once there.
    :param secret: name of the secret under which the call was claimed first: its tool sees one key, whatever rotates.
    :param seen: session and release as `sessions.look` found them in the statement that claimed; None: it did not look.
    """

    id: UUID
    fence: int
    number: int
    approval: Approval | None = None
    counted: UUID | None = None
    secret: str = ""
    seen: Sequence[Any] | None = None


@dataclass(frozen=True, slots=True)
class Resolved:
    """Where a call runs and under which contract: what step 2 finds out."""

    session: Entered
    release: Release
    contract: Contract


@dataclass(slots=True)
class Facts:
    """One attempt, as far as it has come."""

    claim: Claim
    principal: Principal
    request: Request
    now: datetime
    session: Entered | None = None
    release: Release | None = None
    contract: Contract | None = None
    findings: Sequence[Any] = ()
    reserved: Reserved | None = None
    document: dict[str, Any] | None = None
    answered: Decision | None = None  # by the policy engine, whatever became of it afterwards
    executed: Mapping[str, JSON] | None = None
    changed: Sequence[str] = field(default_factory=list)
    tokens: Mapping[str, JSON] = field(default_factory=dict)

    @property
    def resolved(self) -> Resolved:
        """Session, release and contract of a call that has come past step 2."""
        if self.session is None or self.release is None or self.contract is None:
            raise RuntimeError("The call has not been resolved.")
        return Resolved(self.session, self.release, self.contract)

    @property
    def reservation(self) -> Reserved:
        """What a call that has come past step 5 has reserved, and what it saw of its tool's breaker."""
        if self.reserved is None:
            raise RuntimeError("Nothing has been reserved for the call.")
        return self.reserved

    @property
    def budget(self) -> UUID:
        """The counter whose budget the call is held to: its run's, else its session's."""
        if self.request.run and not self.request.compensates:
            return UUID(str(self.request.run["id"]))
        return self.resolved.session.id

    @property
    def subject(self) -> str:
        """Whose the values of this call are: erasing that subject erases them."""
        if self.session is None:
            return self.principal.on_behalf_of or self.principal.actor
        return self.principal.on_behalf_of or self.session.on_behalf_of or f"session:{self.session.id}"

    @property
    def effect(self) -> str:
        """The contract's effect; a model call only reads."""
        if self.contract is None:
            return ""
        return "read" if self.contract.kind == "model" else str(self.contract.content["effect"])

    @property
    def degradable(self) -> bool:
        """Whether the contract lets this read go on with less than everything: last good policies, no rate tokens."""
        content = self.contract.content if self.contract is not None else {}
        return self.effect == "read" and content.get("degradable") is True
