"""The events that the gateway puts on record."""

EVENTS = {
    "gateway.credential.created": "A credential and its first key were made.",
    "gateway.credential.rotated": "A credential got a new key; the older ones end after an overlap.",
    "gateway.credential.revoked": "A credential was ended for good.",
    "gateway.session.opened": "A session was opened, bound to one release.",
    "gateway.session.closed": "A person or its opener closed a session.",
    "gateway.session.expired": "A session reached its idle or absolute limit, or its release was followed by another.",
    "gateway.call.decided": "An attempt at a call was allowed, denied or held; committed before anything is executed.",
    "gateway.call.completed": "The tool answered; the answer was checked, sanitised and kept.",
    "gateway.call.failed": "The call was not executed, or its answer is withheld.",
    "gateway.call.lost": "Nobody can tell whether the attempt was executed.",
    "gateway.call.settled": "A person said what had become of a call whose outcome was unknown.",
    "gateway.pdp.differed": "In shadow mode the two policy engines said different things about one call.",
    "gateway.decision.bypassed": "An OPA server decided something that no call of the gateway asked for.",
    "gateway.decision.mismatched": "An OPA server logged another decision than the gateway has on record.",
    "gateway.decision.unlogged": "An OPA server did not log what it decided for the gateway; it may drop logs.",
    "gateway.hold.approved": "A person approved a parked call, bound to the digest they saw.",
    "gateway.hold.rejected": "A person rejected a parked call; it is denied.",
    "gateway.hold.expired": "Nobody decided a parked call in time; it is denied.",
    "gateway.breaker.opened": "A tool failed too often, or its probe did: until the next probe nobody asks it.",
    "gateway.breaker.closed": "A probe found the tool back, or an operator closed its breaker.",
}
