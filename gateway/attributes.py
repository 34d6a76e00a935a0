"""The PIP: the document that policies see of one call; its schema is policies/schemas/decision-input.v1.json."""

import hashlib
from collections.abc import Iterator, Mapping
from datetime import UTC
from typing import Any
from uuid import UUID

from audit.canonical import JSON
from gateway.facts import Facts
from registry.resolve import Contract

BUCKETS = 10_000
_WEEKDAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")


def build(facts: Facts) -> dict[str, Any]:
    """Return the decision input of one attempt."""
    principal, request, approval = facts.principal, facts.request, facts.claim.approval
    at, reserved = facts.resolved, facts.reserved
    if reserved is None:
        raise RuntimeError("Nothing was reserved for the call.")
    session, release, contract = at.session, at.release, at.contract
    moment = facts.now.astimezone(UTC)
    return {
        "call": {
            "id": str(facts.claim.id),
            "kind": request.kind,
            "tool": _tool(contract),
            "arguments": request.arguments,
            "destinations": list(_destinations(contract, request.arguments)),
        },
        "agent": {
            "name": release.agent,
            "release": release.digest,
            "policy": release.policy,
            "environment": release.environment,
            "labels": sorted(release.labels),
        },
        "baseline": release.baseline,
        "principal": {
            "kind": principal.kind,
            "id": str(principal.id),
            "scopes": sorted(principal.scopes),
            "on_behalf_of": principal.on_behalf_of or session.on_behalf_of,
        },
        "session": {
            "id": str(session.id),
            "labels": list(session.labels),
            "calls": reserved.calls,
            "spend": {"tokens": reserved.tokens, "cost_micro_usd": reserved.cost_micro_usd},
        },
        "run": dict(request.run) if request.run else None,
        "findings": list(facts.findings),
        # Where each argument came from: the place is kept, the tracing comes with a later issue.
        "provenance": [],
        "approval": approval
        and {
            "id": str(approval.id),
            "approver": approval.approver,
            "digest": approval.digest,
            "codes": list(approval.codes),
        },
        "limits": reserved.limits,
        "time": {"now": int(moment.timestamp() * 1000), "hour": moment.hour, "weekday": _WEEKDAYS[moment.weekday()]},
        "cohort": {"name": "live", "bucket": bucket(release.slot_id, session.id)},
    }


def bucket(salt: object, session: UUID) -> int:
    """Return the session's place among BUCKETS: the same for as long as the slot keeps its salt."""
    return int.from_bytes(hashlib.sha256(f"{salt}:{session}".encode()).digest()[:8], "big") % BUCKETS


def _tool(contract: Contract) -> dict[str, JSON]:
    content = contract.content
    if contract.kind == "model":
        labels = [] if content.get("provider") == "scripted" else ["external"]
        effect, risk = "read", "low"
    else:
        labels, effect, risk = content.get("labels_out", []), content["effect"], content.get("risk", "low")
    return {
        "name": contract.name,
        "digest": contract.digest,
        "effect": effect,
        "risk": risk,
        "labels": sorted(set(labels)),
        "accepts": sorted(set(content.get("labels_in", []))),
    }


def _destinations(contract: Contract, arguments: Mapping[str, JSON]) -> Iterator[dict[str, JSON]]:
    for pointer in contract.content.get("destinations", ()):
        value: JSON = arguments
        for step in pointer.split("/")[1:]:
            name = step.replace("~1", "/").replace("~0", "~")
            if isinstance(value, Mapping) and name in value:
                value = value[name]
            elif isinstance(value, list) and name.isdecimal() and int(name) < len(value):
                value = value[int(name)]
            else:
                break
        else:
            yield from _leaves(pointer, value)


def _leaves(pointer: str, value: JSON) -> Iterator[dict[str, JSON]]:
    if isinstance(value, Mapping):
        for name, member in value.items():
            yield from _leaves(f"{pointer}/{name.replace('~', '~0').replace('/', '~1')}", member)
    elif isinstance(value, list):
        for at, member in enumerate(value):
            yield from _leaves(f"{pointer}/{at}", member)
    else:
        yield {"path": pointer, "value": str(value) if isinstance(value, float) else value}
