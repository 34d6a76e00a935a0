"""Bring the manifests of a directory into a workspace, and open the proposals that are asked for."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from audit.refusal import Refusal
from registry import proposals, versions, workspaces
from registry.manifests import source
from registry.manifests.document import Manifest, read
from registry.models import Environment, Kind, Person, Proposal, Slot, Version, Workspace

BASELINE = "baseline"


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
    manifests = read(directory)
    environment = workspaces.environment(workspace.pk, propose) if propose else None
    applied: list[Applied] = []
    digests: dict[tuple[str, str], str] = {}
    for manifest in sorted(manifests, key=lambda one: one.kind == Kind.AGENT):
        if manifest.workspace not in (None, workspace.slug):
            detail = f"{manifest.source} is for the workspace {manifest.workspace!r}, not for {workspace.slug!r}."
            raise Refusal("manifest_invalid", detail, field=manifest.source)
        known = set(Version.objects.filter(workspace=workspace, name=manifest.name).values_list("digest", flat=True))
        try:
            version = versions.create(
                workspace,
                kind=manifest.kind,
                name=manifest.name,
                content=_pinned(manifest, workspace, digests),
                actor=actor,
                now=now,
                correlation_id=correlation_id,
                provenance=source.provenance(directory, manifest.files),
            )
        except Refusal as refusal:
            refusal.detail = f"{manifest.source}: {refusal.detail}"
            raise
        digests[manifest.kind, manifest.name] = version.digest
        failing = tuple(check.name for check in versions.failing_checks(version))
        applied.append(Applied(manifest, version, version.digest not in known, failing))
    if environment is None:
        return applied
    return [_proposed(one, environment, actor, now, correlation_id) for one in applied]


def _pinned(manifest: Manifest, workspace: Workspace, digests: Mapping[tuple[str, str], str]) -> dict[str, Any]:
    """Return the content with each pin's digest: from this directory, else the newest version of the workspace."""
    pins = manifest.spec.get("pins")
    if manifest.kind != Kind.AGENT or not isinstance(pins, list):
        return manifest.spec
    resolved = []
    for pin in pins:
        if not isinstance(pin, dict) or "digest" in pin or not {"kind", "name"} <= pin.keys():
            resolved.append(pin)
            continue
        digest = digests.get((pin["kind"], pin["name"])) or _newest(workspace, pin["kind"], pin["name"])
        if digest is None:
            detail = f"{pin['kind']}/{pin['name']} is neither in this directory nor in the workspace."
            raise Refusal("pin_unknown", detail, field=manifest.source)
        resolved.append(pin | {"digest": digest})
    return manifest.spec | {"pins": resolved}


def _newest(workspace: Workspace, kind: str, name: str) -> str | None:
    rows = Version.objects.filter(workspace=workspace, kind=kind, name=name).order_by("-number")
    return rows.values_list("digest", flat=True).first()


def _proposed(applied: Applied, environment: Environment, actor: Person, now: datetime, correlation_id: str) -> Applied:
    version = applied.version
    if version.kind == Kind.CHARTER:
        place = None
    elif version.kind == Kind.AGENT or (version.kind == Kind.POLICY and version.name == BASELINE):
        place = environment
    elif version.kind in (Kind.DATASET, Kind.RUNBOOK):
        # No release pins it: it is agreed on by itself, and being approved is all that can become of it.
        place = environment
        if Proposal.objects.filter(version=version, environment=place, state="approved").exists():
            return replace(applied, live=True)
    else:
        return applied
    if Slot.objects.filter(version=version, environment=place).exists():
        return Applied(applied.manifest, version, applied.created, applied.failing, live=True)
    waiting = Proposal.objects.filter(version=version, environment=place, state="open").first()
    if waiting is None:
        waiting = proposals.open(version, place, proposer=actor, now=now, correlation_id=correlation_id)
    return Applied(applied.manifest, version, applied.created, applied.failing, waiting)
