package system.authz_test

import data.system.authz

tokens := [crypto.sha256("the token"), crypto.sha256("the next token")]

asked := {
	"method": "POST",
	"path": ["v1", "data", "placet", "decision"],
	"params": {"strict-builtin-errors": ["true"], "provenance": ["true"]},
	"identity": "the token",
}

with_change(change) := object.union(asked, change)

test_whoever_has_a_token_may_ask_for_the_decision if {
	authz.allow with input as asked with data.system.tokens as tokens
	authz.allow with input as with_change({"identity": "the next token"}) with data.system.tokens as tokens
}

test_nobody_else_may if {
	not authz.allow with input as with_change({"identity": "another"}) with data.system.tokens as tokens
	not authz.allow with input as with_change({"identity": tokens[0]}) with data.system.tokens as tokens
	not authz.allow with input as object.remove(asked, ["identity"]) with data.system.tokens as tokens
	not authz.allow with input as asked with data.system.tokens as []
}

test_builtins_have_to_fail_aloud if {
	not authz.allow with input as object.remove(asked, ["params"]) with data.system.tokens as tokens
	not authz.allow with input as with_change({"params": {"strict-builtin-errors": ["false"]}})
		with data.system.tokens as tokens
}

test_nothing_is_explained if {
	not authz.allow with input as with_change({"params": {"explain": ["full"]}}) with data.system.tokens as tokens
}

test_everything_else_is_closed_to_the_token_too if {
	every path in [
		[""],
		["v1", "data"],
		["v1", "data", "placet"],
		["v1", "data", "placet", "decision", "allow"],
		["v1", "data", "system", "tokens"],
		["v0", "data", "placet", "decision"],
		["v1", "query"],
		["v1", "compile"],
		["v1", "policies"],
		["v1", "config"],
		["v1", "status"],
		["metrics"],
		["health", "live"],
	] {
		every method in ["GET", "POST", "PUT", "PATCH", "DELETE"] {
			not authz.allow with input as with_change({"path": path, "method": method})
				with data.system.tokens as tokens
		}
	}
	every method in ["GET", "PUT", "PATCH", "DELETE"] {
		not authz.allow with input as with_change({"method": method}) with data.system.tokens as tokens
	}
}

test_anybody_may_ask_whether_it_is_well if {
	authz.allow with input as {"method": "GET", "path": ["health"], "params": {"bundles": ["true"]}}
	not authz.allow with input as {"method": "POST", "path": ["health"]}
}
