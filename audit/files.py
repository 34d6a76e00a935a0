"""Exports as files, made by a worker while the page says how far it is, and kept for some days.

The record of the request fixes what an export holds, so the file is only a convenience: where it is gone, or lies on
another host, the same bytes are made again while they are sent.
"""

import contextlib
import hashlib
import os
import time
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db import transaction

from audit import crash, export, formats, jobs, log, proofs, records
from audit.models import Job
from audit.refusal import Refusal

KIND = "export"
CREATED = "audit.export.created"
DOWNLOADED = "audit.export.downloaded"
CHUNK = 1 << 16
_NARROWING = ("event", "actor", "correlation_id", "recorded_since", "recorded_until")


def create(
    workspace: UUID,
    *,
    form: str,
    actor: str,
    now: datetime,
    correlation_id: str,
    first: int = 0,
    narrow: Mapping[str, str | None] | None = None,
) -> Job:
    """Fix what an export holds, and ask a worker to write it.

    :param first: begin at this index, for a whole export. :param narrow: members of export.Selection, for an excerpt.
    :raises Refusal: format_unknown, first_out_of_range, no_checkpoint, jobs_waiting.
    """
    if form not in formats.FORMATS:
        raise Refusal("format_unknown", f"The format is one of {', '.join(formats.FORMATS)}.", field="format")
    size = proofs.checkpoint(workspace).size
    if not 0 <= first <= size:
        raise Refusal("first_out_of_range", f"The log has {size} records: begin between 0 and {size}.", field="first")
    chosen = {name: value for name, value in (narrow or {}).items() if name in _NARROWING and value}
    first = 0 if chosen else first
    data = {"kind": "excerpt" if chosen else "log", "size": size, "first": first}
    with transaction.atomic():
        entry = log.append(
            CREATED,
            workspace=workspace,
            actor=actor,
            correlation_id=correlation_id,
            now=now,
            data=data | {"selection": chosen, "since": [], "format": form},
        )
        total = size - first
        return jobs.ask(
            KIND, workspace=workspace, record=entry.id, total=total, detail={"format": form}, actor=actor, now=now
        )


def path(job: Job) -> Path:
    """Return where the file lies, on the host of the worker that made it."""
    return Path(settings.PLACET_HOME) / "exports" / f"{job.pk}.{_form(job).suffix}"


def name(job: Job) -> str:
    """Return what the file is called when it is fetched."""
    return f"trail-{job.record}.{_form(job).suffix}"


def content(job: Job, *, actor: str, now: datetime, correlation_id: str) -> Iterator[bytes]:
    """Return the bytes of a finished export; that it was fetched is on record first.

    :raises Refusal: export_not_ready.
    """
    if job.state != Job.State.DONE:
        raise Refusal("export_not_ready", "The export is not written yet; its page says how far it is.", status=409)
    with transaction.atomic():
        log.append(
            DOWNLOADED,
            workspace=job.workspace,
            actor=actor,
            correlation_id=correlation_id,
            now=now,
            subjects={"export": str(job.record)},
        )
    return _read(path(job)) if path(job).exists() else _form(job).write(order(job))


def order(job: Job) -> formats.Order:
    """Return what the record of the request fixed."""
    data = records.get(job.record).body["data"]
    narrowed = data["selection"]
    selection = export.Selection(**narrowed) if data["kind"] == "excerpt" else None
    return formats.Order(job.workspace, data["size"], data["first"], selection, tuple(data["since"]))


def write(job: Job, tell: Callable[[int], None]) -> dict[str, Any]:
    """Write the file of an export; return its size and digest. The work of a job of kind `export`."""
    form, target = _form(job), path(job)
    target.parent.mkdir(mode=0o700, exist_ok=True)
    _forget(target.parent)
    # One name a try: a worker that was overtaken does not write into the file of the one that follows.
    aside = target.with_name(f"{target.name}.{job.fence}.part")
    digest, size, lines = hashlib.sha256(), 0, 0
    try:
        with open(os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
            for chunk in form.write(order(job)):
                file.write(chunk)
                digest.update(chunk)
                size, lines = size + len(chunk), lines + form.records(chunk)
                tell(min(lines, job.total))
            file.flush()
            os.fsync(file.fileno())
        crash.point("audit.file.written")
        aside.replace(target)
    finally:
        aside.unlink(missing_ok=True)
    return {"bytes": size, "sha256": digest.hexdigest()}


def _form(job: Job) -> formats.Format:
    return formats.FORMATS[job.detail["format"]]


def _read(place: Path) -> Iterator[bytes]:
    with place.open("rb") as file:
        while chunk := file.read(CHUNK):
            yield chunk


def _forget(folder: Path) -> None:
    """Delete files past their time: they can be made again."""
    until = time.time() - jobs.KEPT.total_seconds()
    for place in folder.iterdir():
        with contextlib.suppress(FileNotFoundError):
            if place.stat().st_mtime < until:
                place.unlink()
