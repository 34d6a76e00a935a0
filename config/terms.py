"""What a person accepts of a database that came back, and what has to be accepted before Placet goes on with it."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from uuid import UUID

from audit import continuity, keys, losses
from audit.refusal import Refusal
from config.restoration import Restored
from registry import memberships, stops
from registry.models import Person, Workspace


@dataclass(frozen=True)
class Terms:
    """What a person accepts. `lost`: log -> size of the checkpoint whose records are lost; `new_keys`: logs whose
    signing key is lost; `adopted`: logs of which the copy outside is lost, and that go on from the last checkpoint that
    is known; `unproven`: that nothing from outside speaks for a log that was restored, or of which no checkpoint is
    known. Its old key may have signed more than is there, so it signs no further either.
    """

    reason: str
    lost: Mapping[UUID, int] = field(default_factory=dict)
    new_keys: frozenset[UUID] = frozenset()
    adopted: frozenset[UUID] = frozenset()
    unproven: bool = False

    @property
    def named(self) -> set[UUID]:
        """The logs that are spoken of."""
        return {*self.lost, *self.new_keys, *self.adopted}


@dataclass(frozen=True)
class Report:
    """One log: against what was kept outside, and from its own rows up. `proven`: something from outside speaks for it,
    beside what came out of the backup itself. `last`: the newest checkpoint in the database; `copy`: whether there is
    one outside of it. `forgotten`: its key has signed, and nobody here knows what.
    """

    finding: continuity.Finding
    damage: tuple[str, ...]
    proven: bool
    last: str | None = None
    copy: bool = True
    forgotten: bool = False

    @property
    def whole(self) -> bool:
        """Whether nothing speaks against the log."""
        return not (self.finding.lost or self.finding.problems or self.damage)


def require(reports: Sequence[Report], terms: Terms, restored: Restored | None, by: Person) -> None:
    """Do nothing if all that has to be accepted is, by somebody who may.

    :raises Refusal: log_unknown, key_present, checkpoint_unknown, log_damaged, loss_unaccepted, unproven, role_missing.
    """
    _known(terms.named, reports)
    _missing(terms.new_keys)
    for one in reports:
        _require(one, terms, restored)
    _authorise([one for one in reports if _concerned(one, terms, restored)] or reports, by)


def ended_by(report: Report, terms: Terms, restored: Restored | None) -> str | None:
    """Return what ends the epoch of a log, None if it goes on under its name: no signature can contradict it then.

    Or if it was ended already, by a try that was cut short.
    """
    workspace = report.finding.workspace
    if workspace in terms.lost and report.finding.lost and not _only_receipts(report):
        return "records"
    if workspace in terms.new_keys and not losses.begun(workspace):
        return "key"
    if not report.whole or not doubtful(report, restored) or not (report.finding.published or report.forgotten):
        return None
    # What was published after the backup is in nobody's hands here; it may be in somebody's.
    return None if _renewed(workspace, restored) else "unproven"


def adopted(report: Report, terms: Terms) -> str | None:
    """Return the checkpoint that is taken for the log's last one, None if there is a copy of it, or no talk of it."""
    wanted = report.finding.workspace in terms.adopted and not report.copy
    return (report.last or report.finding.note) if wanted else None


def _renewed(workspace: UUID, restored: Restored | None) -> bool:
    """Whether the log was given a new epoch since somebody first set about accepting what was restored."""
    if restored is None or not restored.keys:
        return False
    return losses.begun(workspace, instead_of=restored.keys.get(workspace, ""))


def _known(named: set[UUID], reports: Iterable[Report]) -> None:
    """:raises Refusal: log_unknown: somebody named a log that there is not."""
    for workspace in named - {one.finding.workspace for one in reports}:
        detail = f"There is no log {workspace}: --lost, --new-key and --adopt take the id that `recovery check` prints."
        raise Refusal("log_unknown", detail, status=404, field="lost")


def _missing(new_keys: Iterable[UUID]) -> None:
    """:raises Refusal: key_present: a key that is said to be lost is there, and has signed what there is."""
    for workspace in new_keys:
        try:
            keys.checkpoint(workspace)
        except keys.KeyMissing:
            continue
        if not losses.begun(workspace):
            detail = (
                f"Log {workspace} has its key. One that leaked is followed by another with `manage.py keys rotate "
                "checkpoint`; one that is not this log's has to be moved away first."
            )
            raise Refusal("key_present", detail, status=409, field="new_key")


def _require(report: Report, terms: Terms, restored: Restored | None) -> None:
    finding = report.finding
    if report.damage:
        detail = f"Log {finding.workspace} is damaged ({report.damage[0]}). Restore another backup."
        raise Refusal("log_damaged", detail, status=409)
    if not report.whole and terms.lost.get(finding.workspace) != finding.published:
        what = finding.problems[0] if finding.problems else f"{len(finding.missing)} promised records are missing"
        detail = (
            f"Log {finding.workspace}: {what}. Look for the right database first. If it exists nowhere any more, "
            f"say so: --lost {finding.workspace}={finding.published}"
        )
        raise Refusal("loss_unaccepted", detail, status=409)
    if adopted(report, terms) == "":
        detail = f"Neither the database nor what you gave has a checkpoint of log {finding.workspace} to go on from."
        raise Refusal("checkpoint_unknown", detail, status=409, field="adopt")
    if not report.whole or terms.unproven or not doubtful(report, restored):
        return
    if not _renewed(finding.workspace, restored):
        detail = (
            f"Nothing from outside speaks for log {finding.workspace}: what came after may be missing. "
            "Give a checkpoint or receipt that somebody kept (--checkpoint, --receipt), or accept that: --unproven."
        )
        raise Refusal("unproven", detail, status=409)


def _concerned(report: Report, terms: Terms, restored: Restored | None) -> bool:
    return doubtful(report, restored) or report.finding.workspace in {*terms.new_keys, *terms.adopted}


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


def doubtful(report: Report, restored: Restored | None) -> bool:
    """Whether it lost something, or nothing speaks for it."""
    return not report.whole or ((restored is not None or report.forgotten) and not report.proven)


def _only_receipts(report: Report) -> bool:
    """Whether all that was published is there: then no signature contradicts the log, and it goes on as it was."""
    return not report.finding.rewritten and report.finding.published <= report.finding.size
