"""What the caller is told of a call, at each place where its line ends."""

from gateway import recall
from gateway.answers import Answer
from gateway.calls import GRACE_SECONDS, Decided
from gateway.exchange import Outcome
from gateway.facts import Facts
from gateway.reasons import message


def not_executed(facts: Facts, decided: Decided) -> Outcome:
    """Return what is told of a call that was denied or parked."""
    said = [reason.message for reason in decided.decision.reasons if reason.code == decided.code]
    return Outcome(
        "parked" if decided.verdict == "hold" else "denied",
        facts.claim.id,
        facts.claim.number,
        decision=decided.decision,
        code=decided.code,
        message=said[0] if said else message(decided.code),
        hold=decided.hold,
        receipts=(decided.receipt,),
        labels=facts.session.labels if facts.session else (),
        again=decided.again,
        retry_after=recall.PARKED_SECONDS if decided.verdict == "hold" else 1 if decided.again else None,
    )


def told(
    facts: Facts, decided: Decided, answer: Answer, *, receipt: str, labels: tuple[str, ...], fallback: str
) -> Outcome:
    """Return what is told of a call that was allowed and whose outcome is on record.

    :param labels: of the session, those of this answer included. :param fallback: the tool that is asked instead.
    """
    return Outcome(
        "finished" if answer.state == "completed" else "failed" if answer.state == "failed" else "unknown",
        facts.claim.id,
        facts.claim.number,
        decision=decided.decision,
        result=answer.result,
        is_error=answer.is_error,
        code=answer.code,
        message=answer.message,
        receipts=(decided.receipt, receipt),
        labels=labels,
        again=answer.again,
        retry_after=answer.retry_after,
        fallback=fallback,
    )


def unrecorded(facts: Facts, decided: Decided) -> Outcome:
    """Return what is told when the outcome is withheld, because it could not be recorded."""
    return Outcome(
        "unknown",
        facts.claim.id,
        facts.claim.number,
        code="outcome_unrecorded",
        message=message("outcome_unrecorded"),
        receipts=(decided.receipt,),
        again=facts.effect != "unsafe",
        retry_after=GRACE_SECONDS,
    )


def busy(facts: Facts) -> Outcome:
    """Return what is told when somebody else has the call by now."""
    return Outcome("in_flight", facts.claim.id, code="in_flight", again=True, retry_after=1)
