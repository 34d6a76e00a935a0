package policy_test

import future.keywords.not

test_reading_and_preparing_is_allowed_while_the_session_is_clean if {
	every name in ["git_status", "git_log", "git_add", "git_create_branch"] {
		data.policy.allow with input as calling(name)
	}
}

test_no_branch_is_made_after_reading_what_anybody_can_write if {
	tainted := object.union(calling("git_create_branch"), {"session": {"labels": ["untrusted"]}})
	not data.policy.allow with input as tainted
	codes(data.policy.reasons) == {"untrusted_branch"} with input as tainted
	data.policy.allow with input as object.union(tainted, {"call": {"tool": {"name": "git_status"}}})
}

test_work_is_never_thrown_away if {
	not data.policy.allow with input as calling("git_reset")
	codes(data.policy.reasons) == {"destructive_call"} with input as calling("git_reset")
}

test_a_commit_asks_a_person_once if {
	data.policy.allow with input as calling("git_commit")
	held(data.policy.obligations) == {"commit_needs_person"} with input as calling("git_commit")
	signed := object.union(calling("git_commit"), {"approval": {
		"id": "01936d5e-7f3a-7c1b-9d2e-000000000009",
		"approver": "person:01936d5e-7f3a-7c1b-9d2e-000000000002",
		"digest": digest,
		"codes": ["commit_needs_person"],
	}})
	held(data.policy.obligations) == set() with input as signed
}

calling(name) := {
	"call": {
		"id": "01936d5e-7f3a-7c1b-9d2e-4f5a6b7c8d9e",
		"kind": "tool",
		"tool": {"name": name, "digest": digest, "effect": "unsafe", "risk": "medium", "labels": [], "accepts": []},
		"arguments": {"repo_path": "."},
		"destinations": [],
	},
	"agent": {"name": "repo-steward", "release": digest, "policy": digest, "environment": "development", "labels": []},
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
