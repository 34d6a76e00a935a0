package system.log_test

import data.system.log

secret := "4111 1111 1111 1111"

event := {
	"decision_id": "1",
	"path": "placet/decision",
	"input": {
		"call": {
			"id": "01936d5e",
			"kind": "tool",
			"tool": {"name": "mail"},
			"arguments": {"to": secret},
			"destinations": [{"path": "/to", "value": secret}],
		},
		"agent": {"name": "steward", "release": "sha256:1", "policy": "sha256:2", "environment": "production", "labels": []},
		"baseline": "sha256:3",
		"session": {"id": "01936d5f", "labels": [secret]},
		"principal": {"id": secret},
		"findings": [{"kind": "pii.card", "path": secret, "severity": "high"}],
	},
	"result": {
		"allow": true,
		"layers": {"floor": true, "baseline": true, "release": true},
		"reasons": [{"code": "person_decides", "layer": "release", "message": secret}],
		"obligations": [{"kind": "redact", "path": secret}],
		"labels": ["pii"],
	},
}

value(path, given) := found if {
	some rule in log.mask with input as given
	rule.path == path
	rule.op == "upsert"
	found := rule.value
}

test_names_digests_and_codes_are_told if {
	value("/input", event) == {
		"call": {"id": "01936d5e", "kind": "tool"},
		"agent": {"name": "steward", "release": "sha256:1", "policy": "sha256:2", "environment": "production"},
		"baseline": "sha256:3",
		"session": {"id": "01936d5f"},
	}
	value("/result", event) == {
		"allow": true,
		"layers": {"floor": true, "baseline": true, "release": true},
		"reasons": [{"code": "person_decides", "layer": "release"}],
		"obligations": [{"kind": "redact"}],
		"labels": ["pii"],
	}
}

test_no_value_leaves if {
	not contains(json.marshal(log.mask), secret) with input as event
}

test_what_has_another_form_is_masked_too if {
	every given in [{"input": secret, "result": secret}, {"input": [secret]}, {"input": {"call": secret}}, {}] {
		value("/input", given)
		value("/result", given) == null
		not contains(json.marshal(log.mask), secret) with input as given
	}
}

test_an_error_is_not_logged_at_all if {
	log.drop with input as object.union(event, {"error": {"message": secret}})
	not log.drop with input as event
}
