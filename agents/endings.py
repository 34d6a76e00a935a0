"""How a run ends. Its session ends with it, so that no call of it, and no hold, is decided afterwards."""

from datetime import datetime
from typing import Any

from agents import journal, states
from agents.models import Run, Step
from audit import crash, log
from audit.canonical import JSON
from gateway import sessions
from gateway.models import Call
from gateway.principal import Principal

# The tool was executed, or may have been, although nobody saw a result.
_WITHHELD = ("result_invalid", "result_too_large", "result_quarantined", "outcome_unrecorded", "settled_happened")


def succeed(run: Run, answer: str, *, now: datetime) -> None:
    """End a locked run with the model's final answer."""
    kept = {"answer": log.Sealed(answer, journal.subject_of(run))}
    entry = journal.append("agents.run.succeeded", run, now=now, data=kept)
    _end(run, Run.State.SUCCEEDED, "", now, answer_record=entry.id)


def fail(run: Run, step: Step | None, code: str, *, now: datetime) -> None:
    """End a locked run without an answer. :param step: the one that it fails at; None if that is done."""
    if step is not None:
        states.move(step, Step.State.DEAD, code=code, finished_at=now)
    journal.append("agents.run.failed", run, now=now, step=step, data={"code": code})
    _end(run, Run.State.FAILED, code, now)


def cancel(run: Run, step: Step | None, *, now: datetime) -> None:
    """End a locked run whose end was requested. :param step: its open step, locked; None if there is none."""
    if step is not None and step.state != Step.State.INDETERMINATE:
        states.move(step, Step.State.DEAD, code=run.cancel_code, finished_at=now)
    done = not_undone(run)
    data: dict[str, Any] = {"code": run.cancel_code, "not_undone": done}
    journal.append("agents.run.cancelled", run, now=now, actor=run.cancelled_by, step=step, data=data)
    _end(run, Run.State.CANCELLED, run.cancel_code, now)


def not_undone(run: Run) -> list[dict[str, JSON]]:
    """Return the calls of a run that changed something, or may have: [{step, name, call, effect, state}]."""
    listed: list[dict[str, JSON]] = []
    for step in run.steps.filter(call__isnull=False, kind="tool").select_related("call").order_by("no"):
        call = step.call
        if call is None or call.effect in ("", "read"):
            continue
        happened = call.state in (Call.State.COMPLETED, Call.State.DECIDED, Call.State.UNKNOWN)
        if happened or (call.state == Call.State.FAILED and call.code in _WITHHELD):
            about = {"step": step.no, "name": step.name, "call": str(call.pk)}
            listed.append(about | {"effect": call.effect, "state": call.state})
    return listed


def close_session(run: Run, *, now: datetime) -> None:
    """Close the session of a run, so that what is asked in it from now on is denied."""
    executor = Principal(
        kind="system",
        id=run.session_id,
        workspace=run.workspace_id,
        environment=run.environment,
        agent=run.agent,
        owner=None,
        scopes=frozenset(),
        on_behalf_of=run.on_behalf_of,
        actor=journal.EXECUTOR,
    )
    sessions.close(run.session_id, by=executor, now=now, correlation_id=run.correlation_id)


def _end(run: Run, state: str, code: str, now: datetime, **changes: object) -> None:
    states.move(run, state, code=code, finished_at=now, **changes)
    close_session(run, now=now)
    crash.point("agents.ending")
