"""What the sanitiser says: findings, and its own failure."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

JSON = Any
Severity = Literal["low", "medium", "high"]
RANK: dict[str, int] = {"low": 0, "medium": 1, "high": 2}


class SanitizerFailed(Exception):
    """The sanitiser cannot vouch for this value: the caller denies it (in) or quarantines it (out).

    :param code: snake_case word: sanitizer_too_large, sanitizer_too_deep, sanitizer_too_many, sanitizer_not_json,
        sanitizer_lone_surrogate, sanitizer_engine or sanitizer_stale_finding.
    :param detail: one sentence for a person; never a part of the value.
    """

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(f"{code}: {detail}")
        self.code = code
        self.detail = detail


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that a recogniser found.

    :param kind: `secret.*`, `pii.*`, `unicode.*`, `injection.*` or `markup.*`.
    :param path: JSON pointer (RFC 6901) that is safe to record: a secret in a key is replaced in it by its marker.
    :param start: first code point within the string at `path` (or within the key, or the digits of a number).
    :param end: one past the last code point.
    :param in_key: the text is the last key of the path, not the value behind it.
    :param pointer: the pointer with the true keys, when they differ from `path`; never record it.
    """

    kind: str
    path: str
    severity: Severity
    start: int
    end: int
    in_key: bool = False
    pointer: str | None = field(default=None, repr=False)

    @property
    def target(self) -> str:
        """Return the pointer that resolves in the scanned value."""
        return self.path if self.pointer is None else self.pointer


def covers(kinds: Iterable[str], kind: str) -> bool:
    """Say whether `kind` is one of `kinds` or in a family named by one: `secret` covers `secret.jwt`."""
    return any(kind == wanted or kind.startswith(wanted + ".") for wanted in kinds)


def summary(findings: Sequence[Finding], *, limit: int = 256) -> list[dict[str, str]]:
    """Return `findings` as the decision input takes them: kind, path and severity, each pair once, sorted.

    More than `limit` of them are folded into one entry per kind at the root, so that no kind is lost.
    """
    worst: dict[tuple[str, str], Severity] = {}
    for finding in findings:
        _keep(worst, (finding.kind, finding.path), finding.severity)
    if len(worst) > limit:
        folded: dict[tuple[str, str], Severity] = {}
        for (kind, _), severity in worst.items():
            _keep(folded, (kind, ""), severity)
        worst = folded
    return [{"kind": kind, "path": path, "severity": severity} for (kind, path), severity in sorted(worst.items())]


def _keep(worst: dict[tuple[str, str], Severity], place: tuple[str, str], severity: Severity) -> None:
    if place not in worst or RANK[severity] > RANK[worst[place]]:
        worst[place] = severity
