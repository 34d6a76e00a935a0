"""Bring a workspace to life on a running Placet: `python -m tests.faults.scene`, with its PLACET_HOME.

Everything goes through the product's own functions and processes: the bundler publishes, the sweeper finishes
activations. What a test has to know is printed as one line of JSON.
"""

import json
import os
import secrets
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import django

PASSWORD = "correct horse battery"
GOAL = {"take": {"from": "goal"}}
EFFECTS = {"look": "read", "put": "idempotent", "pay": "keyed", "launch": "unsafe"}
# The gate of the tool server makes calls slow; nobody waits longer than this for one.
TIMEOUT_MS = 5000


def main():
    django.setup()
    from gateway import credentials
    from registry import memberships, workspaces
    from registry.models import Person
    from tests.registry.builders import Builder

    now = datetime.now(UTC)
    people = {
        name: Person.objects.create_user(username=name, email=f"{name}@example.com", name=name, password=PASSWORD)
        for name in ("alice", "bob", "olga", "adam")
    }
    workspace = workspaces.init("faults", "Faults", admin=people["adam"], now=now)
    for name, role in (("alice", "author"), ("bob", "reviewer"), ("olga", "operator")):
        member = memberships.add(workspace, people[name], actor=people["adam"], now=now, correlation_id="scene")
        memberships.grant(member, role, environment=None, actor=people["adam"], now=now, correlation_id="scene")
    build = Builder(workspace, people, now)
    activate(build, build.version("policy", "baseline"))
    pins = json.loads(Path(sys.argv[1]).read_text())
    tools = {name: build.version("tool", name, contract(name, effect, pins)) for name, effect in EFFECTS.items()}
    release(build, "steady", [tools[name] for name in ("look", "put", "pay")])
    release(build, "risky", [tools["launch"]])
    _, key = credentials.create(
        workspace,
        environment="development",
        agent="steady",
        owner=people["alice"],
        scopes=["tools:call"],
        expires_at=now + timedelta(days=1),
        actor=people["adam"],
        now=now,
    )
    print(json.dumps({"workspace": str(workspace.pk), "slug": workspace.slug, "key": key}))


def contract(name, effect, pins):
    """Return a tool contract of the effects server."""
    content = {
        "description": "A tool that writes down what it does.",
        "input_schema": {"type": "object", "properties": {"value": {"type": "string"}}, "required": ["value"]},
        "transport": {"kind": "mcp", "launcher": "effects", "tool": name, "definition": pins[name]["digest"]},
        "effect": effect,
        "risk": "low",
        "timeout_ms": TIMEOUT_MS,
    }
    return content | ({"dedup_window_s": 3600} if effect == "keyed" else {})


def release(build, agent, tools):
    """Make a release live whose model calls each tool once, with the goal, and then says so."""
    script = [
        {"when": {"step": 1}, "call": [{"name": tool.name, "arguments": {"value": GOAL}} for tool in tools]},
        {"say": "done"},
    ]
    model = build.version("model", "thinker", script=script)
    activate(build, build.release([*tools, model], name=agent))


def activate(build, version):
    """Have a version approved and wait until the processes of Placet have made it live."""
    from registry import activations

    proposal = build.propose(version)
    build.approve(proposal, "bob")
    row = activations.request(proposal, actor=build.people["olga"], **build.how)
    deadline = time.monotonic() + 60
    while row.state not in ("live", "failed") and time.monotonic() < deadline:
        time.sleep(0.05)
        row.refresh_from_db()
    if row.state != "live":
        raise SystemExit(f"{version.name} is {row.state} {row.failure}")


if __name__ == "__main__":
    assert os.environ["PLACET_HOME"] and secrets
    main()
