"""Versions: store one under its digest, find it again, and end its life."""

from collections import OrderedDict
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any
from uuid import UUID

from django.db import transaction
from django.db.models import F

from audit import canonical, log
from audit.refusal import Refusal, not_found
from registry import admission, content, contributors, digest, locks, memberships, provenances, statements, transitions
from registry.models import Artifact, Check, Kind, Lifecycle, Person, Pin, Role, Slot, Version, Workspace

Content = Mapping[str, Any]
SCHEMA_CHECK = "schema"
LARGEST_CACHE = 256
_passed: OrderedDict[str, list[admission.CheckResult]] = OrderedDict()


def create(
    workspace: Workspace,
    *,
    kind: str,
    name: str,
    content: Content,
    actor: Person,
    now: datetime,
    correlation_id: str,
    provenance: Mapping[str, Any] | None = None,
    credential: str | None = None,
    base: str | None = None,
) -> Version:
    """Store `content` as a version. The same bytes again are the same version, with the provenance added.

    :param provenance: where it came from; members: repository, commit, path, builder, identities, materials,
        statements, parents.
    :param credential: `credential:<uuid>` if a credential acts; `actor` is then its owner, who is a contributor.
    :return: with `stored` set to whether the bytes are new.
    :param base: digest of the version that has to be the newest one until now, "" for none at all; None: any.
    :raises Refusal: role_missing, content_invalid and its like, pin_unknown, version_revoked, base_moved.
    """
    require_author(actor, workspace.pk)
    raw = _admissible(kind, name, content)
    named = digest.of(kind, name, content)
    origin = provenances.parse(provenance)
    parts = _parts(workspace.pk, kind, content)
    version = Version.objects.filter(workspace=workspace, digest=named).first()
    # Checks run policies in a process that can be killed: slow, so outside of the transaction, and only for new bytes.
    checks = _checked(kind, content) if version is None else []
    with transaction.atomic():
        if version is None:
            version, created = _store(workspace, kind, name, named, raw, now, base)
        else:
            created = False
        if not created:
            # Whoever brings it again contributes to it: approvals are counted before this or after, never across it.
            locks.versions([version.pk])
        changed = provenances.add(version, origin, actor=actor, now=now, credential=credential)
        if created:
            Pin.objects.bulk_create([Pin(version=version, part=part) for part in parts])
            _keep_checks(version, checks, now)
        if created or changed:
            log.append(
                "registry.version.created" if created else "registry.version.described",
                workspace=workspace.pk,
                actor=credential or actor.actor,
                correlation_id=correlation_id,
                now=now,
                subjects={"version": version.digest, "artifact": f"{kind}/{name}"},
                data={
                    "number": version.number,
                    "commit": origin.get("commit", ""),
                    "checks": {check.name: check.passed for check in version.checks.all()},
                    "statements": statements.recorded(origin.get("statements", [])),
                    **contributors.records(version),
                },
            )
    version.stored = created
    return version


def by_digest(workspace_id: UUID, digest: str) -> Version:
    """Return the version. :raises Refusal: not_found, also for a digest that only another workspace has."""
    version = Version.objects.filter(workspace_id=workspace_id, digest=digest).select_related("lifecycle").first()
    if version is None:
        raise not_found("version")
    return version


def content_of(version: Version) -> dict[str, Any]:
    """Return the content as JSON."""
    document: dict[str, Any] = canonical.loads(bytes(version.content), max_bytes=1 << 20, max_depth=64)
    return document


def newest(workspace_id: UUID, kind: str, name: str) -> Version | None:
    """Return the newest version of an artifact."""
    rows = Version.objects.filter(workspace_id=workspace_id, kind=kind, name=name)
    return rows.select_related("lifecycle").order_by("-number").first()


def require_base(workspace_id: UUID, kind: str, name: str, base: str | None) -> None:
    """Refuse if the newest version of an artifact is another than `base`. :raises Refusal: base_moved."""
    if base is None:
        return
    found = newest(workspace_id, kind, name)
    if (found.digest if found else "") != base:
        what = f"version {found.number} ({found.digest[:19]})" if found else "nothing"
        detail = f"The plan for {kind}/{name} is out of date: the newest there is now {what}. Make a new plan."
        raise Refusal("base_moved", detail, status=409, field="base", newest=found.digest if found else None)


def rehearse(kind: str, document: Content) -> list[admission.CheckResult]:
    """Return what the admission checks say about a content that is not stored."""
    return _checked(kind, document)


def usable_part(workspace_id: UUID, pin: Mapping[str, Any], field: str) -> Version:
    """Return the version that a pin names. :raises Refusal: pin_unknown, version_retired, version_revoked."""
    rows = Version.objects.filter(workspace_id=workspace_id, kind=pin["kind"], name=pin["name"], digest=pin["digest"])
    part = rows.select_related("lifecycle").first()
    label = f"{pin['kind']}/{pin['name']} {pin['digest']}"
    if part is None:
        raise Refusal("pin_unknown", f"The workspace has no {label}; create it first.", field=field)
    if part.lifecycle.state in ("retired", "revoked"):
        detail = f"{label} is {part.lifecycle.state}; pin another version."
        raise Refusal(f"version_{part.lifecycle.state}", detail, status=409, field=field)
    return part


def parts_of(version: Version) -> list[Version]:
    """Return the versions that a release pins, without their content; none for other kinds."""
    return list(Version.objects.filter(pinned_by__version=version).defer("content").order_by("kind", "name"))


def latest_checks(those: Iterable[Version]) -> dict[UUID, list[Check]]:
    """Return, by version, the latest check of each name: it is the one that counts."""
    found: dict[UUID, list[Check]] = {version.pk: [] for version in those}
    rows = Check.objects.filter(version__in=found).order_by("version_id", "name", "-at", "-id")
    for check in rows.distinct("version_id", "name"):
        found[check.version_id].append(check)
    return found


def failing_checks(version: Version) -> list[Check]:
    """Return the latest check of each name that did not pass."""
    return [check for check in latest_checks([version])[version.pk] if not check.passed]


def check_again(version: Version, *, actor: Person, now: datetime, correlation_id: str) -> list[Check]:
    """Run the admission checks once more, as after an upgrade of the gate. :raises Refusal: role_missing."""
    require_author(actor, version.workspace_id)
    _passed.clear()
    results = _checked(version.kind, content_of(version))
    with transaction.atomic():
        locks.versions([version.pk])
        checks = _keep_checks(version, results, now)
        log.append(
            "registry.version.checked",
            workspace=version.workspace_id,
            actor=actor.actor,
            correlation_id=correlation_id,
            now=now,
            subjects={"version": version.digest, "artifact": f"{version.kind}/{version.name}"},
            data={"checks": {check.name: check.passed for check in checks}},
        )
    return checks


def deprecate(version: Version, *, actor: Person, reason: str, now: datetime, correlation_id: str) -> Lifecycle:
    """Say that a version should no longer be used. It stays live where it is."""
    return _end(version, "deprecated", [Role.AUTHOR, Role.OPERATOR], actor, reason, now, correlation_id)


def retire(version: Version, *, actor: Person, reason: str, now: datetime, correlation_id: str) -> Lifecycle:
    """Take a deprecated version out of use: nothing new may propose it. :raises Refusal: version_live."""
    return _end(version, "retired", [Role.OPERATOR], actor, reason, now, correlation_id)


def revoke(version: Version, *, actor: Person, reason: str, now: datetime, correlation_id: str) -> Lifecycle:
    """Forbid a version at once: every call that is decided after this commits is denied, wherever it is live."""
    return _end(version, "revoked", [Role.SECURITY, Role.ADMIN], actor, reason, now, correlation_id)


def _end(
    version: Version, state: str, roles: list[Role], actor: Person, reason: str, now: datetime, correlation_id: str
) -> Lifecycle:
    if not reason.strip():
        raise Refusal("reason_missing", "Say why, in one sentence.", field="reason")
    with transaction.atomic():
        row = locks.versions([version.pk])[version.pk]
        memberships.require(actor, version.workspace_id, roles)
        if row.state == state:
            return row
        if state == "retired" and Slot.objects.filter(version__in=_users(version)).exists():
            detail = "The version is live, alone or as a part of a release; replace it there first, or revoke it."
            raise Refusal("version_live", detail, status=409)
        transitions.move(row, state)
        if state == "revoked":
            locks.gate(version.workspace_id)
        row.changed_at = now
        row.save(update_fields=["state", "changed_at"])
        log.append(
            f"registry.version.{state}",
            workspace=version.workspace_id,
            actor=actor.actor,
            correlation_id=correlation_id,
            now=now,
            subjects={"version": version.digest, "artifact": f"{version.kind}/{version.name}"},
            data={"reason": log.Sealed(reason, subject=actor.actor)},
        )
    return row


def _users(version: Version) -> list[UUID]:
    return [version.pk, *Pin.objects.filter(part=version).values_list("version_id", flat=True)]


def require_author(actor: Person, workspace_id: UUID) -> None:
    """Refuse who is no author anywhere in the workspace. :raises Refusal: role_missing."""
    if Role.AUTHOR not in memberships.roles_anywhere(actor, workspace_id):
        memberships.require(actor, workspace_id, [Role.AUTHOR])


def _admissible(kind: str, name: str, document: Content) -> bytes:
    return content.check(kind, name, document)


def _checked(kind: str, document: Content) -> list[admission.CheckResult]:
    known = canonical.sha256([kind, document])
    if known in _passed:
        return _passed[known]
    try:
        results = admission.check(kind, document)
    except Exception as error:  # noqa: BLE001 - a gate that breaks has not let anything through
        return [admission.CheckResult("admission", False, f"The gate itself failed: {type(error).__name__}: {error}")]
    # The gate is deterministic but for its deadlines, so only what passed is remembered; it takes a second a policy.
    if all(result.passed for result in results):
        _passed[known] = results
        while len(_passed) > LARGEST_CACHE:
            _passed.popitem(last=False)
    return results


def _store(
    workspace: Workspace, kind: str, name: str, named: str, raw: bytes, now: datetime, base: str | None
) -> tuple[Version, bool]:
    artifact, _ = Artifact.objects.get_or_create(
        workspace=workspace, kind=kind, name=name, defaults={"created_at": now}
    )
    # Counting up locks the artifact: whoever brings the same bytes at the same time finds them below.
    Artifact.objects.filter(pk=artifact.pk).update(count=F("count") + 1)
    version = Version.objects.filter(workspace=workspace, digest=named).first()
    if version is not None:
        Artifact.objects.filter(pk=artifact.pk).update(count=F("count") - 1)
        return version, False
    require_base(workspace.pk, kind, name, base)
    artifact.refresh_from_db(fields=["count"])
    version = Version.objects.create(
        workspace=workspace,
        artifact=artifact,
        kind=kind,
        name=name,
        number=artifact.count,
        digest=named,
        content=raw,
        created_at=now,
    )
    Lifecycle.objects.create(version=version, changed_at=now)
    return version, True


def _keep_checks(version: Version, results: list[admission.CheckResult], now: datetime) -> list[Check]:
    checks = [Check(version=version, name=SCHEMA_CHECK, passed=True, at=now)]
    checks += [
        Check(version=version, name=result.name, passed=result.passed, output=result.output[:20_000], at=now)
        for result in results
    ]
    return Check.objects.bulk_create(checks)


def _parts(workspace_id: UUID, kind: str, document: Content) -> list[Version]:
    """Return the versions that the pins of a release name. :raises Refusal: pin_unknown, version_revoked."""
    if kind != Kind.AGENT:
        return []
    parts = [usable_part(workspace_id, pin, f"/content/pins/{number}") for number, pin in enumerate(document["pins"])]
    _references(parts)
    return parts


def _references(parts: list[Version]) -> None:
    """Refuse a release whose tools name a compensation or fallback that it does not pin."""
    tools = {part.name: content_of(part) for part in parts if part.kind == Kind.TOOL}
    for name, contract in tools.items():
        for member, target in (
            ("compensation", contract.get("compensation", {}).get("tool")),
            ("fallback", contract.get("fallback")),
        ):
            if target is not None and target not in tools:
                detail = f"tool/{name} names tool/{target} as its {member}; pin it too."
                raise Refusal("pin_missing", detail, field="/content/pins")
