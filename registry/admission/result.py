"""What one admission check says."""

from dataclasses import dataclass


@dataclass(frozen=True)
class CheckResult:
    """`output` is for the reviewer: the problems, or what was covered."""

    name: str
    passed: bool
    output: str = ""
