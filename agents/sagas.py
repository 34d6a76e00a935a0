"""Sagas: what a run has done is undone by the compensations that its tools' contracts declare, the last step first.

Each compensation is a step of the run and a governed call like any other: decided, recorded, possibly held, under a key
of its own that stays the same for all attempts. One that fails does not keep the others from being tried.
"""

from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from agents import doorbell, effects, journal, keys, outcomes, states, templates
from agents.models import Run, Step
from agents.outcomes import Broken, Later, Lost, Meaning, Parked, Said
from agents.plan import Ask
from audit import crash, log
from gateway import recall, sessions
from gateway.models import Call
from registry import resolve


def begin(run: Run, *, because: str, code: str, actor: str, now: datetime) -> bool:
    """Begin to undo what a locked run has done; False if nothing can be undone, and the run ends as it is.

    From here on only compensations are asked for, in a session of their own beside the run's, which the caller closes.

    :param because: "failed" or "cancelled".
    """
    due = [(step, declared["tool"]) for step, declared in _due(run)]
    if not due:
        return False
    listed = [{"step": step.no, "name": step.name, "by": tool} for step, tool in due]
    said: dict[str, Any] = {"because": because, "code": code, "compensations": listed}
    journal.append("agents.compensation.started", run, now=now, actor=actor, data=said)
    executor = journal.principal_of(run)
    session = sessions.branch(run.session_id, by=executor, now=now, correlation_id=run.correlation_id)
    states.move(run, Run.State.COMPENSATING, code=code, compensation_session_id=session)
    _go_on(run, now=now)
    crash.point("agents.compensating")
    return True


def ask(run: Run, step: Step) -> Ask:
    """Return the call of a compensation, made from what its step was given and has answered.

    :raises Refusal: compensation_invalid; outcome_erased: its data subject is gone.
    """
    call = _undone_by(step)
    declared = _declared(run, call)
    record = call.decided_record
    _, given = recall.arguments_of(record) if record else ({}, {})
    answered = recall.outcome(call.pk).result
    sources = {"arguments": given, "result": answered}
    return Ask("tool", step.name, templates.filled(declared.get("arguments", {}), sources))


def undone_call(step: Step) -> UUID:
    """Return the call that a compensation undoes."""
    return _undone_by(step).pk


def apply(run: Run, step: Step, meaning: Meaning, *, call: UUID | None, now: datetime) -> None:
    """Put on record what came of a leased compensation, and go on with the one before."""
    step.crashes = 0
    if call is not None:
        step.call_id = call
    step.save(update_fields=["crashes", "call_id"])
    match meaning:
        case Said(output, code):
            failed = code or ("tool_error" if call and Call.objects.get(pk=call).code == "tool_error" else "")
            kept = {"code": failed, "output": log.Sealed(dict(output), journal.subject_of(run))}
            entry = journal.append("agents.step.finished", run, now=now, step=step, data=kept)
            states.move(step, Step.State.DONE, code=failed, record=entry.id, finished_at=now)
            _go_on(run, now=now)
        case Parked(hold, code):
            states.move(step, Step.State.DECIDED, hold=hold, code=code)
            wait(run, step, "hold", code, now=now, data={"hold": str(hold)})
        case Lost(code):
            # It may have happened, and is not done twice: a person has to say.
            states.move(step, Step.State.INDETERMINATE, code=code)
            wait(run, step, "person", code, now=now)
        case Later(code, kind, after) if step.failures < outcomes.retries_of(code).most:
            retries = outcomes.retries_of(code)
            until = now + timedelta(seconds=retries.pause(step.failures, at_least=after))
            failures = step.failures + (retries is not outcomes.BUSY)
            states.move(step, Step.State.RETRY_AT, code=code, failures=failures, not_before=until)
            wait(run, step, kind, code, now=now, data={"not_before": until.isoformat()})
        case Later():
            give_up(run, step, "retries_exhausted", now=now)
        case Broken(code):
            give_up(run, step, code, now=now)
    crash.point("agents.undoing")


def give_up(run: Run, step: Step, code: str, *, now: datetime) -> None:
    """End a compensation that cannot be made: what it should have undone stays done, and the run says so."""
    states.move(step, Step.State.DEAD, code=code, finished_at=now)
    journal.append("agents.compensation.failed", run, now=now, step=step, data={"code": code})
    _go_on(run, now=now)


def wait(run: Run, step: Step, kind: str, code: str, *, now: datetime, data: Mapping[str, Any] | None = None) -> None:
    """Note what a compensating run waits for; its state and the code of its failure stay."""
    run.wait = kind
    run.save(update_fields=["wait"])
    about = {"wait": kind, "code": code, "failures": step.failures, **(data or {})}
    journal.append("agents.run.parked", run, now=now, step=step, data=about)


def resume(run: Run, *, now: datetime) -> None:
    """Note that a worker goes on with a compensating run."""
    if run.wait:
        journal.append("agents.run.resumed", run, now=now, data={"waited_for": run.wait})
        run.wait = ""
        run.save(update_fields=["wait"])


def _go_on(run: Run, *, now: datetime) -> None:
    """Make the next compensation, or end the run."""
    following = next(_due(run), None)
    if following is None:
        _end(run, now=now)
        return
    done, declared = following
    no = run.steps.order_by("-no").values_list("no", flat=True)[0] + 1
    key = keys.step(run.workspace_id, run.pk, no, Ask("tool", declared["tool"], {"undoes": str(done.pk)}))
    step = Step(run=run, no=no, kind="tool", name=declared["tool"], key=key, undoes=done)
    step.save(force_insert=True)
    doorbell.ring(step.pk)


def _end(run: Run, *, now: datetime) -> None:
    steps = run.steps.filter(undoes__isnull=False).select_related("undoes").order_by("no")
    told = [{"step": one.undoes.no, "by": one.name, "code": one.code} for one in steps if one.undoes]
    failed = any(one["code"] for one in told)
    event = "agents.compensation.failed" if failed else "agents.run.compensated"
    data = {"code": run.code, "compensations": told, "not_undone": effects.not_undone(run)}
    journal.append(event, run, now=now, data=data)
    state = Run.State.COMPENSATION_FAILED if failed else Run.State.COMPENSATED
    states.move(run, state, finished_at=now)
    if run.compensation_session_id is not None:
        by = journal.principal_of(run)
        sessions.close(run.compensation_session_id, by=by, now=now, correlation_id=run.correlation_id)


def _due(run: Run) -> Iterator[tuple[Step, Mapping[str, Any]]]:
    """Return what is still to be undone, the last step first, with the compensation that its tool declares."""
    tried = run.steps.filter(undoes__isnull=False).values("undoes")
    done = run.steps.filter(undoes=None, kind="tool", call__isnull=False).exclude(pk__in=tried)
    for step in done.select_related("call").order_by("-no"):
        if step.call is not None and effects.happened(step.call) and (declared := _declared(run, step.call)):
            yield step, declared


def _declared(run: Run, call: Call) -> Mapping[str, Any]:
    """Return the compensation in the contract that a call ran under; empty if there is none."""
    contract = resolve.by_digest(run.workspace_id, call.tool_digest)
    declared: Mapping[str, Any] = contract["content"].get("compensation", {})
    return declared


def _undone_by(step: Step) -> Call:
    if step.undoes is None or step.undoes.call is None:
        raise RuntimeError(f"{step} undoes nothing.")
    return step.undoes.call
