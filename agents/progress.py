"""The moves of a run and its open step between beginning and end. Callers hold the locks of both rows."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from agents import doorbell, endings, journal, keys, outcomes, plan, sagas, states, stories
from agents.models import Run, Step
from agents.outcomes import Broken, Later, Lost, Meaning, Parked, Said
from agents.plan import Ask, End, Story, Turn
from audit import crash, log
from gateway import limits

PERSONS = frozenset({"hold", "person"})  # what a run waits for without its clock running


def take_up(run: Run, *, now: datetime) -> None:
    """Note that a worker goes on with the run."""
    if run.state == Run.State.QUEUED:
        journal.append("agents.run.started", run, now=now)
        states.move(run, Run.State.RUNNING, started_at=now)
    elif run.state == Run.State.COMPENSATING:
        sagas.resume(run, now=now)
    elif run.state == Run.State.WAITING:
        limits.resume(run.pk)
        journal.append("agents.run.resumed", run, now=now, data={"waited_for": run.wait})
        states.move(run, Run.State.RUNNING, code="")


def apply(run: Run, step: Step, meaning: Meaning, *, story: Story | None, call: UUID | None, now: datetime) -> None:
    """Put on record what came of a leased step, and go on from there."""
    if step.undoes_id is not None:
        sagas.apply(run, step, meaning, call=call, now=now)
        return
    reported: dict[str, Any] = {"crashes": 0}
    if call is not None:
        reported["call_id"] = call
    match meaning:
        case Said():
            assert story is not None  # noqa: S101 - nothing is said without one
            _finish(run, step, meaning, story, reported, now)
        case Lost(code):
            states.move(step, Step.State.INDETERMINATE, code=code, **reported)
            if run.cancel_requested_at is not None:
                endings.cancel(run, None, now=now)
            else:
                _wait(run, "person", code, now, step)
        case Broken(code) if run.cancel_requested_at is None:
            _report(step, reported)
            endings.fail(run, step, code, now=now)
        case _ if run.cancel_requested_at is not None:
            _report(step, reported)
            endings.cancel(run, step, now=now)
        case Parked(hold, code):
            states.move(step, Step.State.DECIDED, hold=hold, code=code, **reported)
            _wait(run, "hold", code, now, step, {"hold": str(hold)})
        case Later():
            _report(step, reported)
            _delay(run, step, meaning, now)


def bury(run: Run, step: Step, code: str, *, now: datetime) -> None:
    """Give a step up until a person requeues it or cancels the run; a compensation for good."""
    if step.undoes_id is not None:
        sagas.give_up(run, step, code, now=now)
        return
    states.move(step, Step.State.DEAD, code=code)
    _wait(run, "person", code, now, step)
    crash.point("agents.burying")


def wake(run: Run, step: Step, *, now: datetime) -> None:
    """Make a parked or settled step ready again: it is asked with the same key."""
    states.move(step, Step.State.READY, code="")
    take_up(run, now=now)
    doorbell.ring(step.pk)


def go_on(run: Run, story: Story, *, now: datetime) -> Step | None:
    """Make the step that follows the turns of `story`, or end the run."""
    following = plan.next_of(story)
    if isinstance(following, End):
        if following.state == "succeeded":
            endings.succeed(run, following.answer, now=now)
        else:
            endings.fail(run, None, following.code, now=now)
        return None
    step = _make(run, len(story.turns) + 1, following)
    doorbell.ring(step.pk)
    return step


def _make(run: Run, no: int, ask: Ask) -> Step:
    key = keys.step(run.workspace_id, run.pk, no, ask)
    step = Step(run=run, no=no, kind=ask.kind, name=ask.name, key=key)
    step.save(force_insert=True)
    return step


def _finish(run: Run, step: Step, said: Said, story: Story, reported: Mapping[str, Any], now: datetime) -> None:
    if "call_id" in reported:
        step.call_id = reported["call_id"]
    output = log.Sealed(dict(said.output), journal.subject_of(run))
    entry = journal.append("agents.step.finished", run, now=now, step=step, data={"code": said.code, "output": output})
    states.move(step, Step.State.DONE, code=said.code, record=entry.id, finished_at=now, **reported)
    crash.point("agents.recording")
    if run.cancel_requested_at is not None:
        endings.cancel(run, None, now=now)
    else:
        go_on(run, stories.extended(story, Turn(step.kind, step.name, said.output)), now=now)


def _delay(run: Run, step: Step, later: Later, now: datetime) -> None:
    retries = outcomes.retries_of(later.code)
    if step.failures >= retries.most:
        bury(run, step, "retries_exhausted", now=now)
        return
    pause = timedelta(seconds=retries.pause(step.failures, at_least=later.after))
    # Waiting for somebody else's lease is no failure of this step.
    failures = step.failures + (retries is not outcomes.BUSY)
    states.move(step, Step.State.RETRY_AT, code=later.code, failures=failures, not_before=now + pause)
    _wait(run, later.wait, later.code, now, step, {"not_before": (now + pause).isoformat()})


def _wait(run: Run, wait: str, code: str, now: datetime, step: Step, data: Mapping[str, Any] | None = None) -> None:
    states.move(run, Run.State.WAITING, wait=wait, code=code)
    if wait in PERSONS:
        limits.pause(run.pk)
    about = {"wait": wait, "code": code, "failures": step.failures, **(data or {})}
    journal.append("agents.run.parked", run, now=now, step=step, data=about)


def _report(step: Step, reported: Mapping[str, Any]) -> None:
    for name, value in reported.items():
        setattr(step, name, value)
    step.save(update_fields=list(reported))
