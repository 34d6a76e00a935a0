"""Bring manifests into a workspace, and open the proposals that are asked for: from a directory, or over REST."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from audit.refusal import Refusal
from registry import digest, proposals, versions, workspaces
from registry.manifests import source
from registry.manifests.document import Manifest
from registry.models import Environment, Kind, Person, Proposal, Slot, Version, Workspace

BASELINE = "baseline"
# No release pins these: each is agreed on by itself, and being approved is all that can become of it.
ALONE = (Kind.DATASET, Kind.RUNBOOK)
Digests = dict[tuple[str, str], str]


@dataclass(frozen=True)
class Applied:
    """What became of one manifest. `proposal`: the open one; `live`: it is live where it would be proposed."""

    manifest: Manifest
    version: Version
    created: bool
    failing: tuple[str, ...]
    proposal: Proposal | None = None
    live: bool = False


def apply(
    workspace: Workspace,
    directory: Path,
    *,
    actor: Person,
    now: datetime,
    correlation_id: str,
    propose: str | None = None,
) -> list[Applied]:
    """Create a version for each manifest whose bytes are new; releases last, so that they can name their parts.

    :param propose: name of an environment; a proposal is opened there for each agent and baseline (for a charter
        without an environment) that is not live, and for each dataset and runbook that is not approved. Parts are
        approved with the release that pins them.
    :raises Refusal: manifest_invalid, content_invalid and its like, naming the file. What came before stays.
    """
    how: dict[str, Any] = {"actor": actor, "now": now, "correlation_id": correlation_id}
    environment = workspaces.environment(workspace.pk, propose) if propose else None
    digests: Digests = {}
    applied = [bring(workspace, one, digests=digests, **how) for one in ordered(source.described(directory))]
    if environment is None:
        return applied
    return [propose_one(one, environment, **how) for one in applied]


def bring(
    workspace: Workspace,
    manifest: Manifest,
    *,
    actor: Person,
    now: datetime,
    correlation_id: str,
    digests: Digests,
    credential: str | None = None,
    base: str | None = None,
) -> Applied:
    """Create the version of one manifest, if its bytes are new. Whoever brings it is a contributor, whatever git says.

    :param digests: (kind, name) -> digest of what came before it from the same place; this one is added.
    :param base: digest that the newest version has to have until now, "" for none; None: any.
    :raises Refusal: as versions.create, naming the manifest.
    """
    require_workspace(manifest, workspace)
    before = versions.newest(workspace.pk, manifest.kind, manifest.name)
    try:
        version = versions.create(
            workspace,
            kind=manifest.kind,
            name=manifest.name,
            content=pinned(manifest, workspace, digests),
            actor=actor,
            now=now,
            correlation_id=correlation_id,
            provenance=manifest.provenance,
            credential=credential,
            base=base,
        )
        if not version.stored and before is not None and before.digest != version.digest:
            # Nothing was stored, so nothing was compared either.
            versions.require_base(workspace.pk, manifest.kind, manifest.name, base)
    except Refusal as refusal:
        refusal.detail = f"{manifest.source}: {refusal.detail}"
        raise
    digests[manifest.kind, manifest.name] = version.digest
    failing = tuple(check.name for check in versions.failing_checks(version))
    return Applied(manifest, version, version.stored, failing)


def propose_one(
    applied: Applied,
    environment: Environment,
    *,
    actor: Person,
    now: datetime,
    correlation_id: str,
    credential: str | None = None,
    live: str | None = None,
) -> Applied:
    """Open the proposal that a version needs for `environment`, unless it is live there or proposed already.

    :param live: digest that has to be live there until now, "" for none; None: any. :raises Refusal: base_moved.
    """
    version = applied.version
    wanted, place = placed(version.kind, version.name, environment)
    if not wanted or stands(version, place):
        return replace(applied, live=wanted)
    require_live(version.workspace, version.kind, version.name, environment, live)
    waiting = waits(version, place)
    if waiting is None:
        try:
            waiting = proposals.open(
                version, place, proposer=actor, now=now, correlation_id=correlation_id, credential=credential
            )
        except Refusal as refusal:
            # Somebody else applied the same at the same time: theirs is as good.
            waiting = waits(version, place) if refusal.code == "proposal_exists" else None
            if waiting is None:
                raise
    return replace(applied, proposal=waiting)


def ordered(manifests: Iterable[Manifest]) -> list[Manifest]:
    """Return the manifests with releases last."""
    return sorted(manifests, key=lambda one: one.kind == Kind.AGENT)


def placed(kind: str, name: str, environment: Environment | None) -> tuple[bool, Environment | None]:
    """Return whether such a version is proposed by itself, and where. A part is not: its release is.

    :param environment: the one to propose for; None: nothing is proposed.
    """
    alone = kind in (Kind.AGENT, Kind.CHARTER, *ALONE) or (kind == Kind.POLICY and name == BASELINE)
    return alone and environment is not None, None if kind == Kind.CHARTER else environment


def stands(version: Version, place: Environment | None) -> bool:
    """Say whether `version` is live in `place`, or approved for it if it is of a kind that never goes live."""
    if version.kind in ALONE:
        return Proposal.objects.filter(version=version, environment=place, state="approved").exists()
    return Slot.objects.filter(version=version, environment=place).exists()


def already_live(workspace: Workspace, manifest: Manifest, environment: Environment) -> bool:
    """Say whether exactly this content is live in `environment`: then nothing has moved that matters."""
    _, place = placed(manifest.kind, manifest.name, environment)
    found = live_in(workspace, manifest.kind, manifest.name, place)
    return found is not None and found.digest == digest.of(manifest.kind, manifest.name, manifest.spec)


def waits(version: Version, place: Environment | None) -> Proposal | None:
    """Return the open proposal of `version` for `place`."""
    return Proposal.objects.filter(version=version, environment=place, state="open").first()


def live_in(workspace: Workspace, kind: str, name: str, place: Environment | None) -> Version | None:
    """Return the version of an artifact that is live in `place`."""
    slots = Slot.objects.filter(
        workspace=workspace, artifact__kind=kind, artifact__name=name, environment=place, version__isnull=False
    )
    slot = slots.select_related("version").first()
    return slot.version if slot else None


def pinned(manifest: Manifest, workspace: Workspace, digests: Mapping[tuple[str, str], str]) -> dict[str, Any]:
    """Return the content with each pin's digest: from the same place, else the newest version of the workspace."""
    pins = manifest.spec.get("pins")
    if manifest.kind != Kind.AGENT or not isinstance(pins, list):
        return manifest.spec
    resolved = []
    for pin in pins:
        names = (pin.get("kind"), pin.get("name")) if isinstance(pin, dict) and "digest" not in pin else (None, None)
        if not all(isinstance(name, str) for name in names):
            resolved.append(pin)
            continue
        kind, name = map(str, names)
        newest = None if (kind, name) in digests else versions.newest(workspace.pk, kind, name)
        found = digests.get((kind, name)) or (newest.digest if newest else None)
        if found is None:
            detail = f"{kind}/{name} is neither in this directory nor in the workspace."
            raise Refusal("pin_unknown", detail, field=manifest.source)
        resolved.append(pin | {"digest": found})
    return manifest.spec | {"pins": resolved}


def require_workspace(manifest: Manifest, workspace: Workspace) -> None:
    """Refuse a manifest that says it is another workspace's. :raises Refusal: manifest_invalid."""
    if manifest.workspace not in (None, workspace.slug):
        detail = f"{manifest.source} is for the workspace {manifest.workspace!r}, not for {workspace.slug!r}."
        raise Refusal("manifest_invalid", detail, field=manifest.source)


def require_live(workspace: Workspace, kind: str, name: str, environment: Environment, live: str | None) -> None:
    """Refuse if another version than `live` is live where such a version would be proposed.

    :param live: digest, "" for none; None: any. :raises Refusal: base_moved.
    """
    wanted, place = placed(kind, name, environment)
    if live is None or not wanted:
        return
    found = live_in(workspace, kind, name, place)
    if (found.digest if found else "") != live:
        where = place.name if place else "the workspace"
        what = f"version {found.number} ({found.digest[:19]})" if found else "nothing"
        detail = f"{kind}/{name} was planned against another live version: {what} is live in {where}. Make a new plan."
        raise Refusal("base_moved", detail, status=409, field="live", newest=found.digest if found else None)
