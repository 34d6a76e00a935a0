"""How a run ends. Its session ends with it, so that no call of it, and no hold, is decided afterwards."""

from datetime import datetime
from typing import Any

from agents import effects, journal, sagas, states
from agents.models import Run, Step
from audit import crash, log
from gateway import sessions


def succeed(run: Run, answer: str, *, now: datetime) -> None:
    """End a locked run with the model's final answer."""
    kept = {"answer": log.Sealed(answer, journal.subject_of(run))}
    entry = journal.append("agents.run.succeeded", run, now=now, data=kept)
    _end(run, Run.State.SUCCEEDED, "", now, answer_record=entry.id)


def fail(run: Run, step: Step | None, code: str, *, now: datetime) -> None:
    """End a locked run without an answer, or begin to undo what it has done.

    :param step: the one that it fails at; None if that is done.
    """
    if step is not None:
        states.move(step, Step.State.DEAD, code=code, finished_at=now)
    if sagas.begin(run, because="failed", code=code, actor=journal.EXECUTOR, now=now):
        close_session(run, now=now)
        return
    journal.append("agents.run.failed", run, now=now, step=step, data={"code": code})
    _end(run, Run.State.FAILED, code, now)


def cancel(run: Run, step: Step | None, *, now: datetime) -> None:
    """End a locked run whose end was requested, or begin to undo what it has done if that was requested too.

    :param step: its open step, locked; None if there is none.
    """
    if step is not None and step.state != Step.State.INDETERMINATE:
        states.move(step, Step.State.DEAD, code=run.cancel_code, finished_at=now)
    if run.compensate and sagas.begin(run, because="cancelled", code=run.cancel_code, actor=run.cancelled_by, now=now):
        return
    done = effects.not_undone(run)
    data: dict[str, Any] = {"code": run.cancel_code, "not_undone": done}
    journal.append("agents.run.cancelled", run, now=now, actor=run.cancelled_by, step=step, data=data)
    _end(run, Run.State.CANCELLED, run.cancel_code, now)


def close_session(run: Run, *, now: datetime) -> None:
    """Close the session of a run, so that what is asked in it from now on is denied."""
    executor = journal.principal_of(run)
    sessions.close(run.session_id, by=executor, now=now, correlation_id=run.correlation_id)


def _end(run: Run, state: str, code: str, now: datetime, **changes: object) -> None:
    states.move(run, state, code=code, finished_at=now, **changes)
    close_session(run, now=now)
    crash.point("agents.ending")
