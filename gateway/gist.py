"""PURE. What can be compared of a decision: allow, layers, labels, codes. No text, so nothing personal.

An OPA server's log says no more of a decision than this (policies/opa/mask.rego), and one without that mask says more:
both have the same gist as the decision that we read from the answer.
"""

from collections.abc import Mapping
from typing import Any

from audit import canonical
from gateway.decision import Decision

_OURS = "denied_without_reason"  # a reason that gateway.decision puts in where no policy gave one


def of(decision: Decision) -> str:
    """Return the digest of what a policy engine said."""
    return _digest(
        decision.allow,
        decision.layers,
        decision.labels,
        [(one.code, one.layer) for one in decision.reasons if one.code != _OURS],
        decision.obligations,
    )


def of_result(result: Any) -> str:
    """Return the digest of a logged result; empty if it is no decision at all."""
    if not isinstance(result, Mapping):
        return ""
    try:
        reasons = [(one.get("code"), one.get("layer")) for one in result.get("reasons") or ()]
        labels = dict.fromkeys(result.get("labels") or ())
        layers, obligations = result.get("layers"), result.get("obligations") or ()
        return _digest(result.get("allow"), layers, labels, reasons, obligations)
    except (AttributeError, TypeError, ValueError):
        return ""


def _digest(allow: Any, layers: Any, labels: Any, reasons: Any, obligations: Any) -> str:
    kinds = [[one.get("kind"), one.get("code")] for one in obligations]
    said = [allow, dict(layers or {}), list(labels), [list(one) for one in reasons], kinds]
    return canonical.sha256(said)
