"""Why a run ended or waits, beside the gateway's own reason codes; docs/reference/agents.md lists them."""

from gateway import reasons

REASONS = {
    "repetition": "The model asked for the same call over and over.",
    "cycle": "The model went round in a circle of the same calls.",
    "run_too_long": "The run took more steps than any run may.",
    "output_invalid": "The model's final answer does not fit the prompt's output schema, even after it was told so.",
    "answer_malformed": "The model's answer has not the agreed form, even after it was told so.",
    "poison": "The process that worked on this step died, again and again.",
    "retries_exhausted": "The step failed as often as it may be tried.",
    "executor_failed": "An error of the executor; the step is tried again.",
    "in_flight": "Another process works on this call.",
    "cancelled": "Somebody cancelled the run.",
    "compensation_invalid": "The compensation cannot be made from its step.",
    "run_failed": "The run ended.",
}


def message(code: str) -> str:
    """Return what `code` says to a person."""
    return REASONS.get(code) or reasons.message(code)
