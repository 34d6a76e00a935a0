# METADATA
# title: Release
# description: >-
#  A starter for a release's own policy: this agent never destroys, never calls what its data denies, and asks a
#  person before what its data holds. Tools are named as in the release's pins.
package policy

import future.keywords.not

# METADATA
# title: Allow
# description: No rule denies the call.
default allow := false

allow if count(denials) == 0

# METADATA
# title: Reasons
# description: Every denial and every question for a person.
reasons contains denial if some denial in denials

reasons contains {"code": "person_decides", "message": "This agent asks a person before it calls this tool."} if asks

# METADATA
# title: Obligations
# description: The question for a person.
obligations contains {"kind": "hold", "code": "person_decides", "role": "reviewer", "quorum": 1, "expires_s": 3600} if asks

denials contains {"code": "destructive_call", "message": "This agent may not do what cannot be undone."} if {
	not undoable
}

denials contains {"code": "tool_denied", "message": "This agent may not call this tool."} if {
	not permitted
}

asks if {
	not routine
	not approved
}

undoable if input.call.tool.effect in {"read", "idempotent", "keyed"}

undoable if input.call.tool.risk in {"low", "medium"}

permitted if {
	every name in data.policy.denied {
		input.call.tool.name != name
	}
}

routine if {
	every name in data.policy.held {
		input.call.tool.name != name
	}
}

approved if {
	is_string(input.approval.digest)
	some seen in input.approval.codes
	seen == "person_decides"
}
