"""PURE. What a charter asks for: quorum, roles, lifetimes and gates, read from its content."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

RISKS = ("low", "medium", "high")

# What `init` writes when it is given none: it lets a team start, and asks for two people where it matters.
FIRST: Mapping[str, Any] = {
    "description": "The first charter, as shipped. Nobody has reviewed it.",
    "quorum": {
        "default": {"approvals": 1, "roles": ["reviewer"]},
        "rules": [
            {"environment": "production", "approvals": 2, "roles": ["reviewer", "security"]},
            {"kind": "charter", "approvals": 1, "roles": ["admin"]},
        ],
    },
    "proposal_ttl_hours": 168,
    "approval_ttl_hours": 168,
    "retention": {"outcomes": {"days": 90}},
    "gates": [],
}


@dataclass(frozen=True)
class Requirement:
    """`approvals` distinct persons, each in one of `roles`, and each role at least once."""

    approvals: int
    roles: tuple[str, ...]


@dataclass(frozen=True)
class Gate:
    """Evidence of `kind` that may be at most `max_age_hours` old at activation."""

    kind: str
    max_age_hours: int


def requirements(charter: Mapping[str, Any], *, kind: str, risk: str, environment: str | None) -> list[Requirement]:
    """Return what has to be met to approve a version: every rule that matches, or the default if none does.

    :param risk: low, medium or high; a rule for a risk holds for higher ones too.
    :param environment: its name; None for a charter.
    """
    quorum = charter["quorum"]
    rules = [rule for rule in quorum.get("rules", []) if _matches(rule, kind, risk, environment)]
    return [Requirement(rule["approvals"], tuple(rule["roles"])) for rule in rules or [quorum["default"]]]


def shortfall(requirement: Requirement, given: Iterable[str]) -> tuple[int, tuple[str, ...]]:
    """Return how many approvals are missing, and the roles that none of `given` (one role per person) stands for."""
    counts = Counter(role for role in given if role in requirement.roles)
    unmet = tuple(role for role in requirement.roles if not counts[role])
    return max(requirement.approvals - counts.total(), len(unmet)), unmet


def gates(charter: Mapping[str, Any], *, kind: str, environment: str | None) -> list[Gate]:
    """Return the evidence that has to be there before a version of `kind` goes live in `environment`."""
    return [
        Gate(gate["evidence"], gate["max_age_hours"])
        for gate in charter.get("gates", [])
        if gate.get("kind", kind) == kind and gate.get("environment", environment) == environment
    ]


def _matches(rule: Mapping[str, Any], kind: str, risk: str, environment: str | None) -> bool:
    return (
        rule.get("kind", kind) == kind
        and rule.get("environment", environment) == environment
        and RISKS.index(rule.get("risk", "low")) <= RISKS.index(risk)
    )
