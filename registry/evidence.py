"""Evidence about a version, filed by whoever produced it: the charter's gates ask for it at activation."""

from datetime import datetime

from django.db import transaction

from audit import log
from audit.refusal import Refusal, not_found
from registry import clock
from registry.models import Environment, Evidence, Version


def add(
    version: Version,
    environment: Environment | None,
    *,
    kind: str,
    digest: str,
    actor: str,
    now: datetime,
    correlation_id: str,
) -> Evidence:
    """File evidence; its age counts from now by the database's clock.

    :param kind: what it shows, as gates name it: impact, evaluation.
    :param digest: `sha256:` of the report, which lies elsewhere.
    :param actor: as the trail names them; a process may file evidence.
    :raises Refusal: not_found, digest_invalid.
    """
    if environment is not None and environment.workspace_id != version.workspace_id:
        raise not_found("environment")
    if not digest.startswith("sha256:") or len(digest) != 71:
        raise Refusal("digest_invalid", "A digest is `sha256:` and 64 hexadecimal digits.", field="digest")
    with transaction.atomic():
        row = Evidence.objects.create(
            version=version, environment=environment, kind=kind, digest=digest, at=clock.read()
        )
        log.append(
            "registry.evidence.added",
            workspace=version.workspace_id,
            actor=actor,
            correlation_id=correlation_id,
            now=now,
            subjects={"version": version.digest, "evidence": digest},
            data={"kind": kind, "environment": str(environment.pk) if environment else None},
        )
    return row
