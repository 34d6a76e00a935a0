package policy_test

import future.keywords.not

test_a_plain_call_is_allowed if {
	data.policy.allow with input as base
	count(data.policy.reasons) == 0 with input as base
	count(data.policy.obligations) == 0 with input as base
}

test_a_model_call_is_allowed if {
	data.policy.allow with input as model_call
	held(data.policy.obligations) == set() with input as model_call
}

test_an_unknown_environment_is_denied if {
	somewhere := object.union(base, {"agent": {"environment": "lab"}})
	not data.policy.allow with input as somewhere
	codes(data.policy.reasons) == {"unknown_environment"} with input as somewhere
}

test_each_environment_of_the_product_is_known if {
	every name in ["development", "staging", "production"] {
		data.policy.allow with input as object.union(base, {"agent": {"environment": name}})
	}
}

test_an_undeclared_contract_is_denied if {
	every member in [{"effect": "magic"}, {"risk": "none"}, {"effect": null}] {
		unknown := object.union(base, {"call": {"tool": member}})
		not data.policy.allow with input as unknown
		"unknown_contract" in codes(data.policy.reasons) with input as unknown
	}
}

test_a_used_up_limit_denies_tools_and_models if {
	every call in [base, model_call] {
		over := object.union(call, {"limits": [{"name": "rate", "used": 1, "limit": 60}, {"name": "budget.tokens", "used": 11, "limit": 10}]})
		not data.policy.allow with input as over
		codes(data.policy.reasons) == {"limit_exceeded"} with input as over
	}
}

test_a_limit_may_be_reached if {
	data.policy.allow with input as object.union(base, {"limits": [{"name": "rate", "used": 60, "limit": 60}]})
}

test_a_secret_may_not_leave_the_house if {
	every way in [{"tool": {"labels": ["external"]}}, {"destinations": [{"path": "/to", "value": "x@example.com"}]}] {
		leaving := object.union(base, {"call": way, "findings": [secret]})
		not data.policy.allow with input as leaving
		codes(data.policy.reasons) == {"secret_leaves"} with input as leaving
	}
}

test_a_tool_that_is_cleared_for_secrets_gets_them if {
	cleared := object.union(base, {"call": {"tool": {"labels": ["external"], "accepts": ["secret"]}}, "findings": [secret]})
	data.policy.allow with input as cleared
	count(data.policy.obligations) == 0 with input as cleared
}

test_a_secret_inside_the_house_is_redacted if {
	inside := object.union(base, {"findings": [secret, address]})
	data.policy.allow with input as inside
	data.policy.obligations == {{"kind": "redact", "path": "/text", "finding": "secret.aws_key"}} with input as inside
}

test_a_secret_for_a_model_is_redacted if {
	asking := object.union(model_call, {"call": {"tool": {"labels": ["external"]}}, "findings": [secret]})
	data.policy.allow with input as asking
	data.policy.obligations == {{"kind": "redact", "path": "/text", "finding": "secret.aws_key"}} with input as asking
}

test_hidden_characters_stop_an_effect_and_not_a_read if {
	tags := {"findings": [{"kind": "unicode.tags", "path": "/text", "severity": "high"}]}
	not data.policy.allow with input as object.union(base, tags)
	codes(data.policy.reasons) == {"hidden_text"} with input as object.union(base, tags)
	data.policy.allow with input as object.union(read, tags)
	mild := {"findings": [{"kind": "unicode.zero_width", "path": "/text", "severity": "low"}]}
	data.policy.allow with input as object.union(base, mild)
}

test_an_untrusted_session_is_kept_from_high_risk_even_with_a_person if {
	risky := object.union(untrusted, {"call": {"tool": {"risk": "high"}}})
	not data.policy.allow with input as risky
	codes(data.policy.reasons) == {"untrusted_high_risk"} with input as risky
	signed := object.union(risky, approval("untrusted_high_risk"))
	not data.policy.allow with input as signed
	data.policy.allow with input as object.union(risky, {"call": {"tool": {"effect": "read"}}})
	data.policy.allow with input as object.union(risky, {"session": {"labels": ["external"]}})
}

test_an_unsafe_high_risk_call_needs_a_person if {
	drastic := object.union(base, {"call": {"tool": {"effect": "unsafe", "risk": "high"}}})
	data.policy.allow with input as drastic
	held(data.policy.obligations) == {"unsafe_high_risk"} with input as drastic
	signed := object.union(drastic, approval("unsafe_high_risk"))
	data.policy.allow with input as signed
	held(data.policy.obligations) == set() with input as signed
}

test_an_approval_for_another_reason_does_not_count if {
	drastic := object.union(base, {"call": {"tool": {"effect": "unsafe", "risk": "high"}}})
	other := object.union(drastic, approval("unsafe_in_production"))
	held(data.policy.obligations) == {"unsafe_high_risk"} with input as other
}

test_an_untrusted_session_may_not_choose_a_destination_alone if {
	sending := object.union(untrusted, {"call": {"destinations": [{"path": "/to", "value": "x@example.com"}]}})
	held(data.policy.obligations) == {"untrusted_destination"} with input as sending
	claimed := object.union(sending, traced(false))
	held(data.policy.obligations) == {"untrusted_destination"} with input as claimed
	known := object.union(sending, traced(true))
	held(data.policy.obligations) == set() with input as known
	signed := object.union(sending, approval("untrusted_destination"))
	held(data.policy.obligations) == set() with input as signed
}

test_untrusted_content_private_data_and_a_way_out_never_meet_unseen if {
	every label in ["secret", "pii"] {
		out := {"call": {"tool": {"effect": "read", "labels": ["external"]}}, "session": {"labels": ["untrusted", label]}}
		meeting := object.union(base, out)
		held(data.policy.obligations) == {"rule_of_two"} with input as meeting
		signed := object.union(meeting, approval("rule_of_two"))
		held(data.policy.obligations) == set() with input as signed
		inside := object.union(meeting, {"call": {"tool": {"labels": []}}})
		held(data.policy.obligations) == set() with input as inside
	}
}

test_a_model_call_with_an_effect_is_no_model_call if {
	odd := object.union(model_call, {"call": {"tool": {"effect": "unsafe", "risk": "high"}}})
	held(data.policy.obligations) == {"unsafe_high_risk"} with input as odd
}

secret := {"kind": "secret.aws_key", "path": "/text", "severity": "high"}

address := {"kind": "pii.email", "path": "/text", "severity": "medium"}

read := object.union(base, {"call": {"tool": {"effect": "read"}}})

untrusted := object.union(base, {"session": {"labels": ["external", "untrusted"]}})

model_call := object.union(base, {"call": {"kind": "model", "tool": {"name": "writer", "effect": "read"}}})

approval(code) := {"approval": {
	"id": "01936d5e-7f3a-7c1b-9d2e-000000000009",
	"approver": "person:01936d5e-7f3a-7c1b-9d2e-000000000002",
	"digest": digest,
	"codes": [code],
}}

traced(trusted) := {"provenance": [{"path": "/to", "source": "field", "tool": "contacts", "field": "/address", "trusted": trusted}]}

base := {
	"call": {
		"id": "01936d5e-7f3a-7c1b-9d2e-4f5a6b7c8d9e",
		"kind": "tool",
		"tool": {"name": "notes_add", "digest": digest, "effect": "keyed", "risk": "low", "labels": [], "accepts": []},
		"arguments": {"text": "Buy milk"},
		"destinations": [],
	},
	"agent": {"name": "assistant", "release": digest, "policy": digest, "environment": "development", "labels": []},
	"baseline": digest,
	"principal": {"kind": "agent", "id": "01936d5e-7f3a-7c1b-9d2e-000000000001", "scopes": ["tools:call"], "on_behalf_of": null},
	"session": {"id": "01936d5e-7f3a-7c1b-9d2e-000000000003", "labels": [], "calls": 1, "spend": {"tokens": 0, "cost_micro_usd": 0}},
	"run": null,
	"findings": [],
	"provenance": [],
	"approval": null,
	"limits": [{"name": "rate", "used": 1, "limit": 60}],
	"time": {"now": 1795348800000, "hour": 12, "weekday": "monday"},
	"cohort": {"name": "live", "bucket": 4711},
}

digest := "sha256:1111111111111111111111111111111111111111111111111111111111111111"

codes(reasons) := {reason.code | some reason in reasons}

held(obligations) := {one.code |
	some one in obligations
	one.kind == "hold"
}
