"""How a command fails: an exit code that scripts can rely on, and words for people."""

from collections.abc import Mapping
from enum import IntEnum
from typing import Any


class Exit(IntEnum):
    """Exit codes of every command. docs/guides/cli.md lists them."""

    OK = 0
    ERROR = 1
    USAGE = 2
    DENIED = 3
    PENDING = 4  # something moved meanwhile, or waits for a person


class Failure(Exception):
    """A command ends here.

    :param detail: what happened. :param remedy: what to do, "" if `detail` says it. :param code: snake_case word.
    :param field: the input at fault. :param problem: the server's problem document, if there is one.
    """

    def __init__(
        self,
        detail: str,
        *,
        code: str,
        exit_code: Exit = Exit.ERROR,
        remedy: str = "",
        field: str | None = None,
        problem: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(f"{code}: {detail}")
        self.detail = detail
        self.remedy = remedy
        self.code = code
        self.exit_code = exit_code
        self.field = field
        self.problem = problem or {}

    def document(self) -> dict[str, Any]:
        """Return the failure for a program: the server's problem document, or one of the same members."""
        own: dict[str, Any] = {"code": self.code, "detail": self.detail, "exit_code": int(self.exit_code)}
        if self.remedy:
            own["remedy"] = self.remedy
        if self.field:
            own["field"] = self.field
        return {**self.problem, **own}


def usage(detail: str, *, field: str | None = None, code: str = "usage") -> Failure:
    """Return the failure of a command that was given wrongly."""
    return Failure(detail, code=code, exit_code=Exit.USAGE, field=field)


# Refusals that are no "no": what was looked at has moved, or somebody, or something, has to come first.
_PENDING = {
    "base_moved",
    "digest_mismatch",
    "step_up_required",
    "second_factor_required",
    "quorum_missing",
    "activation_pending",
    "authorization_pending",
    "in_flight",
}
_REMEDIES = {
    "base_moved": "Run `placet plan` again and look at the difference.",
    "digest_mismatch": "Look at it again, then decide.",
    "not_authenticated": "Run `placet login`.",
    "approver_is_contributor": "Ask somebody who had no hand in it.",
    "quorum_missing": "`placet proposals show` says who has to agree.",
}


def refused(problem: Mapping[str, Any], status: int) -> Failure:
    """Return the failure that a problem document (RFC 9457) stands for."""
    code = str(problem.get("code", "error"))
    denied = status in (401, 403)
    exit_code = Exit.PENDING if code in _PENDING else Exit.DENIED if denied else Exit.ERROR
    remedy = _REMEDIES.get(code, "")
    if code in ("step_up_required", "second_factor_required") and problem.get("address"):
        remedy = f"Decide there, in the browser: {problem['address']}"
    detail = str(problem.get("detail") or problem.get("title") or f"The server answered {status}.")
    field = problem.get("field")
    return Failure(detail, code=code, exit_code=exit_code, remedy=remedy, field=field, problem=problem)
