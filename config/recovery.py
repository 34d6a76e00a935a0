"""Look at a database that came back, and let Placet go on with it: by a person, for a reason, on record."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from django.db import transaction

from audit import continuity, fsck, log, losses, publisher, sequencer
from audit.refusal import Refusal
from config import entrance, restoration
from registry import memberships, stops
from registry.models import Person, Workspace

RESTORED = "audit.backup.restored"


@dataclass(frozen=True)
class Evidence:
    """What somebody kept outside: checkpoints (notes) and receipts, as text."""

    notes: tuple[str, ...] = ()
    receipts: tuple[str, ...] = ()


@dataclass(frozen=True)
class Terms:
    """What a person accepts. `lost`: log -> size of the checkpoint whose records are lost; `new_keys`: logs whose
    signing key is lost; `unproven`: that nothing from outside speaks for a restored log. Its old key may have signed
    more than is there, so it signs no further either.
    """

    reason: str
    lost: Mapping[UUID, int] = field(default_factory=dict)
    new_keys: frozenset[UUID] = frozenset()
    unproven: bool = False


@dataclass(frozen=True)
class Report:
    """One log: against what was kept outside, and from its own rows up. `proven`: something from outside speaks for it,
    beside what came out of the backup itself.
    """

    finding: continuity.Finding
    damage: tuple[str, ...]
    proven: bool

    @property
    def whole(self) -> bool:
        """Whether nothing speaks against the log."""
        return not (self.finding.lost or self.finding.problems or self.damage)


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
        proven = given.get(log_id, False) if log_id in own else finding.proven
        reports.append(Report(finding, tuple(damage), proven and not damage))
    return reports


def accept(evidence: Evidence, terms: Terms, *, by: Person, now: datetime, correlation_id: str) -> list[str]:
    """Let Placet go on with the database as it is. Return what was done, a line each. May be repeated.

    A workspace that lost something, or for which nothing speaks, is stopped first: what the lost time revoked is valid
    again until somebody has looked.

    :raises Refusal: log_damaged, loss_unaccepted, unproven, reason_missing, role_missing, publisher_refuses.
    :raises verify.NotVerified: something that was given is by none of our keys.
    """
    if not terms.reason.strip():
        raise Refusal("reason_missing", "Say why, in one sentence.", field="reason")
    for workspace in terms.new_keys:
        losses.relist(workspace)
    reports, restored = check(evidence), restoration.pending()
    _known({*terms.lost, *terms.new_keys}, reports)
    _require(reports, terms, restored is not None)
    _authorise([one for one in reports if _concerned(one, terms, restored is not None)] or reports, by)
    how: dict[str, Any] = {"now": now, "correlation_id": correlation_id}
    done, stopped = [], [one for one in reports if _doubtful(one, restored is not None)]
    with transaction.atomic():
        for slug in _stop(stopped, terms.reason, by, now, correlation_id):
            done.append(f"{slug} is stopped; lift the stop when you have looked: placet stops list")
        for one in reports:
            if restored is not None or not one.whole:
                _record(one, restored, terms.reason, by, now, correlation_id)
    for one in reports:
        if (what := _ended_by(one, terms, restored is not None)) is None:
            continue
        workspace, loss = one.finding.workspace, losses.Loss(what, one.finding.note, terms.reason)
        key = losses.begin_epoch(workspace, loss, actor=by.actor, **how)
        done.append(f"log {workspace} goes on in a new epoch; its key, for the auditors:\n{key.public}")
    for one in reports:
        losses.settle_copy(one.finding.workspace)
    _publish()
    if entrance.shut():
        entrance.open()
        done.append("the database is open again; start Placet")
    restoration.forget()
    return done


def _ended_by(report: Report, terms: Terms, restored: bool) -> str | None:
    """Return what ends the epoch of a log, None if it goes on under its name: no signature can contradict it then."""
    workspace = report.finding.workspace
    if workspace in terms.lost and report.finding.lost and not _only_receipts(report):
        return "records"
    if workspace in terms.new_keys:
        return "key"
    # What was published after the backup is in nobody's hands here; it may be in somebody's.
    return "unproven" if restored and report.whole and not report.proven and report.finding.published else None


def _known(named: set[UUID], reports: Iterable[Report]) -> None:
    """:raises Refusal: log_unknown: somebody named a log that there is not."""
    for workspace in named - {one.finding.workspace for one in reports}:
        detail = f"There is no log {workspace}: --lost and --new-key take the id that `recovery check` prints."
        raise Refusal("log_unknown", detail, status=404, field="lost")


def _require(reports: Iterable[Report], terms: Terms, restored: bool) -> None:
    for one in reports:
        finding = one.finding
        if one.damage:
            detail = f"Log {finding.workspace} is damaged ({one.damage[0]}). Restore another backup."
            raise Refusal("log_damaged", detail, status=409)
        if not one.whole and terms.lost.get(finding.workspace) != finding.published:
            what = finding.problems[0] if finding.problems else f"{len(finding.missing)} promised records are missing"
            detail = (
                f"Log {finding.workspace}: {what}. Look for the right database first. If it exists nowhere any more, "
                f"say so: --lost {finding.workspace}={finding.published}"
            )
            raise Refusal("loss_unaccepted", detail, status=409)
        if restored and not one.proven and one.whole and not terms.unproven:
            detail = (
                f"Nothing from outside speaks for log {finding.workspace}: what came after the backup may be missing. "
                "Give a checkpoint or receipt that somebody kept (--checkpoint, --receipt), or accept that: --unproven."
            )
            raise Refusal("unproven", detail, status=409)


def _concerned(report: Report, terms: Terms, restored: bool) -> bool:
    return _doubtful(report, restored) or report.finding.workspace in terms.new_keys


def _authorise(reports: Iterable[Report], by: Person) -> None:
    """:raises Refusal: role_missing: the person may stop none of the workspaces that this is about.

    One is enough: who can run this holds the owner's password; the role says whose name goes on record. Where the
    database has lost all of them, one of the others has to know the person.
    """
    concerned = Workspace.objects.filter(pk__in=[one.finding.workspace for one in reports])
    found = concerned if concerned.exists() else Workspace.objects.all()
    if not any(memberships.roles_of(by, row.pk) & set(stops.ROLES) for row in found):
        detail = "Name an operator, security or admin of a workspace that this is about, with --as."
        raise Refusal("role_missing", detail, status=403)


def _doubtful(report: Report, restored: bool) -> bool:
    return not report.whole or (restored and not report.proven)


def _only_receipts(report: Report) -> bool:
    """Whether all that was published is there: then no signature contradicts the log, and it goes on as it was."""
    return not report.finding.rewritten and report.finding.published <= report.finding.size


def _stop(reports: Iterable[Report], reason: str, by: Person, now: datetime, correlation_id: str) -> list[str]:
    rows = Workspace.objects.filter(pk__in=[one.finding.workspace for one in reports]).order_by("slug")
    for row in rows:
        stops.set_at_the_machine(row, reason=reason, by=by, now=now, correlation_id=correlation_id)
    return [row.slug for row in rows]


def _record(
    report: Report, restored: restoration.Restored | None, reason: str, by: Person, now: datetime, correlation_id: str
) -> None:
    finding = report.finding
    log.append(
        RESTORED,
        workspace=finding.workspace,
        actor=by.actor,
        correlation_id=correlation_id,
        now=now,
        data={
            "backup": restored.at.isoformat() if restored and restored.at else None,
            "size": finding.size,
            "published": finding.published,
            "proven": report.proven,
            "receipts_missing": finding.missing[: fsck.MOST_PROBLEMS],
            "reason": log.Sealed(reason, subject=by.actor),
        },
    )


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
