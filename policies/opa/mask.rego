# METADATA
# title: What of a decision is logged
# description: >-
#  OPA logs what it decided, and the gateway compares that with its own trail. Only names, digests and codes leave: what
#  is not listed here does not, so a new member of the input stays inside. Errors are not logged at all: their text may
#  quote an argument, and nothing was allowed.
package system.log

# METADATA
# title: Mask
# description: Input and result are replaced by what may be told of them.
mask contains {"op": "upsert", "path": "/input", "value": asked}

mask contains {"op": "upsert", "path": "/result", "value": said}

# METADATA
# title: Drop
# description: Errors quote values.
drop if input.error

asked := object.union(members, baseline)

members[name] := object.filter(part, wanted) if {
	some name, wanted in {
		"call": ["id", "kind"],
		"agent": ["name", "release", "policy", "environment"],
		"session": ["id"],
	}
	part := object.get(input, ["input", name], {})
	is_object(part)
}

default baseline := {}

baseline := {"baseline": input.input.baseline}

default said := null

said := {
	"allow": object.get(input.result, "allow", null),
	"layers": object.get(input.result, "layers", null),
	"labels": object.get(input.result, "labels", null),
	"reasons": [object.filter(reason, ["code", "layer"]) | some reason in input.result.reasons],
	"obligations": [object.filter(one, ["kind", "code"]) | some one in input.result.obligations],
}
