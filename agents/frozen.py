"""The runs that a stop holds back."""

from uuid import UUID

from agents.models import ENDED_RUN, Run


def of(workspace: UUID, *, scope: str, target: str) -> dict[str, int]:
    """Return how many runs cannot go on while the stop stands; those of any agent may meet a stopped tool or not."""
    rows = Run.objects.filter(workspace_id=workspace).exclude(state__in=ENDED_RUN)
    if scope == "agent":
        rows = rows.filter(agent=target)
    return {"runs": 0 if scope == "tool" else rows.count()}
