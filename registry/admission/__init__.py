"""Admission: what a machine checks of a version before people review it. A failed check blocks its approval.

Nothing here needs Django or a database. What a policy says is only ever parsed and run in a subprocess.
"""

from collections.abc import Mapping
from typing import Any

from registry.admission import contracts, policy
from registry.admission.result import CheckResult

__all__ = ["CheckResult", "check"]


def check(kind: str, content: Mapping[str, Any]) -> list[CheckResult]:
    """Return the checks of a version's content, in the order in which a reviewer should read them.

    The kind's own JSON Schema has been applied on entry (registry.content). Never raises for bad content.
    A policy takes about a second and at most 60; the other kinds are instant.
    """
    if kind == "policy":
        return policy.check(content)
    return contracts.check(kind, content)
