# METADATA
# title: Baseline
# description: >-
#  A starter for an environment's baseline: what every agent there obeys. It is a governed policy like any other;
#  a workspace makes it its own by proposing a changed one. The numbers stand in its data.
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

reasons contains held if some held in holds

# METADATA
# title: Obligations
# description: The questions for a person, and personal data to take out of what leaves the house.
obligations contains obligation if {
	some held in holds
	obligation := object.union({"kind": "hold", "code": held.code}, data.policy.hold)
}

obligations contains obligation if {
	not stays_inside
	not accepts("pii")
	some finding in input.findings
	not impersonal(finding)
	obligation := {"kind": "redact", "path": finding.path, "finding": finding.kind}
}

# Denials

denials contains {"code": "label_not_accepted", "message": "The session carries private data and the tool that leaves the house is not cleared for it."} if {
	not model_call
	not stays_inside
	not cleared_for_session
}

denials contains {"code": "session_too_long", "message": "The session has made as many calls as one session may."} if {
	not short_session
}

denials contains {"code": "session_too_dear", "message": "The session has spent as much as one session may."} if {
	not cheap_session
}

# Questions for a person

holds contains {"code": "untrusted_session", "message": "The session has read untrusted content; an effect needs a person."} if {
	not calm_session
	not reads_only
	not approved("untrusted_session")
}

holds contains {"code": "unsafe_in_production", "message": "An effect in production that cannot be repeated needs a person."} if {
	not outside_production
	not model_call
	not repeatable
	not small_risk
	not approved("unsafe_in_production")
}

# What is known to be safe. Each helper needs its attributes to exist.

reads_only if input.call.tool.effect == "read"

repeatable if input.call.tool.effect in {"read", "idempotent", "keyed"}

small_risk if input.call.tool.risk == "low"

model_call if {
	input.call.kind == "model"
	input.call.tool.effect == "read"
}

stays_inside if {
	every label in input.call.tool.labels {
		label != "external"
	}
	input.call.destinations == []
}

accepts(label) if {
	some accepted in input.call.tool.accepts
	accepted == label
}

cleared_for_session if {
	every label in input.session.labels {
		cleared(label)
	}
}

cleared(label) if not label in {"secret", "pii"}

cleared(label) if accepts(label)

impersonal(finding) if {
	is_string(finding.kind)
	is_string(finding.path)
	not startswith(finding.kind, "pii.")
}

calm_session if {
	every label in input.session.labels {
		label != "untrusted"
	}
}

short_session if input.session.calls <= data.policy.session.calls

cheap_session if input.session.spend.cost_micro_usd <= data.policy.session.cost_micro_usd

outside_production if input.agent.environment in {"development", "staging"}

approved(code) if {
	is_string(input.approval.digest)
	some seen in input.approval.codes
	seen == code
}
