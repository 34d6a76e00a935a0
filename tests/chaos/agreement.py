"""I8: nothing goes live without a quorum for its digest, a rollback to what was live, or a break-glass on record."""

from collections import defaultdict
from typing import Any
from uuid import UUID

from tests.chaos.evidence import Case, Report

RISKS = ("low", "medium", "high")
# When it happened is when it was committed, where PostgreSQL stamps that.
_HISTORY = """
SELECT h.id, h.kind,
       coalesce(CASE WHEN current_setting('track_commit_timestamp') = 'on' THEN pg_xact_commit_timestamp(h.xmin) END,
                h.at) AS at,
       h.environment_id, e.name AS environment, h.artifact_id, h.version_id, v.digest,
       a.id AS activation, a.kind AS asked, a.state, a.proposal_id, a.expires_at, a.version_id AS wanted
FROM registry_slothistory h JOIN registry_artifact f ON f.id = h.artifact_id
LEFT JOIN registry_version v ON v.id = h.version_id LEFT JOIN registry_activation a ON a.id = h.activation_id
LEFT JOIN registry_environment e ON e.id = h.environment_id
WHERE f.workspace_id = %s ORDER BY 3, h.id
"""
_VERSIONS = """
SELECT v.id, v.kind, v.digest, convert_from(v.content, 'UTF8')::jsonb AS content,
       ARRAY(SELECT p.part_id FROM registry_pin p WHERE p.version_id = v.id) AS parts,
       ARRAY(SELECT c.person_id FROM registry_contributor c WHERE c.version_id = v.id) AS hands
FROM registry_version v WHERE v.workspace_id = %s
"""
_APPROVALS = """
SELECT a.version_id, a.digest, a.environment_id, a.approver_id, a.role, a.verdict, a.at, a.expires_at, a.withdrawn_at,
       a.proposal_id, p.proposer_id, p.environment_id AS proposed_for
FROM registry_approval a JOIN registry_proposal p ON p.id = a.proposal_id WHERE p.workspace_id = %s
"""
_REQUESTED = """
SELECT convert_from(body, 'UTF8')::jsonb #>> '{subjects,activation}' AS activation,
       convert_from(body, 'UTF8')::jsonb #>> '{data,kind}' AS kind
FROM audit_record WHERE workspace = %s AND event = 'registry.activation.requested'
"""


def activations_agreed(case: Case, report: Report) -> None:
    """I8: each time something went live, enough people who had no hand in it had agreed to these very bytes."""
    registry = _Registry(case)
    been: dict[Any, set[UUID]] = defaultdict(set)  # what was agreed to, by environment, parts of releases included
    for row in case.rows(_HISTORY, case.workspace):
        report.saw("I8")
        version = registry.versions.get(row.version_id)
        if wrong := registry.wrong(row, been[row.environment_id]):
            report.broke("I8", f"{row.digest} in {row.environment or 'the charter'} went live {wrong}")
        elif row.kind == "activate":
            for part in [row.version_id, *registry.versions[row.version_id].parts]:
                if part == row.version_id or part not in been[row.environment_id]:
                    report.saw("I8")
                    registry.count(registry.versions[part], row, report)
        if version is not None and row.kind in ("founding", "activate"):
            been[row.environment_id] |= {version.id, *version.parts}
        if version is not None and version.kind == "charter":
            registry.charter = version.content


class _Registry:
    """Versions, approvals and requests on record of one workspace, and the charter in force as the history goes on."""

    def __init__(self, case: Case) -> None:
        self.charter: Any = None
        self.versions = {row.id: row for row in case.rows(_VERSIONS, case.workspace)}
        self.said = defaultdict(list)
        for row in case.rows(_APPROVALS, case.workspace):
            self.said[row.version_id].append(row)
        self.requested = {row.activation: row.kind for row in case.rows(_REQUESTED, case.workspace)}

    def wrong(self, row: Any, been: set[UUID]) -> str:
        """Return what is wrong with how `row` went live, quorum aside; empty if nothing is."""
        if row.kind == "founding":
            return "as a founding, of what had been founded" if been else ""
        if self.requested.get(str(row.activation)) != row.asked:
            return "by an activation that nobody is on record to have asked for"
        if row.kind != "revert" and (row.state != "live" or row.wanted != row.version_id or row.kind != row.asked):
            return f"by an activation of something else: {row.asked} of {row.wanted}, {row.state}"
        if row.kind == "rollback" and row.version_id not in been:
            return "once more, and had never been live by agreement"
        if row.kind == "break_glass" and row.expires_at is None:
            return "by a break-glass without an end"
        return ""

    def count(self, version: Any, row: Any, report: Report) -> None:
        """Count who had agreed to `version` when `row` went live, by the charter in force then."""
        release = self.versions[row.version_id]
        given: dict[UUID, dict[UUID, str]] = defaultdict(dict)
        for one in self.said[version.id]:
            stood = one.at <= row.at and (one.withdrawn_at is None or one.withdrawn_at > row.at)
            if one.verdict == "request_changes" and stood and one.proposal_id == row.proposal_id:
                report.broke("I8", f"{version.kind} {version.digest} went live against a request for changes")
            hands = {*version.hands, one.proposer_id, *(release.hands if one.proposal_id == row.proposal_id else ())}
            counts = (
                stood
                and one.verdict == "approve"
                and one.digest == version.digest
                and one.environment_id == one.proposed_for == row.environment_id
                and row.at < one.expires_at
                and one.approver_id not in hands
            )
            if counts:
                given[one.proposal_id][one.approver_id] = one.role
        # The version itself by this proposal alone; a part also by another one.
        asked = [row.proposal_id] if version.id == release.id else list(given)
        risk = _risk(version, self.versions)
        if not any(_met(self.charter, version, risk, row.environment, given[one]) for one in asked):
            report.broke("I8", f"{version.kind} {version.digest} in {row.environment} had no quorum: {dict(given)}")


def _met(charter: Any, version: Any, risk: str, environment: str | None, given: dict[UUID, str]) -> bool:
    quorum = charter["quorum"]
    rules = [
        rule
        for rule in quorum.get("rules", [])
        if rule.get("kind", version.kind) == version.kind
        and rule.get("environment", environment) == environment
        and RISKS.index(rule.get("risk", "low")) <= RISKS.index(risk)
    ]
    for rule in rules or [quorum["default"]]:
        roles = [role for role in given.values() if role in rule["roles"]]
        if len(roles) < rule["approvals"] or set(rule["roles"]) - set(roles):
            return False
    return True


def _risk(version: Any, versions: Any) -> str:
    tools = [versions[part] for part in version.parts] if version.kind == "agent" else [version]
    return max((tool.content["risk"] for tool in tools if tool.kind == "tool"), key=RISKS.index, default="low")
