"""Look at a database that came back, and let Placet go on with it: by a person, for a reason, on record."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from django.db import transaction

from audit import continuity, crash, fsck, log, losses, publisher, sequencer
from audit.refusal import Refusal
from config import entrance, restoration
from config.terms import Report, Terms, adopted, doubtful, ended_by, require
from registry import stops
from registry.models import Person, Workspace

RESTORED = "audit.backup.restored"
ADOPTED = "audit.checkpoint.adopted"


@dataclass(frozen=True)
class Evidence:
    """What somebody kept outside: checkpoints (notes) and receipts, as text."""

    notes: tuple[str, ...] = ()
    receipts: tuple[str, ...] = ()


def check(evidence: Evidence) -> list[Report]:
    """Compare every log with what was kept outside, and check each from its rows up.

    :raises verify.NotVerified: something that was given is by none of our keys.
    """
    restored = restoration.pending()
    own = restored.own if restored else frozenset[UUID]()
    given = {one.workspace: one.proven for one in continuity.examine(evidence.notes, evidence.receipts, copies=False)}
    reports = []
    for finding in continuity.examine(evidence.notes, evidence.receipts):
        log_id = finding.workspace
        damage = fsck.check(log_id, outside=False).problems
        forgotten = publisher.forgotten(log_id)
        # What nobody here has a checkpoint of, a receipt alone does not speak for.
        proven = given.get(log_id, False) if log_id in own else finding.proven and not (forgotten and not finding.note)
        last, copy = publisher.last_row(log_id), publisher.copy_path(log_id).exists()
        reports.append(Report(finding, tuple(damage), proven and not damage, last, copy, forgotten))
    return reports


def accept(evidence: Evidence, terms: Terms, *, by: Person, now: datetime, correlation_id: str) -> list[str]:
    """Let Placet go on with the database as it is. Return what was done, a line each. May be repeated: what somebody
    began who was cut short is ended, and no epoch is begun twice for one loss.

    A workspace that lost something, or for which nothing speaks, is stopped first: what the lost time revoked is valid
    again until somebody has looked.

    :raises Refusal: reason_missing, restore_unfinished, publisher_refuses; what `terms.require` raises.
    :raises verify.NotVerified: something that was given is by none of our keys.
    """
    if not terms.reason.strip():
        raise Refusal("reason_missing", "Say why, in one sentence.", field="reason")
    restored = restoration.pending()
    if restored is not None and not restored.whole:
        detail = "The restore was cut short. Run `manage.py restore` with the same backup again; it goes on."
        raise Refusal("restore_unfinished", detail, status=409)
    for workspace in terms.new_keys:
        losses.relist(workspace)
    reports = check(evidence)
    require(reports, terms, restored, by)
    if restored is not None:
        restored = restoration.take_up(restored)
    how: dict[str, Any] = {"by": by, "now": now, "correlation_id": correlation_id}
    stopped = [one for one in reports if doubtful(one, restored)]
    with transaction.atomic():
        done = [
            f"{slug} is stopped; lift the stop when you have looked: placet stops list"
            for slug in _stop(stopped, terms.reason, **how)
        ]
        for one in reports:
            _record(one, terms, restored, **how)
    crash.point("config.recovery.recorded")
    for one in reports:
        done += _begin_epoch(one, terms, restored, **how)
    for one in reports:
        losses.settle_copy(one.finding.workspace)
        done += _adopt(one, terms)
    _publish()
    crash.point("config.recovery.published")
    if entrance.shut():
        entrance.open()
        crash.point("config.recovery.opened")
        done.append("the database is open again; start Placet")
    restoration.forget()
    return done


def _stop(reports: Iterable[Report], reason: str, *, by: Person, now: datetime, correlation_id: str) -> list[str]:
    rows = Workspace.objects.filter(pk__in=[one.finding.workspace for one in reports]).order_by("slug")
    for row in rows:
        stops.set_at_the_machine(row, reason=reason, by=by, now=now, correlation_id=correlation_id)
    return [row.slug for row in rows]


def _record(
    report: Report,
    terms: Terms,
    restored: restoration.Restored | None,
    *,
    by: Person,
    now: datetime,
    correlation_id: str,
) -> None:
    """Put on record what the person goes on with, each log in itself."""
    finding, told = report.finding, dict[str, dict[str, Any]]()
    if restored is not None or not report.whole or report.forgotten:
        told[RESTORED] = {
            "backup": restored.at.isoformat() if restored and restored.at else None,
            "size": finding.size,
            "published": finding.published,
            "receipts_missing": finding.missing[: fsck.MOST_PROBLEMS],
        }
    if note := adopted(report, terms):
        told[ADOPTED] = {"note": note, "published": _size(note)}
    for event, data in told.items():
        log.append(
            event,
            workspace=finding.workspace,
            actor=by.actor,
            correlation_id=correlation_id,
            now=now,
            data=data | {"proven": report.proven, "reason": log.Sealed(terms.reason, subject=by.actor)},
        )


def _begin_epoch(
    report: Report,
    terms: Terms,
    restored: restoration.Restored | None,
    *,
    by: Person,
    now: datetime,
    correlation_id: str,
) -> Iterator[str]:
    """Begin a new epoch of a log if the present one has to end; say so."""
    if (what := ended_by(report, terms, restored)) is None:
        return
    workspace, loss = report.finding.workspace, losses.Loss(what, report.finding.note, terms.reason)
    key = losses.begin_epoch(workspace, loss, actor=by.actor, now=now, correlation_id=correlation_id)
    crash.point("config.recovery.begun")
    yield f"log {workspace} goes on in a new epoch; its key, for the auditors:\n{key.public}"


def _adopt(report: Report, terms: Terms) -> Iterator[str]:
    """Put a checkpoint where the copy of the last one is missing, if that was accepted; say so."""
    if note := adopted(report, terms):
        publisher.adopt(report.finding.workspace, note)
        yield f"log {report.finding.workspace} goes on from its checkpoint of {_size(note)} records"


def _size(note: str) -> int:
    return int(note.splitlines()[1])


def _publish() -> None:
    sequencer.drain()
    try:
        publisher.publish()
    except publisher.Refused as refused:
        raise Refusal("publisher_refuses", f"The publisher still refuses: {refused}", status=409) from refused


def read_note(text: str) -> str:
    """Return a checkpoint as it was kept. :raises verify.NotVerified: it is none."""
    continuity.log_of(text)
    return text if text.endswith("\n") else f"{text}\n"
