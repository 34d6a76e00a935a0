"""A workspace with a live release, made the way people make one: written, proposed, approved, activated."""

import secrets
import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from benchmarks import tools
from benchmarks.installation import PATIENCE
from gateway import credentials
from registry import activations, approvals, policies, proposals, versions, workspaces
from registry.models import Environment, Person, Version, Workspace

ENVIRONMENT = "development"
ALLOWED, DENIED, REMOTE = "commits", "rewrite", "remote"
_HOW = "benchmark"
# Bounds are there, so that the line has its work with them, but are never reached.
_BUDGETS = {"steps": 1_000_000_000, "seconds": 1_000_000}
_LONGEST_SESSION = 1_000_000_000


@dataclass(frozen=True)
class Site:
    """What calls are made with. `keys`: of credentials of the steward, with a sticky session each; `others`: one key
    of each further agent.
    """

    workspace: Workspace
    keys: list[str]
    others: list[str]


def make(*, agents: int, others: int = 0, definition: str | None = None) -> Site:
    """Make the workspace with `agents` credentials of one agent, and `others` further agents with one each.

    :param definition: digest of the tool behind the endpoint `bench`; None: there is none.
    :raises TimeoutError: nothing makes the releases live.
    """
    people = {name: _person(name) for name in ("adam", "alice", "bob", "olga")}
    roles = {"alice": "author", "bob": "reviewer", "olga": "operator"}
    workspace = workspaces.init(
        f"bench-{secrets.token_hex(4)}",
        "Benchmark",
        admin=people["adam"],
        now=datetime.now(UTC),
        members=[(people[name], role, None) for name, role in roles.items()],
    )
    environment = workspaces.environment(workspace.pk, ENVIRONMENT)
    parts = [_version(workspace, people["alice"], "tool", name, tools.CONTRACT) for name in (ALLOWED, DENIED)]
    if definition is not None:
        hop = {"kind": "mcp", "endpoint": "bench", "tool": ALLOWED, "definition": definition}
        parts.append(_version(workspace, people["alice"], "tool", REMOTE, tools.CONTRACT | {"transport": hop}))
    policy = policies.shipped("release") | {"data": {"denied": [DENIED], "held": []}}
    parts.append(_version(workspace, people["alice"], "policy", "steward-policy", policy))
    pins = [{"kind": part.kind, "name": part.name, "digest": part.digest} for part in parts]
    release = {"pins": pins, "budgets": _BUDGETS}
    names = ["steward", *(f"other-{number}" for number in range(others))]
    for version in (
        _version(workspace, people["alice"], "policy", "baseline", _baseline()),
        *(_version(workspace, people["alice"], "agent", name, release) for name in names),
    ):
        _bring_to_life(version, environment, people)
    keys = [_key(workspace, people, "steward") for _ in range(agents)]
    return Site(workspace, keys, [_key(workspace, people, name) for name in names[1:]])


def _baseline() -> dict[str, Any]:
    """Return the shipped baseline for sessions of any length, with its tests told so."""
    content = policies.shipped("baseline")
    longest = content["data"]["session"]["calls"]
    content["data"]["session"]["calls"] = _LONGEST_SESSION
    for name, text in content["tests"].items():
        for more in (0, 1):
            text = text.replace(f'{{"calls": {longest + more}}}', f'{{"calls": {_LONGEST_SESSION + more}}}')
        content["tests"][name] = text
    return content


def _person(name: str) -> Person:
    return Person.objects.create_user(username=name, email=f"{name}@example.com", name=name.title())


def _version(workspace: Workspace, author: Person, kind: str, name: str, content: dict[str, Any]) -> Version:
    return versions.create(
        workspace, kind=kind, name=name, content=content, actor=author, now=datetime.now(UTC), correlation_id=_HOW
    )


def _bring_to_life(version: Version, environment: Environment, people: dict[str, Person]) -> None:
    """Wait for the bundler, the evaluators and the sweeper, which do their parts by themselves."""
    how: dict[str, Any] = {"now": datetime.now(UTC), "correlation_id": _HOW}
    proposal = proposals.open(version, environment, proposer=people["alice"], **how)
    approvals.approve(
        proposal, approver=people["bob"], digest=version.digest, role=None, comment="For the benchmark.", **how
    )
    proposal.refresh_from_db()
    activation = activations.request(proposal, actor=people["olga"], **how)
    until = time.monotonic() + PATIENCE
    while activation.state in ("requested", "published"):
        if time.monotonic() > until:
            raise TimeoutError(f"The activation of {version.name} is still {activation.state}")
        time.sleep(0.1)
        activation.refresh_from_db()
    if activation.state != "live":
        raise RuntimeError(f"The activation of {version.name} has failed: {activation.reason}")


def _key(workspace: Workspace, people: dict[str, Person], agent: str) -> str:
    now = datetime.now(UTC)
    return credentials.create(
        workspace,
        environment=ENVIRONMENT,
        agent=agent,
        owner=people["alice"],
        scopes=["tools:call"],
        expires_at=now + timedelta(days=1),
        actor=people["adam"],
        now=now,
    )[1]
