"""I1 to I10 of the design, checked from the database, the tools' own log and what clients kept; never from our logs.

    report = invariants.check(Case(connection, workspace, effects=…, asked=…))
    assert not report.violations, report.violations

The SQL and the arithmetic are the checks' own. Each is shown able to fail in test_invariants.py.
"""

from collections import Counter, defaultdict
from typing import Any

from tests.chaos import agreement, proofs
from tests.chaos.evidence import Case, Effect, Report, by_tool, moment

NAMES = tuple(f"I{number}" for number in range(1, 11))
ENDED = ("succeeded", "failed", "cancelled", "compensated", "compensation_failed")
_DECISIONS = """
SELECT convert_from(body, 'UTF8')::jsonb #>> '{subjects,call}' AS call,
       (convert_from(body, 'UTF8')::jsonb #>> '{data,attempt}')::int AS number, count(*) AS records
FROM audit_record WHERE workspace = %s AND event = 'gateway.call.decided' GROUP BY 1, 2
"""
# A run that waits has a step that says for what, and something that will wake it.
_RUNS = """
SELECT r.id, r.key, r.state, r.wait, r.cancel_requested_at, s.state AS step, s.no, c.state AS call, h.state AS hold,
       s.state = 'leased' AND s.lease_until > clock_timestamp() AS leased,
       s.state = 'retry_at' AND s.not_before > clock_timestamp() AS timed,
       s.state IN ('leased', 'retry_at', 'ready')
           AND s.rung_at < clock_timestamp() - interval '60 s'
           AND coalesce(s.lease_until, s.not_before, '-infinity') < clock_timestamp() - interval '60 s' AS forgotten
FROM agents_run r
LEFT JOIN LATERAL (SELECT * FROM agents_step s WHERE s.run_id = r.id ORDER BY s.state IN ('done', 'dead'), s.no DESC
                   LIMIT 1) s ON true
LEFT JOIN gateway_call c ON c.id = s.call_id LEFT JOIN gateway_hold h ON h.id = s.hold
WHERE r.workspace_id = %s
"""
_BUDGETS = """
SELECT digest, convert_from(content, 'UTF8')::jsonb -> 'budgets' AS budgets FROM registry_version
WHERE workspace_id = %s AND kind = 'agent'
"""
_USED = """
SELECT convert_from(body, 'UTF8')::jsonb #>> '{subjects,call}' AS call,
       sum((convert_from(body, 'UTF8')::jsonb #>> '{data,usage,tokens}')::bigint) AS tokens,
       sum((convert_from(body, 'UTF8')::jsonb #>> '{data,usage,cost_micro_usd}')::bigint) AS cost_micro_usd
FROM audit_record WHERE workspace = %s AND event IN ('gateway.call.completed', 'gateway.call.failed') GROUP BY 1
"""
_HOLDS = """
SELECT h.id, h.state, h.call_id, h.requirements, h.run_starter, h.session_opener, h.credential_owner, h.on_behalf_of,
       ARRAY(SELECT 'person:' || a.approver_id FROM gateway_holdapproval a
             WHERE a.hold_id = h.id AND a.verdict = 'approved' AND a.digest = h.digest) AS approvers
FROM gateway_hold h WHERE h.workspace_id = %s
"""
_ALLOWED = """
SELECT b.revision FROM registry_bundle b WHERE b.workspace_id = %s
"""
_LIVE = """
SELECT v.digest FROM registry_slothistory s JOIN registry_version v ON v.id = s.version_id WHERE v.workspace_id = %s
"""


def check(case: Case) -> Report:
    """Check every invariant; what the case does not bring along is not looked at."""
    report = Report(dict.fromkeys(NAMES, 0))
    for one in (
        effect_after_decision,
        no_effect_unless_allowed,
        proofs.acknowledged_is_in_the_tree,
        proofs.checkpoints_continue,
        no_effect_twice,
        no_run_lost,
        budgets_hold,
        agreement.activations_agreed,
        never_allowed_by_fault,
        proofs.export_verifies,
    ):
        one(case, report)
    return report


def effect_after_decision(case: Case, report: Report) -> None:
    """I1: the effect of each attempt has exactly one allowing decision record, committed earlier."""
    for value, effects in case.done.items():
        allowed = [attempt for attempt in case.tried.get(value, ()) if _allows(attempt)]
        for tool in {effect.tool for effect in effects}:
            acted = by_tool(effects, tool)
            report.saw("I1", len(acted))
            before = [one for one in allowed if tool in ("", one.tool)]
            for count, effect in enumerate(acted, 1):
                committed = [one for one in before if not effect.at or moment(one) <= effect.at]
                if sum(one.tries for one in committed) < count:
                    report.broke("I1", f"effect {count} of {tool} on {value}: {len(committed)} decisions before it")
    records = {(row.call, row.number): row.records for row in case.rows(_DECISIONS, case.workspace)}
    for attempt in case.attempts:
        report.saw("I1")
        if records.pop((str(attempt.call), attempt.number), 0) != 1:
            report.broke("I1", f"attempt {attempt.number} of {attempt.call} has not exactly one decision record")
    for call, number in records:
        report.broke("I1", f"attempt {number} of {call} has a decision record and is no attempt")


def no_effect_unless_allowed(case: Case, report: Report) -> None:
    """I2: no effect for a deny or a hold; and what was held has happened only by the word of enough others."""
    denied = {asked.key for asked in case.asked if asked.expect == "deny"}
    holds = {row.id: row for row in case.rows(_HOLDS, case.workspace)}
    for value, attempts in case.tried.items():
        for tool in {attempt.tool for attempt in attempts if attempt.verdict != "allow"}:
            report.saw("I2")
            acted = by_tool(case.done.get(value, ()), tool)
            if acted and not any(_allows(one) and one.tool == tool for one in attempts):
                report.broke("I2", f"{tool} acted on {value}, which was never allowed")
        for one in attempts:
            if one.hold is not None and _allows(one):
                report.saw("I2")
                _approved(holds.get(one.hold), one, report)
    for value in denied:
        report.saw("I2")
        if case.done.get(value):
            report.broke("I2", f"there is an effect on {value}, which the policies deny")
    held = {asked.key for asked in case.asked if asked.expect == "hold"}
    for one in case.attempts:
        if one.value in held or one.name in case.held:
            report.saw("I2")
            if _allows(one) and one.hold is None:
                report.broke("I2", f"{one.value} was allowed without the person whom the policies ask for")


def no_effect_twice(case: Case, report: Report) -> None:
    """I5: a keyed or unsafe tool acts at most once a call; whatever repeats a call bears the same key."""
    effect_of = {(one.value, one.tool): one.effect for one in case.attempts}
    for value, effects in case.done.items():
        for tool in {effect.tool for effect in effects}:
            acted = by_tool(effects, tool)
            kind = effect_of.get((value, tool)) or next((k for (v, _), k in effect_of.items() if v == value), "")
            report.saw("I5")
            if kind in ("keyed", "unsafe") and len(acted) > 1:
                report.broke("I5", f"{tool} ({kind}) acted {len(acted)} times on {value}")
            if len({effect.key for effect in acted}) > 1:
                report.broke("I5", f"{tool} saw several keys for {value}")
    for attempts in case.tried.values():
        decided = Counter(one.call for one in attempts if one.effect == "unsafe" and _allows(one) and not _undone(one))
        for call, count in decided.items():
            if count > 1:
                report.broke("I5", f"unsafe call {call} was allowed {count} times")


def no_run_lost(case: Case, report: Report) -> None:
    """I6: every run is at its end or has a live lease, a timer or a wait; every decided attempt has an outcome."""
    rows = case.rows(_RUNS, case.workspace)
    for row in rows:
        report.saw("I6")
        if row.state in ENDED:
            continue
        waits = {
            "hold": row.step == "decided" and row.hold == "open",
            "person": row.step == "dead" or (row.step == "indeterminate" and row.call == "unknown"),
            "timer": row.timed,
            "budget": row.timed,
        }.get(row.wait, False)
        alive = waits or row.leased
        if row.forgotten or (case.drained and not alive):
            report.broke(
                "I6", f"run {row.id} is {row.state} {row.wait}, its step {row.no} {row.step}: nothing wakes it"
            )
    known = Counter(row.key for row in rows)
    ids = {row.key: str(row.id) for row in rows}
    for asked in case.asked:
        told = {answer.body.get("id") for answer in asked.answers if answer.status in (200, 201)}
        if asked.kind == "run" and told:
            report.saw("I6")
            if known[asked.key] != 1 or told != {ids[asked.key]}:
                report.broke("I6", f"run {asked.key} was acknowledged as {told} and is there {known[asked.key]} times")
    for attempt in case.attempts:
        report.saw("I6")
        if attempt.state == "decided" and (case.drained or attempt.lapsed):
            report.broke("I6", f"attempt {attempt.number} of {attempt.call} has no outcome, not even an unknown one")


def budgets_hold(case: Case, report: Report) -> None:
    """I7: no run or session made more calls, or used more, than its release allows; nothing stays reserved."""
    budgets = {row.digest: row.budgets or {} for row in case.rows(_BUDGETS, case.workspace)}
    used = {row.call: row for row in case.rows(_USED, case.workspace)}
    spent: dict[tuple[str, str], Counter[str]] = defaultdict(Counter)
    for call in {str(one.call): one for one in case.attempts if _allows(one)}.values():
        compensates = "compensates" in call.decided["subjects"]
        scope = spent[str(call.session if compensates or not call.run else call.run), call.release]
        scope["steps"] += 1
        if (row := used.get(str(call.call))) is not None:
            scope["tokens"] += row.tokens or 0
            scope["cost_micro_usd"] += row.cost_micro_usd or 0
    for (scope_id, release), sums in spent.items():
        for name, limit in budgets.get(release, {}).items():
            report.saw("I7", name != "seconds")
            if name != "seconds" and sums[name] > limit:
                report.broke("I7", f"{scope_id} used {sums[name]} {name} of {limit}")
    for row in case.rows("SELECT id, scope, under_way FROM gateway_counter WHERE workspace_id = %s", case.workspace):
        report.saw("I7")
        if case.drained and row.under_way:
            report.broke("I7", f"{row.under_way} calls of {row.scope} {row.id} stay reserved")


def never_allowed_by_fault(case: Case, report: Report) -> None:
    """I9: whatever failed, nothing is allowed that the policies deny, nor without a policy that was in force."""
    revisions = {row.revision for row in case.rows(_ALLOWED, case.workspace)}
    live = {row.digest for row in case.rows(_LIVE, case.workspace)}
    denied = {asked.key for asked in case.asked if asked.expect == "deny"}
    for attempt in case.attempts:
        report.saw("I9")
        if not _allows(attempt):
            continue
        data, about = attempt.decided["data"], attempt.decided["subjects"]
        if attempt.value in denied or attempt.name in case.denied:
            report.broke("I9", f"{attempt.value} was allowed, which the policies deny")
        if data["code"] or not data["engine"] or data["revision"] not in revisions:
            report.broke("I9", f"{attempt.value} was allowed by {data['engine']!r} {data['revision']!r} {data['code']}")
        if about.get("release") not in live or about.get("baseline") not in live:
            report.broke("I9", f"{attempt.value} was allowed under a release or baseline that was never live")
    for asked in case.asked:
        report.saw("I9", len(asked.answers) if asked.expect == "deny" else 0)
        if asked.expect == "deny" and any(answer.status in (200, 202) for answer in asked.answers):
            report.broke("I9", f"the client was told that {asked.key} is allowed, which the policies deny")


def _allows(attempt: Any) -> bool:
    """Say whether the decision on record allows; the row beside it is no evidence."""
    return attempt.decided is not None and attempt.decided["data"]["verdict"] == "allow"


def _undone(attempt: Any) -> bool:
    """Say whether an attempt is known not to have happened: by its own end, or by a person who looked."""
    return attempt.state == "failed"


def _approved(hold: Any, attempt: Any, report: Report) -> None:
    """The word that an attempt used: enough people, none of those concerned, and used for this call alone."""
    if hold is None or hold.state != "released" or hold.call_id != attempt.call:
        report.broke("I2", f"attempt {attempt.number} of {attempt.call} used a hold that was not released for it")
        return
    concerned = {hold.run_starter, hold.session_opener, hold.credential_owner, hold.on_behalf_of}
    quorum = max((demand["quorum"] for demand in hold.requirements), default=1)
    if len(set(hold.approvers) - concerned) < quorum:
        report.broke("I2", f"hold {hold.id} was released by {hold.approvers}, of whom {quorum} had to be others")


__all__ = ["NAMES", "Case", "Effect", "Report", "check"]
