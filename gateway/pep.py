"""The PEP: one call is one straight line, whichever door it came through, and nothing is executed beside it."""

import time
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from typing import TypeVar
from uuid import UUID

import structlog
from django.conf import settings
from django.db import DatabaseError, connection

from audit import crash
from audit.canonical import JSON
from audit.refusal import Refusal, not_found
from gateway import (
    admission,
    answers,
    attributes,
    breakers,
    calls,
    claims,
    contract,
    credentials,
    fallbacks,
    holds,
    limits,
    obligations,
    outcomes,
    pdp,
    recall,
    retries,
    sanitize,
    sessions,
    settlement,
    telemetry,
    tokens,
    trail,
    transport,
)
from gateway.answers import Answer
from gateway.calls import Decided
from gateway.decision import Decision
from gateway.exchange import Outcome, Request
from gateway.facts import Facts
from gateway.models import Hold
from gateway.principal import Principal
from gateway.reasons import deny, failed, message
from registry.models import Person

__all__ = ["Outcome", "Request", "call", "release", "settle"]
T = TypeVar("T")
log = structlog.get_logger(__name__)
_SCOPES = {"tool": "tools:call", "model": "models:call"}


def call(principal: Principal, request: Request, *, now: datetime) -> Outcome:
    """Decide one call and, only if it is allowed and that is on record, carry it out.

    If its tool is away and nothing has happened, the contract's fallback is asked, by a call of its own.
    A denial is an outcome. An exception on the way means that we failed, and ends as a denial too.

    :raises Refusal: the request itself is wrong (400, 422), comes too late (504), or nothing can be recorded now (503):
        nothing was executed.
    """
    if connection.in_atomic_block:
        raise RuntimeError("A call must not run inside a transaction: it would hold it open while the tool works.")
    if principal.kind != "agent":
        raise Refusal("agent_missing", "A person calls no tools; an agent does, with a credential.", status=403)
    if request.remaining <= 0:
        detail = "The call's time was over before it was looked at; nothing was done. Send it again, with more time."
        raise Refusal("deadline_passed", detail, status=504)
    outcome = _line(principal, request, now=now)
    instead = fallbacks.request(request, outcome)
    return outcome if instead is None else fallbacks.told(outcome, _line(principal, instead, now=now))


def _line(principal: Principal, request: Request, *, now: datetime) -> Outcome:
    """Go the way of one call, step by step."""
    started = time.monotonic()
    claim = _recorded(claims.claim, principal, request)  # 1 claim
    if isinstance(claim, Outcome):
        return _answered(request, claim, started)
    facts = Facts(claim, principal, request, now)
    timeout = 0.0
    try:
        credentials.check_scope(principal, _SCOPES[request.kind])
        facts.session, facts.release = sessions.enter(  # 2 resolve
            principal, request.session, now=now, correlation_id=request.correlation_id, seen=claim.seen
        )
        facts.contract = contract.pinned(facts.release, request.kind, request.name)
        timeout = min(contract.patience(facts.contract), max(0.0, request.remaining))
        trail.check(principal.workspace, facts.contract)
        contract.check_arguments(facts.contract, request.arguments)  # 3 check
        findings = sanitize.scan(request.arguments)  # 4 trace and scan
        facts.findings = sanitize.summary(findings)
        facts.reserved = _reserve(facts, timeout)  # 5 reserve
        facts.document = attributes.build(facts)
        decision = facts.answered = pdp.decide(  # 6 decide
            facts.document,
            workspace=principal.workspace,
            environment=principal.environment,
            revision=facts.release.revision,
            deadline_ms=settings.PLACET_DECISION_TIMEOUT_MS,
            degradable=facts.degradable,
        )
        if decision.allow:  # 7 oblige
            book = tokens.Book(facts.session.root)
            facts.executed, facts.changed = obligations.apply(
                decision.obligations, request.arguments, findings, mint=book.mint
            )
            facts.tokens = book.minted
            contract.check_arguments(facts.contract, facts.executed)
            holds.check_unchanged(facts)
    except Exception as failure:  # noqa: BLE001 - every failure of ours is a deny
        decision = _denied(failure)
    try:
        decided = _recorded(calls.decide, facts, decision, seconds=timeout)  # 8 record, before the act
    except calls.Overtaken:
        return _answered(request, outcomes.busy(facts), started)
    if decided.verdict != "allow":
        return _answered(request, outcomes.not_executed(facts, decided), started)
    answer = _invoke(facts, timeout)  # 9 invoke
    answer = answers.examine(facts, answer)  # 10 check and scan
    return _answered(request, _finish(facts, decided, answer), started)  # 11 record


def release(hold: UUID, *, now: datetime) -> Outcome:
    """Go on with a parked call whose hold is approved: it is decided again, with the approval, and then executed.

    :raises Refusal: not_found; hold_open: not approved yet; what `call` raises.
    """
    row = Hold.objects.select_related("call").filter(pk=hold).first()
    if row is None:
        raise not_found("hold")
    if row.state == Hold.State.OPEN:
        raise Refusal("hold_open", "The hold is not approved yet.", status=409)
    parked = row.call
    if row.state != Hold.State.APPROVED:
        return recall.outcome(parked.pk)
    received, _ = recall.arguments_of(row.decided_record)
    request = Request(
        kind="model" if parked.kind == "model" else "tool",
        name=parked.name,
        arguments=received,
        key=parked.key,
        correlation_id=parked.correlation_id,
        session=parked.asked_session,
        run=parked.run,
        instead_of=parked.instead_of,
    )
    return call(credentials.principal_of(parked.credential_id), request, now=now)


def settle(
    call: UUID, *, person: Person, outcome: str, now: datetime, correlation_id: str, result: JSON = None
) -> Outcome:
    """Say what became of a call whose outcome is unknown: `happened` or `did_not_happen`. See gateway.settlement."""
    return settlement.settle(
        call, person=person, outcome=outcome, result=result, now=now, correlation_id=correlation_id
    )


def _reserve(facts: Facts, timeout: float) -> limits.Reserved:
    claim, at = facts.claim, facts.resolved
    return limits.reserve(
        call=claim.id,
        fence=claim.fence,
        first=claim.counted != facts.budget,
        session=at.session.id,
        run=UUID(facts.request.run["id"]) if facts.request.run and not facts.request.compensates else None,
        release=at.release,
        contract=at.contract,
        arguments=facts.request.arguments,
        seconds=timeout + 2 * calls.GRACE_SECONDS,
    )


def _denied(failure: Exception) -> Decision:
    """Return the deny that an exception means: the caller's fault by its own code, else ours."""
    if isinstance(failure, Refusal):
        return deny(failure.code, failure.detail)
    if isinstance(failure, sanitize.SanitizerFailed):
        return failed("sanitizer_failed", f"{message('sanitizer_failed')} ({failure.code})")
    if isinstance(failure, obligations.UnknownObligation):
        return failed("obligation_unknown")
    log.error("the line failed", exc_info=failure)
    return failed("gateway_failed")


def _recorded(step: Callable[..., T], *given: object, **named: object) -> T:
    """Take a step that commits. :raises Refusal: 503 if the database cannot: nothing runs unrecorded."""
    try:
        return step(*given, **named)
    except (DatabaseError, RuntimeError, ValueError) as error:
        # The latter two: a subject that is being erased all the time, a record past its bound.
        log.error("the database cannot record", exc_info=error)
        connection.close_if_unusable_or_obsolete()
        detail = message("decision_unrecorded")
        raise Refusal("decision_unrecorded", detail, status=503, retry_after=1) from error


def _invoke(facts: Facts, timeout: float) -> Answer:
    """Step 9: past breaker and bulkhead to the tool. What goes wrong there is an answer, too."""
    at, seen = facts.resolved, facts.reservation
    if facts.request.remaining <= 0:
        return Answer("failed", "deadline_passed", again=True)
    try:
        admitted = breakers.admit(seen.breaker, under_way=seen.under_way, seconds=timeout + calls.GRACE_SECONDS)
    except breakers.Away as away:
        return Answer("failed", away.code, again=True, retry_after=away.seconds)
    crash.point("gateway.before_invoke")
    begun = time.monotonic()
    patience = min(timeout, facts.request.remaining)
    with admission.away():
        answer = _ask(facts, deadline=begun + patience)
    crash.point("gateway.invoked")
    breakers.report(
        admitted,
        at.release,
        at.contract,
        answer.code,
        patient=patience >= contract.patience(at.contract),
        correlation_id=facts.request.correlation_id,
    )
    return replace(answer, duration_ms=int((time.monotonic() - begun) * 1000))


def _ask(facts: Facts, *, deadline: float) -> Answer:
    """Return what came of the only way to a tool."""
    at = facts.resolved
    retries.earn(at.release, at.contract)
    try:
        result = transport.invoke(
            at.contract,
            facts.executed or {},
            key=claims.upstream_key(facts.principal, facts.request, facts.claim),
            deadline=deadline,
            scope=transport.Scope(facts.principal.workspace, at.release.environment, at.release.digest, at.session.id),
            correlation_id=facts.request.correlation_id,
            may_retry=lambda: retries.take(at.release, at.contract),
        )
    except transport.TransportFailed as failure:
        nothing = failure.happened == "no"
        log.warning("tool failed", code=failure.code, happened=failure.happened, detail=failure.detail)
        retry_after = 1 if failure.code == "bulkhead_full" else None
        state = "failed" if nothing else "unknown"
        return Answer(state, failure.code, again=nothing or facts.effect != "unsafe", retry_after=retry_after)
    except Exception as failure:  # it may have happened; nobody may guess that it has not
        log.error("the transport failed", exc_info=failure)
        return Answer("unknown", "outcome_unknown", again=facts.effect != "unsafe")
    code = "tool_error" if result.is_error else ""
    return Answer("completed", code, result.content, result.is_error, spoke=True)


def _finish(facts: Facts, decided: Decided, answer: Answer) -> Outcome:
    """Step 11: put the outcome on record before anybody hears of it."""
    at = facts.resolved
    new = answers.labels(facts) if answer.spoke else ()
    known = tuple(sorted({*at.session.labels, *new, *calls.labels(decided)}))
    content = answer.result if isinstance(answer.result, dict) else {}
    fallback = fallbacks.name_of(facts, answer)
    usage = limits.used(at.contract, content.get("usage")) if answer.spoke else limits.NOTHING
    crash.point("gateway.before_record")
    try:
        receipt = calls.finish(
            facts,
            state=answer.state,
            code=answer.code,
            outcome={"result": answer.result, "is_error": answer.is_error, "labels": list(known)},
            labels=new,
            usage=None if answer.state == "unknown" else usage,
            again=answer.again,
            fallback=fallback,
            duration_ms=answer.duration_ms,
        )
    except calls.Overtaken:
        return outcomes.busy(facts)
    except Exception as failure:  # what is not on record is not told
        log.error("the outcome cannot be recorded", exc_info=failure)
        connection.close_if_unusable_or_obsolete()
        return outcomes.unrecorded(facts, decided)
    return outcomes.told(facts, decided, answer, receipt=receipt, labels=known, fallback=fallback)


def _answered(request: Request, outcome: Outcome, started: float) -> Outcome:
    telemetry.answered(request, outcome, seconds=time.monotonic() - started)
    return outcome
