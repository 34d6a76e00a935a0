"""PURE. The eleven steps of the line, as far as what is on record tells how one attempt went through them.

What stands here follows from the decision's record, its sealed input and the outcome's record. A step of which nothing
is kept says so; nothing is guessed.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

# The codes with which the line itself ends a call before a policy is asked, by step.
ENDS: Mapping[int, frozenset[str]] = {
    2: frozenset(
        {
            "scope_missing", "session_unknown", "session_closed", "session_expired", "no_live_release",
            "no_live_baseline", "break_glass_expired", "version_revoked", "tool_unknown", "model_unknown",
        }
    ),
    3: frozenset({"arguments_invalid", "arguments_too_large", "contract_invalid"}),
    4: frozenset({"sanitizer_failed"}),
    5: frozenset(
        {
            "rate_limited", "rate_unavailable", "concurrency_exceeded", "budget_steps_exceeded",
            "budget_tokens_exceeded", "budget_cost_micro_usd_exceeded", "budget_seconds_exceeded",
        }
    ),
    7: frozenset({"obligation_unknown"}),
    8: frozenset(
        {
            "stopped", "release_changed", "credential_revoked", "credential_expired", "credential_orphaned",
            "hold_void",
        }
    ),
}  # fmt: skip
NAMES = (
    "Claim", "Resolve", "Check the arguments", "Trace and scan", "Reserve", "Decide", "Oblige", "Record the decision",
    "Invoke", "Check and scan the result", "Record the outcome",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Step:
    """One step. `tone`: allow, deny, hold, unknown, info or muted; `said`: its outcome in words."""

    number: int
    name: str
    tone: str
    said: str


@dataclass(frozen=True, slots=True)
class Gone:
    """What is known of one attempt.

    :param code: why it ended so. :param document: the decision's input, None if there was none or it was erased.
    :param decided: the data of its record. :param outcome: the data of the outcome's record, None without one.
    :param changed: how many arguments an obligation changed.
    """

    verdict: str
    state: str
    code: str
    document: Mapping[str, Any] | None
    decided: Mapping[str, Any]
    outcome: Mapping[str, Any] | None
    changed: int
    erased: bool


def steps(gone: Gone) -> list[Step]:
    """Return the eleven steps."""
    stopped = _stopped(gone)
    shown = []
    for number, (name, say) in enumerate(zip(NAMES, _SAY, strict=True), start=1):
        if number == stopped:
            shown.append(Step(number, name, "deny", f"Ended here: {gone.code or 'denied'}."))
        elif stopped and number > stopped and number != 8:
            shown.append(Step(number, name, "muted", "Not reached."))
        else:
            tone, said = say(gone)
            shown.append(Step(number, name, tone, said))
    return shown


def _stopped(gone: Gone) -> int:
    """Return the step that ended the call with a denial, 0 if none did."""
    if gone.verdict != "deny":
        return 0
    return next((number for number, codes in ENDS.items() if gone.code in codes), 6)


def _claim(gone: Gone) -> tuple[str, str]:
    number = gone.decided.get("attempt")
    return "allow", "Claimed under the caller's key" + (f", attempt {number}." if number else ".")


def _resolve(gone: Gone) -> tuple[str, str]:
    return "allow", "A live release and the contract that it pins."


def _check(gone: Gone) -> tuple[str, str]:
    return "allow", "They fit the contract's schema."


def _scan(gone: Gone) -> tuple[str, str]:
    if gone.document is None:
        return ("muted", "Erased with its data subject.") if gone.erased else ("muted", "Nothing is kept of it.")
    kinds = [str(one["kind"]) for one in gone.document.get("findings", ())]
    if not kinds:
        return "allow", "Nothing was found in the arguments."
    listed = ", ".join(sorted({kind.replace("_", " ") for kind in kinds}))
    return "hold", f"{len(kinds)} finding{'' if len(kinds) == 1 else 's'}: {listed}."


def _reserve(gone: Gone) -> tuple[str, str]:
    limits = (gone.document or {}).get("limits", ())
    told = [f"{str(one['name']).replace('_', ' ')} {one['used']:,} of {one['limit']:,}" for one in limits]
    return "allow", f"Room in every limit: {'; '.join(told)}." if told else "No limit was in the way."


def _decide(gone: Gone) -> tuple[str, str]:
    engine = gone.decided.get("engine") or ""
    who = f" by {engine}" if engine else ""
    if gone.verdict == "hold":
        return "hold", f"The policies ask for a person{who}: {gone.code}."
    return "allow", f"Floor, baseline and release policy allow it{who}."


def _oblige(gone: Gone) -> tuple[str, str]:
    kinds: Sequence[str] = [kind for kind in gone.decided.get("obligations", ()) if kind != "hold"]
    if not kinds:
        return "allow", "The policies ask for nothing more."
    changed = f"; {gone.changed} argument{'' if gone.changed == 1 else 's'} changed" if gone.changed else ""
    return "allow", f"{', '.join(kind.replace('_', ' ') for kind in kinds)}{changed}."


def _record(gone: Gone) -> tuple[str, str]:
    said = {"hold": ("hold", "On record; parked."), "deny": ("allow", "On record; nothing was executed.")}
    return said.get(gone.verdict, ("allow", "On record before anything ran."))


def _invoke(gone: Gone) -> tuple[str, str]:
    if gone.verdict == "hold":
        return "hold", "Not executed: it waits for a person, or a later attempt went on."
    if gone.state == "decided":
        return "info", "Under way."
    took = (gone.outcome or {}).get("duration_ms")
    spent = f" in {took:,} ms" if took is not None else ""
    if gone.state == "unknown":
        return "unknown", f"Nobody can tell whether it was executed{spent}."
    if gone.state == "failed":
        return "deny", f"It failed{spent}: {gone.code}."
    return "allow", f"Executed once{spent}."


def _result(gone: Gone) -> tuple[str, str]:
    if gone.outcome is None or gone.state != "completed":
        return "muted", "Withheld." if gone.state == "failed" and gone.code.startswith("result_") else "Not reached."
    labels = gone.outcome.get("labels") or ()
    return "allow", f"It labelled the session {', '.join(labels)}." if labels else "It brought no labels."


def _settled(gone: Gone) -> tuple[str, str]:
    if gone.outcome is None:
        return "muted", "Not reached."
    usage = gone.outcome.get("usage") or {}
    spent = [f"{usage['tokens']:,} tokens"] if usage.get("tokens") else []
    return ("unknown" if gone.state == "unknown" else "allow"), "On record" + (f"; {spent[0]}." if spent else ".")


_SAY = (
    _claim, _resolve, _check, _scan, _reserve, _decide, _oblige, _record, _invoke, _result, _settled,
)  # fmt: skip
