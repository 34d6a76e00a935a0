"""The only ways to move a proposal or the lifecycle of a version. The database holds the same tables as triggers."""

from collections.abc import Mapping
from types import MappingProxyType

from audit.refusal import Refusal
from registry.models import Lifecycle, Proposal

PROPOSAL: Mapping[str, frozenset[str]] = MappingProxyType(
    {
        "open": frozenset({"approved", "withdrawn", "rejected", "expired"}),
        "approved": frozenset(),
        "withdrawn": frozenset(),
        "rejected": frozenset(),
        "expired": frozenset(),
    }
)
LIFECYCLE: Mapping[str, frozenset[str]] = MappingProxyType(
    {
        "available": frozenset({"deprecated", "revoked"}),
        "deprecated": frozenset({"retired", "revoked"}),
        "retired": frozenset({"revoked"}),
        "revoked": frozenset(),
    }
)


def move(row: Proposal | Lifecycle, state: str) -> None:
    """Set the state of a row that the caller has locked; the caller saves it. :raises Refusal: transition_refused."""
    table, noun = (PROPOSAL, "proposal") if isinstance(row, Proposal) else (LIFECYCLE, "version")
    if state not in table[row.state]:
        possible = ", ".join(sorted(table[row.state])) or "nothing"
        raise Refusal(
            "transition_refused",
            f"A {noun} that is {row.state} cannot become {state}; it can become: {possible}.",
            status=409,
        )
    row.state = state
