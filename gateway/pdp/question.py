"""What the PDP asks a policy engine, and what an engine gives back: an answer, or why there is none."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol
from uuid import UUID

from audit.canonical import JSON


class PdpFailed(Exception):
    """No decision. `code`: the reason code; `detail`: for people, without values from the input.

    :param difference: between two engines, if that is why: see gateway.pdp.shadow.
    """

    def __init__(self, code: str, detail: str, difference: Mapping[str, JSON] | None = None) -> None:
        super().__init__(f"{code}: {detail}")
        self.code = code
        self.detail = detail
        self.difference = difference


@dataclass(frozen=True, slots=True)
class Question:
    """What an engine needs.

    :param document: canonical JSON of the decision input.
    :param revision: of the bundle that is expected to decide.
    :param policy, baseline: digests of the release's policy and of the environment's baseline.
    :param until: monotonic time of the caller's deadline.
    :param degradable: whether the last-good rule may apply: a read whose contract says so.
    """

    document: bytes
    workspace: UUID
    environment: str
    revision: str
    policy: str
    baseline: str
    until: float
    degradable: bool = False


@dataclass(frozen=True, slots=True)
class Reply:
    """What an engine said.

    :param result: JSON of data.placet.decision.
    :param engine: name and version of the engine.
    :param revision: of the bundle that decided.
    :param decision_id: under which the engine logs this decision itself; empty if it does not.
    :param difference: what another engine said otherwise about the same question, None if nothing.
    """

    result: bytes
    engine: str
    revision: str
    decision_id: str = ""
    difference: Mapping[str, JSON] | None = None


class Engine(Protocol):
    """A policy engine behind the PDP."""

    def evaluate(self, question: Question) -> Reply:
        """Return what the policies say. :raises PdpFailed:"""
