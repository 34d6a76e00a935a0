"""The workspace of the fault programme: `python -m tests.chaos.ground PINS`, with PLACET_HOME of a running Placet.

Agents, and what the policies say of them, known here and nowhere asked: `steady` may look, put, pay and launch, never
`forbidden`, and `careful` only after a person; `risky` launches, `asker` asks, `undoer` has no budget for a third
step and takes back what it did; `frugal` may make FRUGAL calls a session; `churn` changes all the time.
"""

import json
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import django

from tests.faults.scene import GOAL, PASSWORD

PEOPLE = {"alice": "author", "bob": "reviewer", "dave": "auditor", "olga": "operator", "adam": ""}
FRUGAL = 5
TIMEOUT_MS = 4000
# Name -> effect, and the tool of the server that is behind it.
TOOLS = {
    "look": ("read", "look"),
    "put": ("idempotent", "put"),
    "pay": ("keyed", "pay"),
    "launch": ("unsafe", "launch"),
    "forbidden": ("read", "look"),
    "careful": ("idempotent", "put"),
    "book": ("idempotent", "put"),
    "undo": ("idempotent", "undo"),
}


def main():
    django.setup()
    from gateway import credentials
    from registry import memberships, workspaces
    from registry.models import Person
    from tests.registry.builders import Builder

    now = datetime.now(UTC)
    people = {
        name: Person.objects.create_user(username=name, email=f"{name}@example.com", name=name, password=PASSWORD)
        for name in PEOPLE
    }
    workspace = workspaces.init("chaos", "Chaos", admin=people["adam"], now=now)
    for name, role in PEOPLE.items():
        if role:
            member = memberships.add(workspace, people[name], actor=people["adam"], now=now, correlation_id="ground")
            memberships.grant(member, role, environment=None, actor=people["adam"], now=now, correlation_id="ground")
    build = Builder(workspace, people, now)
    pins = json.loads(Path(sys.argv[1]).read_text())
    tools = {name: build.version("tool", name, contract(name, pins)) for name in TOOLS}
    every = ("look", "put", "pay", "launch", "forbidden", "careful")
    wanted = [build.version("policy", "baseline")]
    for agent, has, script, more in (
        ("steady", every, ("look", "put", "pay"), {"budgets": {}}),
        ("risky", ("launch",), ("launch",), {}),
        ("asker", ("careful", "pay"), ("careful", "pay"), {}),
        ("undoer", ("book", "undo"), ("book",), {"budgets": {"steps": 2}}),
        ("frugal", ("look", "pay"), (), {"budgets": {"steps": FRUGAL}}),
        ("churn", ("look",), (), {"budgets": {}}),
    ):
        wanted.append(release(build, agent, [tools[name] for name in has], script, more))
    activate(build, wanted)
    keys = {}
    for agent, scopes in (("steady", ["tools:call"]), ("frugal", ["tools:call"]), ("churn", ["tools:call"])):
        _, keys[agent] = credentials.create(
            workspace,
            environment="development",
            agent=agent,
            owner=people["alice"],
            scopes=scopes,
            expires_at=now + timedelta(days=1),
            actor=people["adam"],
            now=now,
        )
    print(json.dumps({"workspace": str(workspace.pk), "slug": workspace.slug, "keys": keys}))


def contract(name, pins):
    """Return the contract of a tool of the effects server, which is an endpoint that no fault of ours takes along."""
    effect, tool = TOOLS[name]
    content = {
        "description": "A tool that writes down what it does.",
        "input_schema": {"type": "object", "properties": {"value": {"type": "string"}}, "required": ["value"]},
        "transport": {"kind": "mcp", "endpoint": "effects", "tool": tool, "definition": pins[tool]["digest"]},
        "effect": effect,
        "risk": "low",
        "timeout_ms": TIMEOUT_MS,
    }
    if effect == "keyed":
        content["dedup_window_s"] = 3600
    if name == "book":
        take = {"take": {"from": "arguments", "pointer": "/value"}}
        content["compensation"] = {"tool": "undo", "arguments": {"value": take}}
    return content


def release(build, agent, tools, script, more):
    """Return a release whose model calls the tools of `script` once each, with the goal, and then says so."""
    rules = [
        {"when": {"step": 1}, "call": [{"name": name, "arguments": {"value": GOAL}} for name in script]},
        {"say": "done"},
    ]
    model = build.version("model", f"thinker-{agent}", script=rules if script else rules[1:])
    from registry import policies

    policy = policies.shipped("release") | {"data": {"denied": ["forbidden"], "held": ["careful"]}}
    return build.release([*tools, model], name=agent, policy_content=policy, **more)


def activate(build, versions):
    """Have versions approved and wait until the processes of Placet have made them live."""
    from registry import activations

    rows = []
    for version in versions:
        proposal = build.propose(version)
        build.approve(proposal, "bob")
        rows.append(activations.request(proposal, actor=build.people["olga"], **build.how))
    deadline = time.monotonic() + 120
    while any(row.state not in ("live", "failed") for row in rows) and time.monotonic() < deadline:
        time.sleep(0.05)
        for row in rows:
            row.refresh_from_db()
    for row in rows:
        if row.state != "live":
            raise SystemExit(f"{row.version} is {row.state} {row.failure}")


if __name__ == "__main__":
    main()
