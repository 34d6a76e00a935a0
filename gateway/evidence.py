"""What the record of a decision tells: plain where it names things, sealed where it may be personal or secret."""

from typing import Any

from audit import log
from audit.canonical import JSON
from gateway.decision import Decision
from gateway.facts import Facts


def decided(facts: Facts, decision: Decision, verdict: str, code: str) -> log.Draft:
    """Return the record of a decision, for the statement that decides."""
    claim, request = facts.claim, facts.request
    return log.draft(
        "gateway.call.decided",
        workspace=facts.principal.workspace,
        actor=facts.principal.actor,
        correlation_id=request.correlation_id,
        now=facts.now,
        subjects=_subjects(facts),
        data={
            "attempt": claim.number,
            "kind": request.kind,
            "name": request.name,
            "effect": facts.effect,
            "environment": facts.principal.environment,
            "agent": facts.principal.agent,
            "enforced": True,
            "verdict": verdict,
            "code": code,
            "reasons": [reason.code for reason in decision.reasons],
            "obligations": sorted(str(obligation["kind"]) for obligation in decision.obligations),
            "labels": labels(decision),
            "engine": decision.engine,
            "revision": decision.revision,
            "decision_id": decision.decision_id,
            "run": dict(request.run) if request.run else None,
            "hold": str(claim.approval.id) if claim.approval else None,
            **_sealed(facts, decision),
        },
    )


def append_difference(facts: Facts, decision: Decision) -> None:
    """Append the record of engines that differed, in the caller's transaction; nothing if they did not."""
    if decision.difference is not None:
        log.append(
            "gateway.pdp.differed",
            workspace=facts.principal.workspace,
            actor="system:pdp",
            correlation_id=facts.request.correlation_id,
            now=facts.now,
            subjects=_subjects(facts),
            data={"environment": facts.principal.environment, "attempt": facts.claim.number, **decision.difference},
        )


def _subjects(facts: Facts) -> dict[str, str]:
    request, release = facts.request, facts.release
    subjects = {"call": str(facts.claim.id)}
    if request.instead_of is not None:
        subjects["instead_of"] = str(request.instead_of)
    if request.compensates is not None:
        subjects["compensates"] = str(request.compensates)
    if facts.session is not None:
        subjects["session"] = str(facts.session.id)
    if release is not None:
        subjects |= {"release": release.digest, "policy": release.policy, "baseline": release.baseline}
    if facts.contract is not None:
        subjects["tool"] = facts.contract.digest
    return subjects


def _sealed(facts: Facts, decision: Decision) -> dict[str, Any]:
    """Return what may be personal or secret, as commitments. The input without its arguments: they are `received`."""
    sealed: dict[str, JSON] = {"received": facts.request.arguments, "decision": _document(decision)}
    if facts.document is not None:
        call = {name: value for name, value in facts.document["call"].items() if name != "arguments"}
        sealed["input"] = {**facts.document, "call": call}
    if facts.executed is not None and facts.changed:
        sealed["executed"] = facts.executed
    return {name: log.Sealed(value, facts.subject) for name, value in sealed.items()}


def _document(decision: Decision) -> dict[str, JSON]:
    return {
        "allow": decision.allow,
        "reasons": [{"code": r.code, "message": r.message, "layer": r.layer} for r in decision.reasons],
        "obligations": [dict(obligation) for obligation in decision.obligations],
        "labels": list(decision.labels),
        "failure": decision.failure,
    }


def labels(decision: Decision) -> list[str]:
    """Return the labels that a decision puts on the session."""
    named = [str(o["label"]) for o in decision.obligations if o["kind"] == "label"]
    return sorted({*decision.labels, *named})
