package policy_test

import future.keywords.not

test_a_plain_call_is_allowed if {
	data.policy.allow with input as base
	count(data.policy.reasons) == 0 with input as base
	count(data.policy.obligations) == 0 with input as base
}

test_private_data_stays_with_tools_that_are_cleared_for_it if {
	every label in ["secret", "pii"] {
		leaving := object.union(base, {"call": {"tool": {"labels": ["external"]}}, "session": {"labels": [label]}})
		not data.policy.allow with input as leaving
		codes(data.policy.reasons) == {"label_not_accepted"} with input as leaving
		data.policy.allow with input as object.union(leaving, {"call": {"tool": {"accepts": [label]}}})
		data.policy.allow with input as object.union(leaving, {"call": {"tool": {"labels": []}}})
	}
}

test_a_destination_is_a_way_out if {
	sending := object.union(base, {"call": {"destinations": [{"path": "/to", "value": "x@example.com"}]}, "session": {"labels": ["pii"]}})
	not data.policy.allow with input as sending
	codes(data.policy.reasons) == {"label_not_accepted"} with input as sending
}

test_a_model_may_see_what_the_session_saw if {
	asking := object.union(model_call, {"call": {"tool": {"labels": ["external"]}}, "session": {"labels": ["pii"]}})
	data.policy.allow with input as asking
}

test_personal_data_is_redacted_on_its_way_out if {
	personal := {"findings": [{"kind": "pii.email", "path": "/text", "severity": "medium"}]}
	outside := {"call": {"tool": {"labels": ["external"]}}}
	every call in [base, model_call] {
		leaving := object.union_n([call, outside, personal])
		data.policy.allow with input as leaving
		data.policy.obligations == {{"kind": "redact", "path": "/text", "finding": "pii.email"}} with input as leaving
		count(data.policy.obligations) == 0 with input as object.union(call, personal)
	}
	accepting := {"call": {"tool": {"labels": ["external"], "accepts": ["pii"]}}}
	cleared := object.union_n([base, accepting, personal])
	count(data.policy.obligations) == 0 with input as cleared
}

test_a_session_has_an_end if {
	data.policy.allow with input as object.union(base, {"session": {"calls": 1000}})
	long := object.union(base, {"session": {"calls": 1001}})
	not data.policy.allow with input as long
	codes(data.policy.reasons) == {"session_too_long"} with input as long
	dear := object.union(model_call, {"session": {"spend": {"cost_micro_usd": 20000001}}})
	not data.policy.allow with input as dear
	codes(data.policy.reasons) == {"session_too_dear"} with input as dear
}

test_an_effect_of_an_untrusted_session_needs_a_person if {
	every effect in ["idempotent", "keyed", "unsafe"] {
		acting := object.union(untrusted, {"call": {"tool": {"effect": effect}}})
		data.policy.allow with input as acting
		held(data.policy.obligations) == {"untrusted_session"} with input as acting
		held(data.policy.obligations) == set() with input as object.union(acting, approval(["untrusted_session"]))
	}
}

test_an_untrusted_session_may_read_and_think if {
	held(data.policy.obligations) == set() with input as object.union(untrusted, {"call": {"tool": {"effect": "read"}}})
	held(data.policy.obligations) == set() with input as object.union(model_call, {"session": {"labels": ["untrusted"]}})
}

test_what_cannot_be_repeated_needs_a_person_in_production if {
	acting := object.union(base, {"call": {"tool": {"effect": "unsafe", "risk": "medium"}}, "agent": {"environment": "production"}})
	held(data.policy.obligations) == {"unsafe_in_production"} with input as acting
	held(data.policy.obligations) == set() with input as object.union(acting, approval(["unsafe_in_production"]))
	held(data.policy.obligations) == set() with input as object.union(acting, {"agent": {"environment": "staging"}})
	held(data.policy.obligations) == set() with input as object.union(acting, {"call": {"tool": {"risk": "low"}}})
	held(data.policy.obligations) == set() with input as object.union(acting, {"call": {"tool": {"effect": "keyed"}}})
}

test_a_hold_asks_as_the_data_say if {
	acting := object.union(untrusted, {"call": {"tool": {"effect": "keyed"}}})
	asked := {"kind": "hold", "code": "untrusted_session", "role": "reviewer", "quorum": 1, "expires_s": 3600}
	data.policy.obligations == {asked} with input as acting
}

test_an_approval_covers_only_what_the_person_saw if {
	acting := object.union(untrusted, {"call": {"tool": {"effect": "unsafe", "risk": "medium"}}, "agent": {"environment": "production"}})
	held(data.policy.obligations) == {"untrusted_session", "unsafe_in_production"} with input as acting
	partly := object.union(acting, approval(["unsafe_in_production"]))
	held(data.policy.obligations) == {"untrusted_session"} with input as partly
}

untrusted := object.union(base, {"session": {"labels": ["external", "untrusted"]}})

model_call := object.union(base, {"call": {"kind": "model", "tool": {"name": "writer", "effect": "read"}}})

approval(seen) := {"approval": {
	"id": "01936d5e-7f3a-7c1b-9d2e-000000000009",
	"approver": "person:01936d5e-7f3a-7c1b-9d2e-000000000002",
	"digest": digest,
	"codes": seen,
}}

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
