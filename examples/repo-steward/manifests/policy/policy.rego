# METADATA
# title: Repository steward
# description: >-
#  What the steward may do to a repository. It reads freely, prepares work while its session is clean, asks a person
#  before it commits, and never throws work away.
package policy

import future.keywords.not

# METADATA
# title: Allow
# description: No rule denies the call.
default allow := false

allow if count(denials) == 0

# METADATA
# title: Reasons
# description: Every denial and the question for a person.
reasons contains denial if some denial in denials

reasons contains {"code": "commit_needs_person", "message": "A commit is made only after a person has seen it."} if asks

# METADATA
# title: Obligations
# description: The question for a person.
obligations contains {"kind": "hold", "code": "commit_needs_person", "role": "reviewer", "quorum": 1, "expires_s": 3600} if asks

denials contains {"code": "destructive_call", "message": "The steward never throws work away."} if {
	not keeps_work
}

denials contains {"code": "untrusted_branch", "message": "The session has read text that anybody can write; from there no branch is made or changed."} if {
	not leaves_branches
	not clean_session
}

asks if {
	not commits_nothing
	not approved
}

# What is known to be harmless. Each helper needs its attributes to exist.

keeps_work if {
	is_string(input.call.tool.name)
	not input.call.tool.name in data.policy.destructive
}

leaves_branches if {
	is_string(input.call.tool.name)
	not input.call.tool.name in data.policy.branching
}

commits_nothing if {
	is_string(input.call.tool.name)
	not input.call.tool.name in data.policy.committing
}

clean_session if {
	every label in input.session.labels {
		label != "untrusted"
	}
}

approved if {
	is_string(input.approval.digest)
	some seen in input.approval.codes
	seen == "commit_needs_person"
}
