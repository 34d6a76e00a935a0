"""What a tool answered, as far as it may be seen: checked against its contract, secrets out, instructions fenced."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from audit import canonical
from audit.canonical import JSON
from audit.refusal import Refusal
from gateway import contract, sanitize, tokens
from gateway.facts import Facts
from gateway.reasons import message
from registry.resolve import Contract

_REDACTED = ("secret",)
_FENCED = ("injection", "markup", "unicode")


@dataclass(frozen=True, slots=True)
class Answer:
    """What came of an execution.

    :param state: "completed", "failed" or "unknown"; `code` says why it is not simply completed.
    :param again: nothing happened, so the same key may be tried again.
    :param spoke: the tool said something: the labels of its results count.
    :param retry_after: seconds after which asking again may help.
    """

    state: str
    code: str = ""
    result: JSON = None
    is_error: bool = False
    again: bool = False
    spoke: bool = False
    duration_ms: int = 0
    retry_after: int | None = None

    @property
    def message(self) -> str:
        """Return what the code tells the caller."""
        return message(self.code) if self.code else ""


def examine(facts: Facts, answer: Answer) -> Answer:
    """Return `answer` as it may leave; what cannot be vouched for is withheld, and the call has failed.

    It was executed all the same: `again` stays as it was.
    """
    if answer.state != "completed":
        return answer
    agreed = facts.resolved.contract
    try:
        # Written once: nearly every result stays as it came.
        form = canonical.dumps(answer.result)
        result = tokens.restore(facts, answer.result, form=form)
        if result is not answer.result:
            form = canonical.dumps(result)
        if not answer.is_error:
            contract.check_result(agreed, _structured(agreed, result))
        contract.check_length(form, code="result_too_large", what="result")
        return replace(answer, result=_clean(agreed, result))
    except Refusal as refusal:
        return replace(answer, state="failed", code=refusal.code, result=None)
    except Exception:  # noqa: BLE001 - what we cannot examine does not leave
        return replace(answer, state="failed", code="result_quarantined", result=None)


def labels(facts: Facts) -> tuple[str, ...]:
    """Return the labels that a result of this contract puts on the session, whatever it says."""
    return tuple(facts.document["call"]["tool"]["labels"]) if facts.document else ()


def _structured(agreed: Contract, result: JSON) -> JSON:
    """Return the part of a result that its schema is about: of an MCP answer the structured one."""
    if agreed.kind == "tool" and agreed.content["transport"]["kind"] == "mcp" and isinstance(result, Mapping):
        return result.get("structured")
    return result


def _clean(agreed: Contract, result: JSON) -> JSON:
    findings = sanitize.scan(result)
    if not findings:
        return result
    cleaned = result
    leaked = [finding for finding in findings if sanitize.covers(_REDACTED, finding.kind)]
    if leaked:
        cleaned = sanitize.redact(cleaned, leaked)
        findings = sanitize.scan(cleaned)
    # A model's own words are not data from outside; a frame would break the form that its caller expects.
    if agreed.kind == "tool" and any(sanitize.covers(_FENCED, finding.kind) for finding in findings):
        cleaned = sanitize.fence(cleaned, findings)
    if cleaned is not result:
        canonical.dumps(cleaned)
    return cleaned
