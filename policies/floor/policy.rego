# METADATA
# title: Floor
# description: >-
#  What no workspace can switch off. Every call of every agent passes these rules, then the environment's baseline,
#  then the release's own policy. Helpers state what is known to be safe; a rule denies what is not known, so a
#  missing attribute denies.
package policy

import future.keywords.not

# METADATA
# title: Allow
# description: The call is of a known form and no rule denies it.
default allow := false

allow if {
	known_form
	count(denials) == 0
}

# METADATA
# title: Reasons
# description: Every denial and every question for a person.
reasons contains denial if some denial in denials

reasons contains held if some held in holds

# METADATA
# title: Obligations
# description: The questions for a person, and secrets to take out of the arguments.
obligations contains obligation if {
	some held in holds
	obligation := {"kind": "hold", "code": held.code, "role": "reviewer", "quorum": 1, "expires_s": 3600}
}

obligations contains obligation if {
	not cleared_for_secrets
	some finding in input.findings
	not harmless(finding)
	obligation := {"kind": "redact", "path": finding.path, "finding": finding.kind}
}

# Denials

denials contains {"code": "unknown_environment", "message": "The environment is none of development, staging, production."} if {
	not known_environment
}

denials contains {"code": "unknown_contract", "message": "The kind, effect or risk of the call is not declared."} if {
	not known_form
}

denials contains {"code": "limit_exceeded", "message": "A rate, concurrency or budget limit is used up."} if {
	not within_limits
}

denials contains {"code": "secret_leaves", "message": "The arguments hold a secret and the tool sends data out of the house."} if {
	not model_call
	not stays_inside
	not cleared_for_secrets
	not free_of_secrets
}

denials contains {"code": "hidden_text", "message": "The arguments of a call with an effect hold characters that a person cannot see."} if {
	not reads_only
	not free_of_hidden_text
}

denials contains {"code": "untrusted_high_risk", "message": "The session has read untrusted content: a high-risk effect is out of its reach."} if {
	not calm_session
	not reads_only
	not bounded_risk
}

# Questions for a person. One that has been answered, by its code, is not asked again.

holds contains {"code": "unsafe_high_risk", "message": "A high-risk effect that cannot be repeated or undone needs a person."} if {
	not model_call
	not repeatable
	not bounded_risk
	not approved("unsafe_high_risk")
}

holds contains {"code": "untrusted_destination", "message": "The session has read untrusted content and the destination of this effect comes from no trusted source."} if {
	not calm_session
	not reads_only
	not trusted_destinations
	not approved("untrusted_destination")
}

holds contains {"code": "rule_of_two", "message": "Untrusted content, private data and a way out of the house meet in this call."} if {
	not calm_session
	not public_session
	not model_call
	not stays_inside
	not approved("rule_of_two")
}

# What is known to be safe. Each helper needs its attributes to exist.

known_environment if input.agent.environment in {"development", "staging", "production"}

known_form if {
	input.call.kind in {"tool", "model"}
	input.call.tool.effect in {"read", "idempotent", "keyed", "unsafe"}
	input.call.tool.risk in {"low", "medium", "high"}
}

model_call if {
	input.call.kind == "model"
	input.call.tool.effect == "read"
}

reads_only if input.call.tool.effect == "read"

repeatable if input.call.tool.effect in {"read", "idempotent", "keyed"}

bounded_risk if input.call.tool.risk in {"low", "medium"}

within_limits if {
	every limit in input.limits {
		limit.used <= limit.limit
	}
}

stays_inside if {
	every label in input.call.tool.labels {
		label != "external"
	}
	input.call.destinations == []
}

cleared_for_secrets if "secret" in input.call.tool.accepts

free_of_secrets if {
	every finding in input.findings {
		harmless(finding)
	}
}

harmless(finding) if {
	is_string(finding.kind)
	is_string(finding.path)
	not startswith(finding.kind, "secret.")
}

free_of_hidden_text if {
	every finding in input.findings {
		visible(finding)
	}
}

visible(finding) if {
	is_string(finding.kind)
	not startswith(finding.kind, "unicode.")
}

visible(finding) if finding.severity in {"low", "medium"}

calm_session if {
	every label in input.session.labels {
		label != "untrusted"
	}
}

public_session if {
	every label in input.session.labels {
		not label in {"secret", "pii"}
	}
}

# A destination is trusted if the trace of that very argument says so.
trusted_destinations if {
	every destination in input.call.destinations {
		traced(destination.path)
	}
}

traced(path) if {
	some step in input.provenance
	step.path == path
	step.trusted == true
}

approved(code) if {
	is_string(input.approval.digest)
	some seen in input.approval.codes
	seen == code
}
