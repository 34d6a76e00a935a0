"""A workspace comes into being, with its environments, its first people and its first charter; and environments."""

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any
from uuid import UUID

from django.db import IntegrityError, transaction

from audit import canonical, log
from audit.refusal import Refusal, not_found
from registry import charters, clock, content, digest, locks, memberships
from registry.models import (
    Artifact,
    Environment,
    Grant,
    Kind,
    Lifecycle,
    Membership,
    Person,
    Role,
    Slot,
    SlotHistory,
    Version,
    Workspace,
)

ENVIRONMENTS: Mapping[str, bool] = {"development": False, "staging": False, "production": True}
Founder = tuple[Person, str, str | None]


def init(
    slug: str,
    name: str,
    *,
    admin: Person,
    now: datetime,
    charter: Mapping[str, Any] | None = None,
    members: Iterable[Founder] = (),
    correlation_id: str = "init",
) -> Workspace:
    """Found a workspace. What is founded has been reviewed by nobody, and the record says so.

    :param members: further founding grants: person, role, and the name of an environment or None for all.
    :param charter: content of the first charter; `charters.FIRST` if None.
    :raises Refusal: workspace_exists, role_unknown, not_found, content_invalid.
    """
    rules = dict(charters.FIRST if charter is None else charter)
    raw = content.check(Kind.CHARTER, "charter", rules)
    founders: list[Founder] = [(admin, Role.ADMIN, None), *members]
    with transaction.atomic():
        workspace = _found(slug, name, now)
        environments = {
            each: Environment.objects.create(workspace=workspace, name=each, protected=protected, created_at=now)
            for each, protected in ENVIRONMENTS.items()
        }
        granted = [_grant(workspace, environments, founder, now) for founder in founders]
        version = _first_charter(workspace, raw, digest.of(Kind.CHARTER, "charter", rules), now)
        log.append(
            "registry.workspace.created",
            workspace=workspace.pk,
            actor=admin.actor,
            correlation_id=correlation_id,
            now=now,
            subjects={"workspace": str(workspace.pk), "charter": version.digest},
            data={
                "slug": slug,
                "reviewed": False,
                "environments": {each: {"protected": row.protected} for each, row in environments.items()},
                "grants": granted,
            },
        )
    return workspace


def add_environment(
    workspace: Workspace, name: str, *, protected: bool, actor: Person, now: datetime, correlation_id: str
) -> Environment:
    """Add an environment. Idempotent. :raises Refusal: role_missing, name_invalid."""
    if not content.SLUG.fullmatch(name):
        detail = "The name of an environment is 1 to 63 lower-case letters, digits or '-', beginning with a letter."
        raise Refusal("name_invalid", detail, field="name")
    with transaction.atomic():
        memberships.require(actor, workspace.pk, [Role.ADMIN])
        row, created = Environment.objects.get_or_create(
            workspace=workspace, name=name, defaults={"protected": protected, "created_at": now}
        )
        if created:
            _record("registry.environment.created", row, actor, now, correlation_id)
    return row


def protect(environment: Environment, *, actor: Person, now: datetime, correlation_id: str) -> Environment:
    """Protect an environment, for good: taking protection away would be a way around it. Idempotent."""
    with transaction.atomic():
        row = Environment.objects.select_for_update(no_key=True).get(pk=environment.pk)
        locks.gate(row.workspace_id)
        memberships.require(actor, row.workspace_id, [Role.ADMIN])
        if not row.protected:
            row.protected = True
            row.save(update_fields=["protected"])
            _record("registry.environment.protected", row, actor, now, correlation_id)
    return row


def environment(workspace_id: UUID, name: str) -> Environment:
    """Return the environment of that name. :raises Refusal: not_found."""
    row = Environment.objects.filter(workspace_id=workspace_id, name=name).first()
    if row is None:
        raise not_found("environment")
    return row


def charter_in_force(workspace_id: UUID) -> tuple[str, dict[str, Any]]:
    """Return digest and content of the charter in force. :raises Refusal: charter_missing (503): nothing can pass."""
    row = (
        Version.objects.filter(slots__workspace_id=workspace_id, slots__environment=None, kind=Kind.CHARTER)
        .only("digest", "content")
        .first()
    )
    if row is None:
        raise Refusal("charter_missing", "The workspace has no charter in force; found it with `init`.", status=503)
    return row.digest, canonical.loads(bytes(row.content))


def _found(slug: str, name: str, now: datetime) -> Workspace:
    if not content.SLUG.fullmatch(slug):
        detail = "The slug of a workspace is 1 to 63 lower-case letters, digits or '-', beginning with a letter."
        raise Refusal("name_invalid", detail, field="slug")
    try:
        with transaction.atomic():
            return Workspace.objects.create(slug=slug, name=name, created_at=now)
    except IntegrityError as error:
        raise Refusal(
            "workspace_exists", f"There is a workspace {slug!r} already.", status=409, field="slug"
        ) from error


def _grant(
    workspace: Workspace, environments: Mapping[str, Environment], founder: Founder, now: datetime
) -> dict[str, str | None]:
    person, role, where = founder
    if role not in Role.values:
        raise Refusal("role_unknown", f"There is no role {role!r}; use one of {', '.join(Role.values)}.", field="role")
    if where is not None and where not in environments:
        raise not_found("environment")
    membership, _ = Membership.objects.get_or_create(workspace=workspace, person=person, defaults={"created_at": now})
    at = clock.read()
    Grant.objects.get_or_create(
        membership=membership,
        role=role,
        environment=environments[where] if where else None,
        revoked_at=None,
        defaults={"at": at, "confirmed_at": at},
    )
    return {"person": str(person.pk), "role": role, "environment": where}


def _first_charter(workspace: Workspace, raw: bytes, named: str, now: datetime) -> Version:
    artifact = Artifact.objects.create(workspace=workspace, kind=Kind.CHARTER, name="charter", count=1, created_at=now)
    version = Version.objects.create(
        workspace=workspace,
        artifact=artifact,
        kind=Kind.CHARTER,
        name="charter",
        number=1,
        digest=named,
        content=raw,
        created_at=now,
    )
    Lifecycle.objects.create(version=version, changed_at=now)
    Slot.objects.create(workspace=workspace, artifact=artifact, version=version, changed_at=now)
    SlotHistory.objects.create(artifact=artifact, version=version, kind="founding", at=now)
    return version


def _record(event: str, row: Environment, actor: Person, now: datetime, correlation_id: str) -> None:
    log.append(
        event,
        workspace=row.workspace_id,
        actor=actor.actor,
        correlation_id=correlation_id,
        now=now,
        subjects={"environment": str(row.pk)},
        data={"name": row.name, "protected": row.protected},
    )
