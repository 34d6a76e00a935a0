"""Plain functions that bring a workspace into a state. What they do goes through the registry's own functions."""

import secrets
from copy import deepcopy
from typing import Any

from registry import activations, approvals, policies, proposals, versions, workspaces
from registry.authentication import Authentication
from registry.models import Activation, Environment

TOOL = {
    "description": "Show the log of a repository.",
    "input_schema": {"type": "object", "properties": {"count": {"type": "integer"}}, "additionalProperties": False},
    "transport": {"kind": "python", "function": "echo"},
    "effect": "read",
    "risk": "low",
}
MODEL = {
    "provider": "scripted",
    "model": "script-1",
    "context_length": 8000,
    "prices": {"input_micro_usd_per_million_tokens": 0, "output_micro_usd_per_million_tokens": 0},
    "script": [],
}
PROMPT = {
    "template": "Look after {{repository}}.",
    "variables": {"type": "object", "properties": {"repository": {"type": "string"}}, "required": ["repository"]},
}
CHARTER = {
    "quorum": {"default": {"approvals": 1, "roles": ["reviewer"]}},
    "proposal_ttl_hours": 24,
    "approval_ttl_hours": 24,
}


def policy(kind="release"):
    """Return the content of a shipped policy."""
    return policies.shipped(kind)


class Builder:
    """Acts as the people of one workspace."""

    def __init__(self, workspace, people, now):
        self.workspace = workspace
        self.people = people
        self.how = {"now": now, "correlation_id": "test"}
        # Whoever decides has just signed in.
        self.proof = Authentication(now, ("password",), enrolled=False)

    def environment(self, name="development"):
        return workspaces.environment(self.workspace.pk, name)

    def version(self, kind="tool", name="git_log", content=None, actor="alice", **changes):
        defaults: dict[str, Any] = {"tool": TOOL, "model": MODEL, "prompt": PROMPT, "charter": CHARTER}
        content = deepcopy(content or defaults.get(kind) or policy()) | changes
        return versions.create(
            self.workspace, kind=kind, name=name, content=content, actor=self.people[actor], **self.how
        )

    def release(self, parts=None, name="steward", actor="alice", policy_content=None, **changes):
        """Make a release that pins `parts` (made when None) and a policy."""
        parts = [self.version()] if parts is None else list(parts)
        parts.append(self.version("policy", f"{name}-policy", policy_content or policy(), actor))
        pins = [{"kind": part.kind, "name": part.name, "digest": part.digest} for part in parts]
        content = {"pins": pins, "budgets": {"steps": 20}} | changes
        return self.version("agent", name, content, actor)

    def propose(self, version, environment="development", proposer="alice"):
        where = self.environment(environment) if environment else None
        return proposals.open(version, where, proposer=self.people[proposer], **self.how)

    def approve(self, proposal, *names, role=None):
        rows = []
        for name in names:
            rows += approvals.approve(
                proposal,
                approver=self.people[name],
                digest=proposal.version.digest,
                role=role,
                comment="Looks right.",
                proof=self.proof,
                **self.how,
            )
        proposal.refresh_from_db()
        return rows

    def requested(self, version, environment="development"):
        """Return the activation that olga asks for after bob's approval; nothing is published yet."""
        proposal = self.propose(version, environment)
        self.approve(proposal, "bob")
        return activations.request(proposal, actor=self.people["olga"], **self.how)

    def activate(self, proposal, actor="olga"):
        """Request, publish as the bundler would, and finish."""
        return self.finish(activations.request(proposal, actor=self.people[actor], proof=self.proof, **self.how))

    def finish(self, activation, revision=""):
        publish(activation, revision)
        return activations.finish(activation, **self.how)

    def live(self, version, environment="development"):
        """Take a version all the way: proposed by alice, approved by bob, activated by olga."""
        proposal = self.propose(version, environment)
        self.approve(proposal, "bob")
        return self.activate(proposal)

    def baseline(self, environment="development"):
        """Make the shipped baseline live."""
        return self.live(self.version("policy", "baseline", policy("baseline")), environment)


def publish(activation, revision=""):
    """Do the bundler's part with the bundler's database role, without a bundle."""
    rows = Activation.objects.using("bundler").filter(pk=activation.pk, state="requested")
    rows.update(state="published", revision=revision)
    activation.refresh_from_db()


def founded(build, without=""):
    """Let `build` act in a workspace that was founded with everybody's roles, and with two admins."""
    roles = {"alice": "author", "bob": "reviewer", "carol": "security", "olga": "operator"}
    members = [(build.people[name], role, None) for name, role in roles.items() if name != without]
    members += [(build.people["olga"], "admin", None)]
    build.workspace = workspaces.init(
        f"f-{secrets.token_hex(4)}", "F", admin=build.people["adam"], members=members, now=build.how["now"]
    )
    assert Environment.objects.get(workspace=build.workspace, name="production").protected


def charter(build, default=None, rules=(), gates=()):
    """Put another charter in force, by the one in force."""
    document = {
        "quorum": {
            "default": default or {"approvals": 1, "roles": ["reviewer"]},
            "rules": [*rules, {"kind": "charter", "approvals": 1, "roles": ["admin"]}],
        },
        "proposal_ttl_hours": 24,
        "approval_ttl_hours": 24,
        "gates": list(gates),
    }
    proposal = build.propose(build.version("charter", "charter", document), None)
    build.approve(proposal, "adam")
    assert activations.request(proposal, actor=build.people["adam"], proof=build.proof, **build.how).state == "live"
