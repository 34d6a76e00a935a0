"""The only ways to move a run or a step. The database holds the same tables as triggers."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from agents.models import ENDED_RUN, Run, Step
from audit.refusal import Refusal

RUN: Mapping[str, frozenset[str]] = MappingProxyType(
    {
        "queued": frozenset({"running", "failed", "cancelled"}),
        "running": frozenset({"waiting", "succeeded", "failed", "cancelled", "compensating"}),
        "waiting": frozenset({"running", "failed", "cancelled", "compensating"}),
        "succeeded": frozenset(),
        "failed": frozenset(),
        "cancelled": frozenset(),
        # A run that has done nothing for which a compensation is declared never comes here.
        "compensating": frozenset({"compensated", "compensation_failed"}),
        "compensated": frozenset(),
        "compensation_failed": frozenset(),
    }
)
STEP: Mapping[str, frozenset[str]] = MappingProxyType(
    {
        "ready": frozenset({"leased", "dead"}),
        "leased": frozenset({"decided", "done", "retry_at", "indeterminate", "dead"}),
        "decided": frozenset({"ready", "dead"}),
        "done": frozenset(),
        "retry_at": frozenset({"leased", "dead"}),
        "indeterminate": frozenset({"ready"}),
        "dead": frozenset({"ready"}),
    }
)


def move(row: Run | Step, state: str, **changes: Any) -> None:
    """Set the state of a row that the caller has locked, and save it with `changes`.

    Whoever moves a row appends its record in the same transaction.

    :raises Refusal: transition_refused.
    """
    table, noun = (RUN, "run") if isinstance(row, Run) else (STEP, "step")
    if state not in table[row.state]:
        possible = ", ".join(sorted(table[row.state])) or "nothing"
        detail = f"A {noun} that is {row.state} cannot become {state}; it can become: {possible}."
        raise Refusal("transition_refused", detail, status=409)
    changes |= {"state": state}
    if isinstance(row, Run):
        changes.setdefault("wait", "")
    elif state != Step.State.LEASED:
        changes |= {"lease_until": None, "lease_owner": ""}
    for name, value in changes.items():
        setattr(row, name, value)
    row.save(update_fields=list(changes))


def ended(run: Run) -> bool:
    """Say whether nothing moves `run` any more."""
    return run.state in ENDED_RUN
