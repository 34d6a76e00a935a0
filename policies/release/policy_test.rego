package policy_test

import future.keywords.not

test_a_plain_call_is_allowed if {
	data.policy.allow with input as base
	count(data.policy.reasons) == 0 with input as base
}

test_what_cannot_be_undone_is_denied if {
	destroying := object.union(base, {"call": {"tool": {"effect": "unsafe", "risk": "high"}}})
	not data.policy.allow with input as destroying
	codes(data.policy.reasons) == {"destructive_call"} with input as destroying
	data.policy.allow with input as object.union(destroying, {"call": {"tool": {"risk": "medium"}}})
	data.policy.allow with input as object.union(destroying, {"call": {"tool": {"effect": "keyed"}}})
}

test_a_denied_tool_is_denied if {
	not data.policy.allow with input as base with data.policy.denied as ["notes_add"]
	codes(data.policy.reasons) == {"tool_denied"} with input as base with data.policy.denied as ["notes_add"]
}

test_a_held_tool_asks_a_person_once if {
	held(data.policy.obligations) == {"person_decides"} with input as base with data.policy.held as ["notes_add"]
	signed := object.union(base, {"approval": {
		"id": "01936d5e-7f3a-7c1b-9d2e-000000000009",
		"approver": "person:01936d5e-7f3a-7c1b-9d2e-000000000002",
		"digest": digest,
		"codes": ["person_decides"],
	}})
	held(data.policy.obligations) == set() with input as signed with data.policy.held as ["notes_add"]
}

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
