"""Put on record what happens to a run, in the transaction in which it happens."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from agents.models import Run, Step
from audit import log
from gateway.principal import Principal

EXECUTOR = "system:executor"


def append(
    event: str,
    run: Run,
    *,
    now: datetime,
    actor: str = EXECUTOR,
    step: Step | None = None,
    data: Mapping[str, Any] | None = None,
) -> log.Entry:
    """Append a record about `run`, and about one of its steps."""
    subjects = {"run": str(run.pk), "release": run.release, "session": str(run.session_id)}
    about: dict[str, Any] = {"environment": run.environment, "agent": run.agent}
    if step is not None:
        subjects["step"] = str(step.pk)
        if step.call_id:
            subjects["call"] = str(step.call_id)
        about["step"] = {"no": step.no, "kind": step.kind, "name": step.name, "attempts": step.attempts}
    return log.append(
        event,
        workspace=run.workspace_id,
        actor=actor,
        correlation_id=run.correlation_id,
        now=now,
        subjects=subjects,
        data=about | dict(data or {}),
    )


def principal_of(run: Run) -> Principal:
    """Return who opens and closes the sessions of a run: the executor, bound to what the run's session is bound to."""
    return Principal(
        kind="system",
        id=run.session_id,
        workspace=run.workspace_id,
        environment=run.environment,
        agent=run.agent,
        owner=None,
        scopes=frozenset(),
        on_behalf_of=run.on_behalf_of,
        actor=EXECUTOR,
    )


def subject_of(run: Run) -> str:
    """Return whose the values of a run are: erasing that subject erases them."""
    return run.on_behalf_of or f"session:{run.session_id}"
