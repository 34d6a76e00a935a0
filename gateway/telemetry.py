"""What the gateway counts for /metrics; records, not counters, are the evidence."""

from prometheus_client import Counter, Histogram

from gateway.exchange import Outcome, Request

CALLS = Counter("placet_calls_total", "Calls answered, by kind, status and reason code.", ["kind", "status", "code"])
SECONDS = Histogram(
    "placet_call_seconds",
    "Time from the request to the answer, the tool's own included.",
    ["kind", "status"],
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60),
)
HOLDS = Counter("placet_holds_total", "Holds decided, by verdict.", ["verdict"])
PDP_FAILURES = Counter("placet_pdp_failures_total", "Decisions that failed on our side, by reason code.", ["code"])
DIFFERENCES = Counter("placet_pdp_differences_total", "Shadow mode: where the two engines differed.", ["what"])
SHADOWED = Counter(
    "placet_pdp_shadow_total",
    "Shadow mode: what came of asking the second engine: compared, late, away, or a code.",
    ["result"],
)
DECISION_LOGS = Counter(
    "placet_decision_logs_total", "Decisions that OPA servers logged, by what they turned out to be.", ["state"]
)
ALARMS = Counter(
    "placet_decision_alarms_total", "Logged decisions that do not fit what the gateway asked, by kind.", ["kind"]
)
UNEXPECTED = Counter(
    "placet_pdp_unexpected_revisions_total", "Decisions that an OPA server made by another bundle than the live one."
)
BREAKERS = Counter(
    "placet_breaker_moves_total", "Breakers that opened or closed.", ["environment", "kind", "name", "state"]
)


def answered(request: Request, outcome: Outcome, *, seconds: float) -> None:
    """Count one answer of the line."""
    CALLS.labels(request.kind, outcome.status, outcome.code).inc()
    SECONDS.labels(request.kind, outcome.status).observe(seconds)
