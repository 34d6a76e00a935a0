"""Checks of a log from its source rows: asked for by a person, or due because the last one is old."""

from collections.abc import Callable, Mapping
from dataclasses import asdict
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django.db import connection, transaction

from audit import fsck, jobs, log
from audit.models import Job

KIND = "inspection"
REQUESTED = "audit.inspection.requested"
FINISHED = "audit.inspection.finished"
DUE_AFTER = timedelta(days=1)
INSPECTOR = "system:inspector"
# The logs that grew by more than their last check's own two records, and whose last check is old.
_DUE = """
SELECT h.workspace, h.size FROM audit_head h
LEFT JOIN LATERAL (SELECT j.requested_at, j.total FROM audit_job j WHERE j.workspace = h.workspace AND j.kind = %s
                   ORDER BY j.id DESC LIMIT 1) last ON true
WHERE last.requested_at IS NULL OR last.requested_at <= %s AND h.size > last.total + 2
ORDER BY last.requested_at NULLS FIRST LIMIT 1
"""


def request(workspace: UUID, *, actor: str, now: datetime, correlation_id: str) -> Job:
    """Ask for a check of the log; one that waits already is returned. :raises Refusal: jobs_waiting."""
    with transaction.atomic():
        waiting = Job.objects.filter(
            workspace=workspace, kind=KIND, state__in=[Job.State.QUEUED, Job.State.RUNNING]
        ).first()
        if waiting is not None:
            return waiting
        entry = log.append(REQUESTED, workspace=workspace, actor=actor, correlation_id=correlation_id, now=now)
        with connection.cursor() as cursor:
            cursor.execute("SELECT size FROM audit_head WHERE workspace = %s", [workspace])
            row = cursor.fetchone()
        size = row[0] if row else 0
        return jobs.ask(KIND, workspace=workspace, record=entry.id, total=size, detail={}, actor=actor, now=now)


def request_due(now: datetime) -> int:
    """Ask for the check that is overdue the longest; return how many that were. For the sweeper."""
    with connection.cursor() as cursor:
        cursor.execute(_DUE, [KIND, now - DUE_AFTER])
        row = cursor.fetchone()
    if row is None:
        return 0
    request(row[0], actor=INSPECTOR, now=now, correlation_id=f"inspection-{now:%Y%m%d%H%M%S}")
    return 1


def last(workspace: UUID) -> Job | None:
    """Return the newest finished check."""
    rows = Job.objects.filter(workspace=workspace, kind=KIND, state__in=[Job.State.DONE, Job.State.FAILED])
    return rows.order_by("-id").first()


def inspect(job: Job, tell: Callable[[int], None]) -> dict[str, Any]:
    """Check the log; return the report. The work of a job of kind `inspection`."""
    report = asdict(fsck.check(job.workspace, tell=tell))
    del report["workspace"]
    return report


def finish(job: Job, report: Mapping[str, Any], now: datetime, using: str) -> None:
    """Put the result on record."""
    counts = {name: report[name] for name in ("records", "leaves", "pending", "checkpoints")}
    log.append(
        FINISHED,
        workspace=job.workspace,
        actor=INSPECTOR,
        correlation_id=f"inspection-{job.pk}",
        now=now,
        subjects={"request": str(job.record)},
        data=counts | {"whole": not report["problems"], "problems": len(report["problems"])},
        using=using,
    )
