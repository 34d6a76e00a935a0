"""What is live, for the line of calls: raw cursors, one query a call, immutable content cached by digest."""

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from threading import Lock
from types import MappingProxyType
from typing import Any
from uuid import UUID

from django.db import connections

from audit import canonical, prepared
from audit.prepared import Prepared
from audit.refusal import Refusal, not_found
from registry import locks

LARGEST_CACHE = 512


@dataclass(frozen=True, slots=True)
class Contract:
    """A pinned part of a release: what the line has to know about a tool, a model or a prompt."""

    kind: str
    name: str
    digest: str
    content: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Release:
    """A live release, with the baseline and the bundle revision of this moment.

    :param digest: of the agent version. :param policy: digest of its policy. :param baseline: digest of the baseline.
    :param budgets: names to integers. :param revision: of the bundle; empty before the first one.
    """

    digest: str
    agent: str
    environment: str
    environment_id: UUID
    workspace: UUID
    slot_id: UUID
    policy: str
    baseline: str
    tools: Mapping[str, Contract]
    models: Mapping[str, Contract]
    prompts: Mapping[str, Contract]
    budgets: Mapping[str, int]
    labels: tuple[str, ...]
    revision: str


@dataclass(frozen=True, slots=True)
class _Parts:
    """What never changes about an agent version. `always` are the versions that no call may go without."""

    name: str
    policy: str
    tools: Mapping[str, Contract]
    models: Mapping[str, Contract]
    prompts: Mapping[str, Contract]
    budgets: Mapping[str, int]
    labels: tuple[str, ...]
    always: tuple[UUID, ...]
    called: Mapping[str, tuple[UUID, ...]]


_cache: OrderedDict[tuple[UUID, str], _Parts] = OrderedDict()
_cache_lock = Lock()

# Both functions are in migration 0005: PL/pgSQL keeps their plans.
FOUND = 8  # columns of registry_resolve, which may stand in a statement of who needs more; `read` takes them
_FIND = Prepared("SELECT * FROM registry_resolve(%s, %s, %s, %s)")
GATE = 9  # parameters of registry_share_gate, which `gate` returns
_SHARE = Prepared("SELECT registry_share_gate(%s, %s, %s, %s, %s, %s, %s, %s, %s)")
_PARTS = """
SELECT version.id, version.kind, version.name, version.digest, version.content
  FROM registry_version AS version
 WHERE version.id = %(id)s OR version.id IN (SELECT part_id FROM registry_pin WHERE version_id = %(id)s)
"""


def live(workspace: UUID, environment: str, agent: str, *, using: str = "default") -> Release:
    """Return the release that is live for `agent`.

    :raises Refusal: no_live_release, no_live_baseline, version_revoked, break_glass_expired.
    """
    return _release(workspace, environment, agent=agent, digest=None, using=using)


def pinned(workspace: UUID, environment: str, digest: str, *, using: str = "default") -> Release:
    """Return the release that a session or run keeps, under the baseline and bundle of this moment.

    :raises Refusal: as `live`.
    """
    return _release(workspace, environment, agent=None, digest=digest, using=using)


def by_digest(workspace: UUID, digest: str, *, using: str = "default") -> Mapping[str, Any]:
    """Return kind, name and content of any version of the workspace. :raises Refusal: not_found."""
    with connections[using].cursor() as cursor:
        cursor.execute(
            "SELECT kind, name, content FROM registry_version WHERE workspace_id = %s AND digest = %s",
            [workspace, digest],
        )
        row = cursor.fetchone()
    if row is None:
        raise not_found("version")
    return {"kind": row[0], "name": row[1], "content": _loads(row[2])}


def gate(release: Release, *, agent: str, tool: str) -> list[Any]:
    """Return the GATE parameters of registry_share_gate for a call of `tool`: a tool's or model's name.

    That function shares the gate (registry.locks) until the deciding transaction ends, and says what came before: a
    stop, a revocation or another baseline. Whatever comes later waits for this decision. It returns null, or why the
    call is denied: stopped, version_revoked, break_glass_expired, or release_changed: it was decided under another
    baseline than the one in force, so the caller decides again.
    """
    parts = _cache.get((release.workspace, release.digest)) or _load(release.workspace, release.digest, None, "default")
    where = [locks.gate_key(release.workspace), release.workspace, release.environment_id, release.slot_id]
    versions = [parts.always[0], prepared.ids([*parts.always, *parts.called.get(tool, ())])]
    return [*where, *versions, agent, tool, release.baseline]


def lock_shared(release: Release, *, agent: str, tool: str, cursor: Any) -> str | None:
    """Share the gate alone, in the caller's transaction. :return: as registry_share_gate, see `gate`."""
    cursor.execute(_SHARE, gate(release, agent=agent, tool=tool))
    reason: str | None = cursor.fetchone()[0]
    return reason


def forget() -> None:
    """Empty the cache of this process. Contents are immutable, so only a test has a reason."""
    with _cache_lock:
        _cache.clear()


def read(
    row: Sequence[Any] | None, workspace: UUID, environment: str, *, agent: str | None, using: str = "default"
) -> Release:
    """Return the release that the FOUND columns of registry_resolve tell of.

    :param row: None, or nothing but nulls: none was found.  :raises Refusal: as `live`.
    """
    if row is None or row[0] is None:
        detail = f"Nothing is live for {_called(agent)} in the environment {environment!r}; activate a release there."
        raise Refusal("no_live_release", detail, status=409)
    environment_id, revision, slot_id, version_id, found, baseline, agreed, revoked = row
    parts = _cache.get((workspace, found)) or _load(workspace, found, version_id, using)
    if not agreed:
        detail = "What stands there was live by break-glass, and its time is over; activate an approved release."
        raise Refusal("break_glass_expired", detail, status=409)
    if revoked:
        detail = "The release, its policy or one of its prompts is revoked; activate another release."
        raise Refusal("version_revoked", detail, status=409)
    if baseline is None:
        detail = f"The environment {environment!r} has no live baseline; activate a policy named 'baseline' there."
        raise Refusal("no_live_baseline", detail, status=409)
    return Release(
        digest=found,
        agent=parts.name,
        environment=environment,
        environment_id=environment_id,
        workspace=workspace,
        slot_id=slot_id,
        policy=parts.policy,
        baseline=baseline,
        tools=parts.tools,
        models=parts.models,
        prompts=parts.prompts,
        budgets=parts.budgets,
        labels=parts.labels,
        revision=revision,
    )


def _called(agent: str | None) -> str:
    return "this release" if agent is None else f"agent {agent!r}"


def _release(workspace: UUID, environment: str, *, agent: str | None, digest: str | None, using: str) -> Release:
    with connections[using].cursor() as cursor:
        cursor.execute(_FIND, [workspace, environment, agent, digest])
        row = cursor.fetchone()
    return read(row, workspace, environment, agent=agent, using=using)


def _load(workspace: UUID, digest: str, version_id: UUID | None, using: str) -> _Parts:
    with connections[using].cursor() as cursor:
        if version_id is None:
            cursor.execute(
                "SELECT id FROM registry_version WHERE workspace_id = %s AND digest = %s", [workspace, digest]
            )
            version_id = cursor.fetchone()[0]
        cursor.execute(_PARTS, {"id": version_id})
        rows = {row[0]: Contract(row[1], row[2], row[3], MappingProxyType(_loads(row[4]))) for row in cursor.fetchall()}
    agent = rows.pop(version_id)
    by_kind: dict[str, dict[str, Contract]] = {"tool": {}, "model": {}, "prompt": {}, "policy": {}}
    called: dict[str, tuple[UUID, ...]] = {}
    always = [version_id]
    for part_id, part in rows.items():
        by_kind[part.kind][part.name] = part
        if part.kind in ("tool", "model"):
            called[part.name] = (*called.get(part.name, ()), part_id)
        else:
            always.append(part_id)
    parts = _Parts(
        name=agent.name,
        policy=next(iter(by_kind["policy"].values())).digest,
        tools=MappingProxyType(by_kind["tool"]),
        models=MappingProxyType(by_kind["model"]),
        prompts=MappingProxyType(by_kind["prompt"]),
        budgets=MappingProxyType(dict(agent.content["budgets"])),
        labels=tuple(agent.content.get("labels", ())),
        always=tuple(always),
        called=MappingProxyType(called),
    )
    with _cache_lock:
        _cache[workspace, digest] = parts
        while len(_cache) > LARGEST_CACHE:
            _cache.popitem(last=False)
    return parts


def _loads(raw: bytes) -> dict[str, Any]:
    document: dict[str, Any] = canonical.loads(bytes(raw), max_bytes=1 << 20, max_depth=64)
    return document
