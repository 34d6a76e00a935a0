"""What a run has done to the world, and what of it stays done."""

from django.db.models import Q

from agents.models import Run, Step
from audit.canonical import JSON
from gateway.models import Call

# The tool was executed, or may have been, although nobody saw a result.
WITHHELD = ("result_invalid", "result_too_large", "result_quarantined", "outcome_unrecorded", "settled_happened")


def happened(call: Call) -> bool:
    """Say whether the call did something for certain: the tool answered, and not that it had failed."""
    if call.state == Call.State.COMPLETED:
        return call.code != "tool_error"
    return call.state == Call.State.FAILED and call.code in WITHHELD


def not_undone(run: Run) -> list[dict[str, JSON]]:
    """Return the calls of a run that changed something, or may have, and that no compensation has undone.

    :return: [{step, name, call, effect, state}]
    """
    undone = run.steps.filter(undoes__isnull=False, state=Step.State.DONE, code="").values("undoes")
    listed: list[dict[str, JSON]] = []
    took = run.steps.filter(Q(call__isnull=False, kind="tool", undoes=None) & ~Q(pk__in=undone))
    for step in took.select_related("call").order_by("no"):
        call = step.call
        if call is None or call.effect in ("", "read"):
            continue
        maybe = call.state in (Call.State.COMPLETED, Call.State.DECIDED, Call.State.UNKNOWN)
        if maybe or happened(call):
            about = {"step": step.no, "name": step.name, "call": str(call.pk)}
            listed.append(about | {"effect": call.effect, "state": call.state})
    return listed
