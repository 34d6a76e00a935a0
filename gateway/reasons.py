"""Reason codes of the line and of its transports, with what they tell the caller. Policies add their own."""

from dataclasses import replace

from gateway.decision import Decision, Reason

REASONS = {
    # The caller's side: what was asked cannot be done so.
    "scope_missing": "The credential has no scope for this kind of call.",
    "session_unknown": "There is no such session for this credential.",
    "session_closed": "The session was closed; open a new one.",
    "session_expired": "The session has expired; open a new one.",
    "credential_revoked": "The credential was revoked.",
    "credential_expired": "The credential has expired.",
    "credential_orphaned": "The person who answers for the credential has left the workspace.",
    "no_live_release": "No release of the agent is live in this environment.",
    "no_live_baseline": "No baseline policy is live in this environment.",
    "break_glass_expired": "The release was live by break-glass, and its time is over.",
    "version_revoked": "The release, its baseline or one of its parts was revoked.",
    "stopped": "A stop is in force.",
    "tool_unknown": "The release pins no such tool.",
    "model_unknown": "The release pins no such model.",
    "arguments_invalid": "The arguments do not fit the contract.",
    "arguments_too_large": "The arguments are too large, or have no canonical JSON form.",
    # Limits.
    "rate_limited": "The tool's rate is used up for now.",
    "rate_unavailable": "The tool's rate cannot be counted now.",
    "concurrency_exceeded": "As many calls of the tool are under way as its contract allows.",
    "budget_steps_exceeded": "The release's budget of steps is used up.",
    "budget_tokens_exceeded": "The release's budget of tokens is used up.",
    "budget_cost_micro_usd_exceeded": "The release's budget of money is used up.",
    "budget_seconds_exceeded": "The release's budget of time is used up.",
    "trail_lagging": "The trail is too far behind for tools of high risk.",
    "trail_broken": "The trail does not continue what was published, so tools of high risk are refused.",
    # Our side: denied because we could not do better.
    "contract_invalid": "The contract's schema cannot be used.",
    "sanitizer_failed": "The arguments could not be examined.",
    "obligation_unknown": "The policy asks for something that this gateway cannot do.",
    "gateway_failed": "An error of the gateway; nothing was executed.",
    "decision_unrecorded": "The decision could not be recorded, so nothing was executed.",
    "release_changed": "The release was replaced or stopped while the call was decided.",
    # Holds.
    "hold_rejected": "A person rejected the call.",
    "hold_expired": "Nobody decided the call in time.",
    "hold_void": "What the person saw has changed; the call has to be decided again.",
    # After the decision.
    "tool_error": "The tool was executed and says that it failed.",
    "result_invalid": "The tool's answer does not fit its contract; it is withheld.",
    "result_too_large": "The tool's answer is too large; it is withheld.",
    "result_quarantined": "The tool's answer could not be examined; it is withheld.",
    "outcome_unknown": "The call may have been executed; nobody can tell.",
    "outcome_unrecorded": "The outcome could not be recorded, so it is withheld.",
    "breaker_open": "The tool is away: it failed too often and is not asked until a probe finds it back.",
    "bulkhead_full": "As many calls as one upstream may have are under way.",
    "deadline_passed": "The caller's time was over before the call began; nothing was executed.",
    "tool_timeout": "The tool did not answer in time.",
    "tool_unreachable": "The tool cannot be reached.",
    "tool_busy": "The tool's server has as many calls as it takes.",
    "tool_drifted": "The tool is not the one that was approved any more.",
    "tool_unpinned": "The contract does not say which definition of the tool was approved.",
    "tool_protocol_error": "The tool's server does not follow the protocol.",
    "tool_result_too_large": "The tool's answer is too large; it is withheld.",
    "tool_result_malformed": "The tool's answer has no canonical JSON form; it is withheld.",
    "launcher_unknown": "The deployment has no such launcher.",
    "launcher_invalid": "The launcher's configuration cannot be used.",
    "tool_server_error": "The tool's server failed; it may have acted.",
    "arguments_unplaced": "An argument has no place in the request that the contract describes.",
    "endpoint_unknown": "The deployment has no such endpoint.",
    "endpoint_invalid": "The endpoint's configuration cannot be used.",
    "endpoint_unauthorized": "The server does not accept the endpoint's credentials.",
    "endpoint_forbidden": "The endpoint does not serve this workspace, environment or method.",
    "egress_invalid": "The request is not one that leaves this gateway.",
    "egress_forbidden": "The destination is neither public nor listed by the operator.",
    "egress_redirect": "The server sends us elsewhere; redirects are not followed.",
    "egress_encoded": "The server compresses its answer, which is not read.",
    "transport_unknown": "There is no such transport.",
    "transport_forbidden": "This transport is for tests.",
    "provider_unknown": "No transport speaks to this model provider.",
    "model_request_invalid": "The model's server does not take the request.",
    "model_cut_off": "The model's answer broke off; none of it is used.",
    "script_forbidden": "A scripted model runs in development environments only.",
    "script_exhausted": "No rule of the model's script fits.",
    "script_invalid": "The model's script cannot be followed.",
    "settled_happened": "A person found that the call had been executed.",
    "settled_did_not_happen": "A person found that the call had not been executed.",
    "in_flight": "A request with this key is under way.",
}
# A later try with the same key may end otherwise: nothing was executed and nothing was decided for good.
PASSING = frozenset(
    {
        "rate_limited",
        "rate_unavailable",
        "concurrency_exceeded",
        "budget_steps_exceeded",
        "budget_tokens_exceeded",
        "budget_cost_micro_usd_exceeded",
        "budget_seconds_exceeded",
        "contract_invalid",
        "sanitizer_failed",
        "gateway_failed",
        "no_live_release",
        "no_live_baseline",
        "break_glass_expired",
        "stopped",
        "trail_lagging",
        "trail_broken",
        "release_changed",
        "hold_void",
    }
)


def deny(code: str, detail: str = "") -> Decision:
    """Return the deny of the line itself, before or beside the policies: the call, as asked for, cannot be allowed."""
    return Decision(allow=False, reasons=(Reason(code, detail or message(code), "line"),))


def failed(code: str, detail: str = "") -> Decision:
    """Return the deny that a failure of ours means."""
    return replace(deny(code, detail), failure=code)


def message(code: str) -> str:
    """Return what `code` tells the caller."""
    return REASONS.get(code, "The call was not allowed.")
