"""What applying manifests would do, without doing it: new versions, differences, risk, and who would have to agree."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from audit.refusal import Refusal
from registry import charters, content, contributors, digest, precedents, versions, workspaces
from registry.manifests import apply, changes
from registry.manifests.document import Manifest
from registry.models import Environment, Kind, Person, Proposal, Version, Workspace

MOST_MANIFESTS = 500


@dataclass(frozen=True)
class Need:
    """So many approvals that a version lacks where it would go live."""

    kind: str
    name: str
    approvals: int
    roles: tuple[str, ...]


@dataclass(frozen=True)
class Planned:
    """What would become of one manifest.

    :param content: with every pin's digest. :param version: the version with these bytes, if it is there already.
    :param base: the newest version of the artifact. :param live: what is live where this one would go.
    :param changes: against `live`, else against `base`. :param failing: admission checks that fail, with their output.
    :param wanted: it is proposed by itself; a part is approved with its release. :param settled: nothing to propose.
    :param unmapped: claimed commit identities that belong to no member: they block.
    """

    manifest: Manifest
    content: Mapping[str, Any]
    digest: str
    version: Version | None
    base: Version | None
    live: Version | None
    changes: Sequence[changes.Change]
    more_changes: int
    risk: str
    failing: Sequence[tuple[str, str]]
    wanted: bool
    settled: bool
    proposal: Proposal | None
    needs: Sequence[Need] = ()
    unmapped: Sequence[str] = ()


@dataclass(frozen=True)
class Plan:
    """All of it, in the order in which it would be applied. :param charter: digest of the one that was asked."""

    charter: str
    planned: Sequence[Planned] = field(default_factory=list)


def make(
    workspace: Workspace, manifests: Sequence[Manifest], environment: Environment | None, *, actor: Person
) -> Plan:
    """Return what applying `manifests` and proposing them for `environment` would do. Nothing is stored.

    :raises Refusal: role_missing, manifests_too_many, manifest_invalid, content_invalid and its like, pin_unknown;
        all but the first two name the manifest.
    """
    versions.require_author(actor, workspace.pk)
    if not 0 < len(manifests) <= MOST_MANIFESTS:
        detail = f"A plan is about 1 to {MOST_MANIFESTS} manifests; got {len(manifests)}."
        raise Refusal("manifests_too_many", detail, field="manifests")
    charter_digest, charter = workspaces.charter_in_force(workspace.pk)
    digests: apply.Digests = {}
    risks: dict[tuple[str, str, str], str] = {}
    planned: list[Planned] = []
    for manifest in apply.ordered(manifests):
        try:
            one = _one(workspace, manifest, environment, digests, risks)
        except Refusal as refusal:
            refusal.detail = f"{manifest.source}: {refusal.detail}"
            raise
        planned.append(one)
    rules = _Rules(workspace, environment, charter, risks)
    return Plan(charter_digest, [rules.judged(one) for one in planned])


def _one(
    workspace: Workspace,
    manifest: Manifest,
    environment: Environment | None,
    digests: apply.Digests,
    risks: dict[tuple[str, str, str], str],
) -> Planned:
    kind, name = manifest.kind, manifest.name
    if (kind, name) in digests:
        raise Refusal("manifest_invalid", f"{kind}/{name} is there twice; keep one.", field=manifest.source)
    apply.require_workspace(manifest, workspace)
    document = apply.pinned(manifest, workspace, digests)
    content.check(kind, name, document)
    named = digest.of(kind, name, document)
    digests[kind, name] = named
    version = Version.objects.filter(workspace=workspace, digest=named).select_related("lifecycle").first()
    base = versions.newest(workspace.pk, kind, name)
    wanted, place = apply.placed(kind, name, environment)
    live = apply.live_in(workspace, kind, name, place) if wanted else None
    if kind == Kind.AGENT:
        risks[kind, name, named] = _highest(workspace, document["pins"], digests, risks)
    elif kind == Kind.TOOL:
        risks[kind, name, named] = str(document["risk"])
    against = live or base
    found, more = changes.between(versions.content_of(against) if against else None, document)
    return Planned(
        manifest=manifest,
        content=document,
        digest=named,
        version=version,
        base=base,
        live=live,
        changes=found,
        more_changes=more,
        risk=risks.get((kind, name, named), "low"),
        failing=_failing(kind, document, version),
        wanted=wanted,
        settled=wanted and version is not None and apply.stands(version, place),
        proposal=apply.waits(version, place) if wanted and version is not None else None,
        unmapped=contributors.strangers(workspace.pk, (manifest.provenance or {}).get("identities", [])),
    )


def _failing(kind: str, document: Mapping[str, Any], version: Version | None) -> list[tuple[str, str]]:
    if version is not None:
        return [(check.name, check.output) for check in versions.failing_checks(version)]
    return [(check.name, check.output) for check in versions.rehearse(kind, document) if not check.passed]


def _highest(
    workspace: Workspace,
    pins: Sequence[Mapping[str, Any]],
    digests: apply.Digests,
    risks: dict[tuple[str, str, str], str],
) -> str:
    """Return the highest risk among the tools that a release pins; those stored before are added to `risks`.

    :raises Refusal: pin_unknown and its like."""
    found = ["low"]
    for number, pin in enumerate(pins):
        if digests.get((pin["kind"], pin["name"])) == pin["digest"]:
            found.append(risks.get((pin["kind"], pin["name"], pin["digest"]), "low"))
            continue
        part = versions.usable_part(workspace.pk, pin, f"/spec/pins/{number}")
        if part.kind == Kind.TOOL:
            risks[part.kind, part.name, part.digest] = str(versions.content_of(part)["risk"])
            found.append(risks[part.kind, part.name, part.digest])
    return max(found, key=charters.RISKS.index)


@dataclass(frozen=True)
class _Rules:
    """The charter in force, asked about versions that need not be there yet."""

    workspace: Workspace
    environment: Environment | None
    charter: Mapping[str, Any]
    risks: Mapping[tuple[str, str, str], str]

    def judged(self, one: Planned) -> Planned:
        """Return `one` with the approvals that it needs, its parts' included."""
        if not one.wanted or one.settled:
            return one
        _, place = apply.placed(one.manifest.kind, one.manifest.name, self.environment)
        pins = one.content.get("pins", ()) if one.manifest.kind == Kind.AGENT else ()
        stored = Version.objects.filter(workspace=self.workspace, digest__in=[pin["digest"] for pin in pins])
        parts = {part.pk: part for part in stored.defer("content")}

        def requirements(part: Version) -> list[charters.Requirement]:
            return self._requirements(part.kind, self._risk(part.kind, part.name, part.digest), place)

        asks = Proposal(workspace=self.workspace, environment=place)  # never stored: only where it would be asked
        agreed = {parts[pk].digest for pk in precedents.approved(parts.values(), asks, requirements)}
        needs = self._needs(one.manifest.kind, one.manifest.name, one.risk, place)
        for pin in pins:
            if pin["digest"] not in agreed:
                risk = self._risk(pin["kind"], pin["name"], pin["digest"])
                needs += self._needs(pin["kind"], pin["name"], risk, place)
        return replace(one, needs=needs)

    def _risk(self, kind: str, name: str, digest: str) -> str:
        return self.risks.get((kind, name, digest), "low")

    def _requirements(self, kind: str, risk: str, place: Environment | None) -> list[charters.Requirement]:
        where = place.name if place else None
        return charters.requirements(self.charter, kind=kind, risk=risk, environment=where)

    def _needs(self, kind: str, name: str, risk: str, place: Environment | None) -> list[Need]:
        return [Need(kind, name, one.approvals, one.roles) for one in self._requirements(kind, risk, place)]
