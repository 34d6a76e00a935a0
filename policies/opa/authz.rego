# METADATA
# title: Who may ask this OPA
# description: >-
#  For `opa run --authentication=token --authorization=basic`. Whoever has a token may ask for the one decision, with
#  builtins that fail aloud; anybody may ask whether OPA is well. Policies, data, queries and configuration are closed,
#  also to whoever has a token. OPA knows only the SHA-256 of each token, in data.system.tokens.
package system.authz

import future.keywords.not

# METADATA
# title: Allow
# description: The decision, or health.
default allow := false

allow if {
	input.method == "POST"
	input.path == ["v1", "data", "placet", "decision"]
	known
	strict
	not explained
}

allow if {
	input.method == "GET"
	input.path == ["health"]
}

known if {
	some token in data.system.tokens
	token == crypto.sha256(input.identity)
}

# Without it a builtin that fails leaves its rule undefined, and a denial may be gone.
strict if input.params["strict-builtin-errors"] == ["true"]

# An explanation quotes rules and input.
explained if {
	some name, _ in input.params
	not name in {"strict-builtin-errors", "provenance"}
}
