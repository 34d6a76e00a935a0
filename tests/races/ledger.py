"""The independent checker of agreement: it replays the records in the order of their commits, and asks at each move of
a slot whether what was committed until then is a quorum. Its own SQL, its own rules; nothing of registry.quorum.

What counts is what was committed before the activation was: a deactivation, a revocation of a grant or of a version, a
withdrawal, a request for changes or another charter that was committed a microsecond earlier makes it a violation.
Only an approval's own time is no commit: it has to outlive the moment when the activation was asked to finish.
"""

import json
from dataclasses import dataclass, field
from datetime import datetime

from tests.gateway.stage import query
from tests.races import commits


@dataclass
class Said:
    """A verdict."""

    proposal: str
    version: str
    person: str
    role: str
    verdict: str
    expires_at: datetime
    withdrawn: bool = False


@dataclass
class Asked:
    """A proposal."""

    version: str
    environment: str | None
    proposer: str
    charter: str
    grants: frozenset[str]
    end: str = ""


@dataclass
class Held:
    """A grant."""

    person: str
    role: str
    environment: str | None
    confirmed: bool
    revoked: bool = False


@dataclass
class Ledger:
    """What the records of a workspace say. :ivar wrong: the violations found so far, in words."""

    workspace: object
    active: dict[str, bool] = field(default_factory=dict)
    grants: dict[str, Held] = field(default_factory=dict)
    hands: dict[str, set[str]] = field(default_factory=dict)
    asked: dict[str, Asked] = field(default_factory=dict)
    said: dict[str, Said] = field(default_factory=dict)
    ended: set[str] = field(default_factory=set)
    live: dict[tuple[str | None, str], str] = field(default_factory=dict)
    agreed: set[tuple[str | None, str]] = field(default_factory=set)
    finished: dict[str, str] = field(default_factory=dict)
    wrong: list[str] = field(default_factory=list)
    activated: int = 0
    last: object = None

    def __post_init__(self):
        self.protected = dict(
            query("SELECT id::text, protected FROM registry_environment WHERE workspace_id = %s", self.workspace)
        )
        self.versions: dict[str, tuple[str, str]] = {}
        self.pins: dict[str, set[str]] = {}
        self.quorums: dict[str, int] = {}
        rows = query(
            """SELECT g.id::text, 'person:' || m.person_id, g.role, g.environment_id::text,
                      g.confirmed_at IS NOT NULL, g.revoked_at IS NOT NULL, m.active
               FROM registry_grant g JOIN registry_membership m ON m.id = g.membership_id WHERE m.workspace_id = %s""",
            self.workspace,
        )
        for pk, person, role, where, confirmed, revoked, active in rows:
            self.grants[pk] = Held(person, role, where, confirmed, revoked)
            self.active[person] = active
        [(charter,)] = query(
            """SELECT v.digest FROM registry_slot s JOIN registry_version v ON v.id = s.version_id
               WHERE s.workspace_id = %s AND s.environment_id IS NULL""",
            self.workspace,
        )
        self.live[None, "charter/charter"] = charter

    def read(self, started):
        """Replay what has been committed since the last time.

        :param started: correlation id of what finished an activation -> the database's time before it began.
        """
        fresh = commits.records(self.workspace, self.last)
        if fresh:
            self.last = max(record.id for record in fresh)
        self._learn()
        for record in fresh:
            name = "_" + record.event.removeprefix("registry.").replace(".", "_")
            step = getattr(self, name, None)
            if step is not None:
                step(record, started)

    def compare(self):
        """Say where the rows are not what the records say: then a change was lost, or made without a record."""
        self._same("memberships", self.active, _MEMBERSHIPS)
        self._same("grants", {pk: row.revoked for pk, row in self.grants.items()}, _GRANTS)
        self._same("approvals", {pk: row.withdrawn for pk, row in self.said.items()}, _APPROVALS)
        self._same("proposals", {pk: row.end or "open" for pk, row in self.asked.items()}, _PROPOSALS)
        self._same("slots", {f"{place}/{what}": digest for (place, what), digest in self.live.items()}, _SLOTS)
        for what, count in query(_TWICE, self.workspace):
            self.wrong.append(f"{count} rows for the slot of {what}")

    def _same(self, what, told, sql):
        rows = dict(query(sql, self.workspace))
        differ = {
            key: (told.get(key), rows.get(key)) for key in told.keys() | rows.keys() if told.get(key) != rows.get(key)
        }
        if differ:
            self.wrong.append(f"{what}: records and rows differ (record, row): {differ}")

    def _learn(self):
        """Read what never changes about versions that are new."""
        rows = query(
            "SELECT digest, kind, name, content FROM registry_version WHERE workspace_id = %s AND digest <> ALL (%s)",
            self.workspace,
            list(self.versions),
        )
        for digest, kind, name, content in rows:
            document = json.loads(bytes(content))
            self.versions[digest] = (kind, name)
            self.pins[digest] = {pin["digest"] for pin in document.get("pins", [])}
            if kind == "charter":
                self.quorums[digest] = document["quorum"]["default"]["approvals"]

    # One method for each event that matters.

    def _membership_created(self, record, started):
        self.active["person:" + record.subjects["person"]] = True

    def _membership_activated(self, record, started):
        person = "person:" + record.subjects["person"]
        self.active[person] = True
        for row in self.grants.values():
            if row.person == person and not row.revoked:
                row.confirmed = False

    def _membership_deactivated(self, record, started):
        self.active["person:" + record.subjects["person"]] = False

    def _grant_created(self, record, started):
        person = "person:" + record.subjects["person"]
        self.grants[record.subjects["grant"]] = Held(person, record.data["role"], record.data["environment"], False)

    def _grant_confirmed(self, record, started):
        self.grants[record.subjects["grant"]].confirmed = True

    def _grant_revoked(self, record, started):
        row = self.grants[record.subjects["grant"]]
        if row.revoked:
            self.wrong.append(f"grant {record.subjects['grant']} was revoked twice")
        row.revoked = True

    def _version_created(self, record, started):
        people = {f"person:{person}" for person in record.data["contributors"]}
        self.hands.setdefault(record.subjects["version"], set()).update(people)

    _version_described = _version_created

    def _version_revoked(self, record, started):
        self.ended.add(record.subjects["version"])

    _version_retired = _version_revoked

    def _proposal_opened(self, record, started):
        self._version_created(record, started)
        # In a protected environment nobody counts whose grant was confirmed later than this.
        settled = frozenset(pk for pk, row in self.grants.items() if row.confirmed and not row.revoked)
        self.asked[record.subjects["proposal"]] = Asked(
            record.subjects["version"], record.data["environment"], record.actor, record.data["charter"], settled
        )

    def _end(self, record, started):
        row = self.asked[record.subjects["proposal"]]
        if row.end:
            self.wrong.append(f"proposal {record.subjects['proposal']} ended as {row.end} and again: {record.event}")
        row.end = record.event.rpartition(".")[2]

    _proposal_approved = _proposal_rejected = _proposal_withdrawn = _proposal_expired = _end

    def _approval_created(self, record, started):
        data = record.data
        proposal = self.asked[record.subjects["proposal"]]
        if data["verdict"] == "approve" and proposal.end not in ("", "approved"):
            self.wrong.append(f"an approval came after its proposal was {proposal.end}")
        self.said[data["approval"]] = Said(
            record.subjects["proposal"],
            data["approved"],
            record.actor,
            data["role"],
            data["verdict"],
            datetime.fromisoformat(data["expires_at"]),
        )

    def _approval_withdrawn(self, record, started):
        row = self.said[record.data["approval"]]
        if row.withdrawn:
            self.wrong.append(f"approval {record.data['approval']} was withdrawn twice")
        row.withdrawn = True

    def _activation_finished(self, record, started):
        kind, digest = record.data["kind"], record.subjects["version"]
        place = (record.data["environment"], "/".join(self.versions[digest]))
        if record.subjects["activation"] in self.finished:
            self.wrong.append(f"activation {record.subjects['activation']} was finished twice")
        self.finished[record.subjects["activation"]] = digest
        if record.data["previous"] != self.live.get(place):
            self.wrong.append(
                f"{place}: {digest} says it replaced {record.data['previous']}, not {self.live.get(place)}"
            )
        missing = self._missing(record, started) if kind == "activate" else self._unfit(place[0], digest)
        if missing:
            self.wrong.append(f"{kind} of {place} to {digest[:15]} at {record.at}: {'; '.join(missing)}")
        self.activated += 1
        self.live[place] = digest
        if kind == "activate":
            self.agreed |= {(place[0], each) for each in (digest, *self.pins[digest])}

    # The rules.

    def _unfit(self, environment, digest):
        """Return what speaks against a rollback."""
        found = [] if (environment, digest) in self.agreed else ["it was never live by agreement"]
        return found + [f"{each[:15]} is revoked" for each in {digest, *self.pins[digest]} & self.ended]

    def _missing(self, record, started):
        """Return what speaks against an activation."""
        digest, pk = record.subjects["version"], record.subjects.get("proposal")
        found = [f"{each[:15]} is revoked" for each in {digest, *self.pins[digest]} & self.ended]
        if pk is None or self.asked[pk].version != digest:
            return [*found, "no proposal of it"]
        asked, at = self.asked[pk], started[record.correlation_id]
        if asked.end != "approved":
            found.append(f"the proposal is {asked.end or 'open'}")
        if self._objected(pk):
            found.append("somebody's request for changes stands")
        new = {
            part
            for part in self.pins[digest]
            if (asked.environment, part) not in self.agreed and not self._elsewhere(part, pk, at)
        }
        concerned = {digest, *new}
        barred = {asked.proposer}.union(*(self.hands.get(each, set()) for each in concerned))
        for each in sorted(concerned):
            who = self._standing(pk, each, at) - barred
            if len(who) < self._needed(asked):
                found.append(f"{'/'.join(self.versions[each])} has {len(who)} of {self._needed(asked)} approvals")
        return found

    def _needed(self, asked):
        return 1 if asked.environment is None else self.quorums[self.live[None, "charter/charter"]]

    def _objected(self, proposal):
        return any(
            row.proposal == proposal and row.verdict == "request_changes" and not row.withdrawn
            for row in self.said.values()
        )

    def _standing(self, proposal, version, at):
        """Return who has approved `version` in `proposal`, and still may."""
        return {
            row.person
            for row in self.said.values()
            if (row.proposal, row.version, row.verdict, row.withdrawn) == (proposal, version, "approve", False)
            and row.expires_at > at
            and self._may(row, self.asked[proposal])
        }

    def _may(self, row, asked):
        if not self.active.get(row.person, False):
            return False
        guarded = asked.environment is None or self.protected[asked.environment]
        return any(
            (grant.person, grant.role, grant.revoked) == (row.person, row.role, False)
            and grant.environment in (None, asked.environment)
            and (not guarded or (grant.confirmed and pk in asked.grants))
            for pk, grant in self.grants.items()
        )

    def _elsewhere(self, part, proposal, at):
        """Say whether another approved proposal of the environment holds a quorum for a part."""
        here = self.asked[proposal]
        for pk, other in self.asked.items():
            if pk == proposal or other.environment != here.environment or other.end != "approved" or self._objected(pk):
                continue
            barred = {other.proposer} | self.hands.get(part, set()) | self.hands.get(other.version, set())
            if len(self._standing(pk, part, at) - barred) >= self._needed(here):
                return True
        return False


_MEMBERSHIPS = "SELECT 'person:' || person_id, active FROM registry_membership WHERE workspace_id = %s"
_GRANTS = """
SELECT g.id::text, g.revoked_at IS NOT NULL FROM registry_grant g
JOIN registry_membership m ON m.id = g.membership_id WHERE m.workspace_id = %s
"""
_APPROVALS = """
SELECT a.id::text, a.withdrawn_at IS NOT NULL FROM registry_approval a
JOIN registry_proposal p ON p.id = a.proposal_id WHERE p.workspace_id = %s
"""
_PROPOSALS = "SELECT id::text, state FROM registry_proposal WHERE workspace_id = %s"
_SLOTS = """
SELECT coalesce(s.environment_id::text, 'None') || '/' || a.kind || '/' || a.name, v.digest FROM registry_slot s
JOIN registry_artifact a ON a.id = s.artifact_id LEFT JOIN registry_version v ON v.id = s.version_id
WHERE s.workspace_id = %s
"""
_TWICE = """
SELECT artifact_id, count(*) FROM registry_slot WHERE workspace_id = %s GROUP BY environment_id, artifact_id
HAVING count(*) > 1
"""
