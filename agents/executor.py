"""Advance one step of one run: claim it, ask the gateway, put on record what came of it. The only loop is the run's."""

from uuid import UUID

import structlog
from django.db import connection

from agents import leases, outcomes, plan, progress, sagas, stories
from agents.leases import Claim, Overtaken
from agents.outcomes import Broken, Later, Meaning
from agents.plan import Ask, End, Story
from audit import crash
from audit.refusal import Refusal
from gateway import credentials, pep
from gateway.exchange import Request
from registry import resolve

log = structlog.get_logger(__name__)
# Of the registry: something has to be put right by people, and the run is worth waiting for it.
_MENDABLE = frozenset({"no_live_release", "no_live_baseline"})


def advance(step_id: UUID) -> None:
    """Do what is due at `step_id`; nothing if it is not due, not ours, or nobody's.

    May be called at any time, any number of times at once, with any id.
    """
    claim = leases.claim(step_id)
    if claim is None:
        return
    crash.point("agents.claimed")
    with leases.kept(claim):
        meaning, story, call = _perform(claim)
        try:
            with leases.held(claim) as (run, step, now):
                progress.apply(run, step, meaning, story=story, call=call, now=now)
        except Overtaken:
            log.warning("a step was taken over", step=str(step_id))
            return
    crash.point("agents.recorded")


def _perform(claim: Claim) -> tuple[Meaning, Story | None, UUID | None]:
    """Make the call of the claimed step; return what its outcome means and the call's id."""
    run, step = claim.run, claim.step
    story: Story | None = None
    try:
        if step.undoes_id is not None:
            compensates: UUID | None = sagas.undone_call(step)
            session: UUID | None = run.compensation_session_id
            ask: Ask | End = sagas.ask(run, step)
        else:
            story = stories.read(run, resolve.pinned(run.workspace_id, run.environment, run.release))
            compensates, session, ask = None, run.session_id, plan.next_of(story)
        if isinstance(ask, End):
            return Broken(ask.code or "run_failed"), story, None
        principal = credentials.executor_principal(
            run.workspace_id,
            environment=run.environment,
            agent=run.agent,
            now=claim.at,
            correlation_id=run.correlation_id,
            on_behalf_of=run.on_behalf_of,
        )
        request = Request(
            kind=ask.kind,
            name=ask.name,
            arguments=ask.arguments,
            key=step.key,
            correlation_id=run.correlation_id,
            session=session,
            compensates=compensates,
            run={"id": str(run.pk), "step": step.no, "starter": run.starter},
        )
    except Refusal as refusal:
        mendable = refusal.code in _MENDABLE or refusal.status == 503
        return (Later(refusal.code) if mendable else Broken(refusal.code)), story, None
    except Exception:  # noqa: BLE001 - every failure of ours is a later try
        return _failed("the run cannot be read"), story, None
    crash.point("agents.before_call")
    try:
        outcome = pep.call(principal, request, now=claim.at)
    except Refusal as refusal:
        return outcomes.weigh_refusal(refusal, kind=step.kind), story, None
    except Exception:  # noqa: BLE001 - every failure of ours is a later try
        return _failed("the gateway failed"), story, None
    crash.point("agents.after_call")
    call = None if outcome.status == "in_flight" else outcome.call
    return outcomes.weigh(outcome, kind=step.kind, story=story), story, call


def _failed(what: str) -> Later:
    """An error of ours: the step is tried again, with the same key."""
    log.exception(what)
    connection.close_if_unusable_or_obsolete()
    return Later("executor_failed")
