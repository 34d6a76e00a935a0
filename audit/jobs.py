"""Work on the trail that takes longer than a request: writing an export's file, checking a log from its source rows.

A job is a row; a message only says that there is one, and is believed nothing else. Whoever works on it holds a lease
and a fence: a worker that died loses it, and the next one begins anew. The result is a file or a report, never evidence
by itself: what an export holds is fixed by its record, and anybody can check it.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import structlog
from celery import current_app
from django.db import connections, transaction
from django.db.models.functions import Now

from audit import crash
from audit.models import Job
from audit.refusal import Refusal, not_found

log = structlog.get_logger(__name__)
TASK = "audit.work"
LEASE_SECONDS = 60
TELL_SECONDS = 1.0
MOST_TRIES = 3
MOST_WAITING = 5  # of one workspace
KEPT = timedelta(days=7)
_CLAIM = """
UPDATE audit_job SET state = 'running', fence = fence + 1, done = 0, started_at = clock_timestamp(),
    lease_until = clock_timestamp() + %s * interval '1 s'
WHERE id = (SELECT id FROM audit_job WHERE state = 'queued' OR state = 'running' AND lease_until <= clock_timestamp()
            ORDER BY id LIMIT 1 FOR UPDATE SKIP LOCKED)
RETURNING id
"""
_DUE = "SELECT EXISTS (SELECT 1 FROM audit_job WHERE state = 'queued' OR state = 'running' AND lease_until <= now())"


class Overtaken(Exception):
    """The lease ran out and somebody else works on the job."""


@dataclass(frozen=True, slots=True)
class Work:
    """What a kind of job does.

    :param run: gets the job and a function that tells how far it is; returns the result.
    :param finish: gets job, result, time and connection, in the transaction that ends the job.
    """

    run: Callable[[Job, Callable[[int], None]], Mapping[str, Any]]
    finish: Callable[[Job, Mapping[str, Any], datetime, str], None] | None = None


_KINDS: dict[str, Work] = {}


def register(kind: str, work: Work) -> None:
    """Say what jobs of `kind` do. Called from AppConfig.ready."""
    _KINDS[kind] = work


def ask(
    kind: str, *, workspace: UUID, record: UUID, total: int, detail: Mapping[str, Any], actor: str, now: datetime
) -> Job:
    """Queue a job in the caller's transaction, and ring for a worker once that is committed.

    :param record: of the request. :raises Refusal: jobs_waiting (429): enough are waiting already.
    """
    waiting = Job.objects.filter(workspace=workspace, state__in=[Job.State.QUEUED, Job.State.RUNNING]).count()
    if waiting >= MOST_WAITING:
        detail_text = f"{waiting} exports and checks of this workspace are not done yet; wait for one of them."
        raise Refusal("jobs_waiting", detail_text, status=429, retry_after=10)
    job = Job.objects.create(
        kind=kind, workspace=workspace, record=record, total=total, detail=dict(detail), actor=actor, requested_at=now
    )
    transaction.on_commit(ring)
    return job


def ring() -> None:
    """Tell a worker that there is something to do. The sweeper rings again for what nobody heard."""
    try:
        current_app.send_task(TASK, args=[], ignore_result=True, retry=False)
    except Exception as error:  # noqa: BLE001 - the row stands, whether or not somebody hears of it
        log.warning("the doorbell is out of order; the sweeper will ring again", error=str(error)[:200])


def ring_due() -> int:
    """Ring if a job waits; return how many rings that were."""
    with connections["default"].cursor() as cursor:
        cursor.execute(_DUE)
        due = bool(cursor.fetchone()[0])
    if due:
        ring()
    return int(due)


def work(now: Callable[[], datetime], *, using: str = "default") -> int:
    """Do the jobs that wait, one after the other; return how many were done."""
    done = 0
    while (job := claim(using=using)) is not None:
        crash.point("audit.job.claimed")
        _do(job, now, using)
        done += 1
    return done


def claim(*, using: str = "default") -> Job | None:
    """Take the oldest job that waits, or whose worker was lost; None if there is none."""
    with connections[using].cursor() as cursor:
        cursor.execute(_CLAIM, [LEASE_SECONDS])
        row = cursor.fetchone()
    return Job.objects.using(using).get(pk=row[0]) if row else None


def get(workspace: UUID, pk: UUID, *, kind: str) -> Job:
    """Return a job of the workspace. :raises Refusal: not_found."""
    job = Job.objects.filter(pk=pk, workspace=workspace, kind=kind).first()
    if job is None:
        raise not_found("export" if kind == "export" else "check")
    return job


def newest(workspace: UUID, kind: str, *, limit: int) -> list[Job]:
    """Return the newest jobs of a kind."""
    return list(Job.objects.filter(workspace=workspace, kind=kind).order_by("-id")[:limit])


def _do(job: Job, now: Callable[[], datetime], using: str) -> None:
    doing, tell = _KINDS.get(job.kind), _Teller(job, using)
    try:
        if doing is None:
            raise Refusal("job_unknown", f"This version knows no job of the kind {job.kind}.")
        if job.fence > MOST_TRIES:
            raise Refusal("job_poisonous", f"{MOST_TRIES} workers were lost over it; it is not tried again.")
        result = doing.run(job, tell)
        with transaction.atomic(using=using):
            _end(job, Job.State.DONE, using, result=dict(result))
            if doing.finish is not None:
                doing.finish(job, result, now(), using)
        crash.point("audit.job.finished")
    except Overtaken:
        log.warning("a job was overtaken", job=str(job.pk))
    except Refusal as refusal:
        _fail(job, using, refusal.code, refusal.detail)
    except OSError as error:
        log.error("a job could not write its file", job=str(job.pk), error=str(error))
        _fail(job, using, "file_unwritable", f"The file cannot be written: {error.strerror}.")
    except Exception as failure:  # it is on the job for people, and in the log for us
        log.error("a job failed", job=str(job.pk), exc_info=failure)
        _fail(job, using, "job_failed", "An error of ours; the log of the worker has it.")
    finally:
        tell.close()


class _Teller:
    """Says how far a job is, and keeps its lease, at most once a second.

    On a connection of its own: the job's may be in the middle of a transaction that only reads.
    """

    def __init__(self, job: Job, using: str) -> None:
        self.job, self.at = job, time.monotonic()
        self.beside = connections[using].copy()

    def __call__(self, done: int) -> None:
        """Note that `done` records were worked on. :raises Overtaken: somebody else has the job."""
        if time.monotonic() - self.at < TELL_SECONDS:
            return
        self.at = time.monotonic()
        with self.beside.cursor() as cursor:
            cursor.execute(
                """UPDATE audit_job SET done = %s, lease_until = clock_timestamp() + %s * interval '1 s'
                   WHERE id = %s AND fence = %s AND state = 'running'""",
                [done, LEASE_SECONDS, self.job.pk, self.job.fence],
            )
            if cursor.rowcount != 1:
                raise Overtaken

    def close(self) -> None:
        """Give the connection back."""
        self.beside.close()


def _fail(job: Job, using: str, code: str, problem: str) -> None:
    try:
        _end(job, Job.State.FAILED, using, code=code, problem=problem)
    except Overtaken:
        log.warning("a job was overtaken", job=str(job.pk))


def _end(
    job: Job, state: str, using: str, *, result: Mapping[str, Any] | None = None, code: str = "", problem: str = ""
) -> None:
    rows = Job.objects.using(using).filter(pk=job.pk, fence=job.fence, state=Job.State.RUNNING)
    ended: dict[str, Any] = {"state": state, "code": code, "problem": problem, "lease_until": None}
    changed = rows.update(**ended, result=result, finished_at=Now())
    if not changed:
        raise Overtaken
