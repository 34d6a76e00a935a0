"""A workspace with as many calls as one likes, made inside the database: a million in a few minutes.

Every call has its attempts, its session, and the record of its outcome; sampled calls have everything that the line
keeps, sealed values included, written by the line's own function. Nothing here was decided by a policy: the figures of
pages are true, the decisions are not.
"""

import secrets
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from django.db import connections, transaction
from django.db.backends.utils import CursorWrapper

from agents.models import Run
from audit import log, sequencer
from gateway import credentials
from gateway.models import Call
from registry import approvals, policies, proposals, versions, workspaces
from registry.models import Person, Version, Workspace

DAYS = 30
A_SESSION = 50  # calls
A_RUN = 10  # every so many sessions are a run
EVERY = 1000  # which calls are sampled
RUNS = 20  # that have steps
SLICE = 50_000  # calls in one statement
AGENTS = ("steward", "clerk", "scout", "ledger", "triage", "archivist", "courier", "analyst")
TOOLS = (
    "git_log", "git_diff", "git_commit", "git_push", "mail_search", "mail_send", "ticket_read", "ticket_close",
    "invoice_list", "invoice_pay", "crm_find", "crm_update", "wiki_search", "wiki_edit", "deploy", "rollback",
    "calendar_list", "calendar_book", "file_read", "file_write", "web_fetch", "report_make", "query_run", "writer",
)  # fmt: skip
DENIALS = ("untrusted_high_risk", "arguments_invalid", "budget_steps_exceeded", "rate_limited", "hold_rejected")
FAILURES = ("tool_timeout", "tool_unreachable", "result_invalid")
# A code that only the oldest calls have: the worst case of a list that begins with the newest.
OLD_CODE = "credential_expired"
HOW = "seed"
_TOOL: Mapping[str, Any] = {
    "description": "A tool of the seed.",
    "input_schema": {"type": "object", "properties": {"value": {"type": "string"}}, "additionalProperties": False},
    "transport": {"kind": "python", "function": "bench"},
    "effect": "keyed",
    "dedup_window_s": 3600,
    "risk": "medium",
}


@dataclass(frozen=True)
class Seeded:
    """What was made. `sampled`: calls with all their records; `session`, `run`: one of each; `seconds`: by step."""

    workspace: Workspace
    person: Person
    calls: int
    sampled: list[UUID]
    session: UUID
    run: UUID


def make(
    slug: str, count: int, *, newest: int = 1000, password: str = "", using: str = "default", say: Callable[[str], None]
) -> Seeded:
    """Make the workspace `slug` with `count` calls, people who may look at it, and a release that is approved.

    :param newest: how many of the newest calls are sampled, beside every thousandth.
    :param using: a connection whose role may insert. :param say: is told how far it is.
    """
    now = datetime.now(UTC)
    people = {name: _person(f"{slug}-{name}", password) for name in ("adam", "alice", "bob", "dave")}
    roles = {"alice": "author", "bob": "reviewer", "dave": "auditor"}
    members = [(people[name], role, None) for name, role in roles.items()]
    workspace = workspaces.init(slug, "Seeded", admin=people["adam"], now=now, members=members)
    release, tool = _release(workspace, people)
    keys = [_credential(workspace, people, agent) for agent in AGENTS]
    say(f"workspace {slug}")
    begin = now - timedelta(days=DAYS)
    given: dict[str, Any] = {
        "workspace": workspace.pk,
        "begin": int(begin.timestamp() * 1000),
        "step": DAYS * 86_400_000 / count,
        "count": count,
        "credentials": keys,
        "agents": list(AGENTS),
        "tools": list(TOOLS),
        "denials": list(DENIALS),
        "failures": list(FAILURES),
        "old": OLD_CODE,
        "release": release.digest,
        "tool": tool.digest,
        "person": people["bob"].pk,
        "starter": people["alice"].actor,
        "sessions": -(-count // A_SESSION),
    }
    with connections[using].cursor() as cursor:
        for name, statement in _STATEMENTS.items():
            for first, last in _slices(count if name in _BY_CALL else given["sessions"]):
                with transaction.atomic(using=using):
                    cursor.execute(statement, given | {"first": first, "last": last})
                say(f"{name}: {last:,}")
        sampled = _sample(cursor, workspace.pk, newest, using, say)
        run = _sample_runs(workspace.pk, using)
        cursor.execute(f"SELECT {_id('%(begin)s', 's', '0')}", given)
        session = cursor.fetchone()[0]
    return Seeded(workspace, people["dave"], count, sampled, session, run)


def integrate(workspace: UUID, *, using: str, say: Callable[[str], None]) -> None:
    """Put the records into the tree."""
    total = 0
    while moved := sequencer.sequence(workspace, batch=20_000, using=using):
        total += moved
        if not total % 100_000:
            say(f"integrated: {total:,}")


def _person(name: str, password: str) -> Person:
    return Person.objects.create_user(
        username=name, email=f"{name}@example.com", name=name.rpartition("-")[2].title(), password=password or None
    )


def _release(workspace: Workspace, people: dict[str, Person]) -> tuple[Version, Version]:
    """Return an approved release and one tool of it; nothing is activated, so nothing has to run for it."""
    how: dict[str, Any] = {"actor": people["alice"], "now": datetime.now(UTC), "correlation_id": HOW}
    tool = versions.create(workspace, kind="tool", name="git_commit", content=dict(_TOOL), **how)
    policy = versions.create(workspace, kind="policy", name="policy", content=policies.shipped("release"), **how)
    pins = [{"kind": one.kind, "name": one.name, "digest": one.digest} for one in (tool, policy)]
    release = versions.create(
        workspace, kind="agent", name=AGENTS[0], content={"pins": pins, "budgets": {"steps": 50}}, **how
    )
    how.pop("actor")
    environment = workspaces.environment(workspace.pk, "development")
    proposal = proposals.open(release, environment, proposer=people["alice"], **how)
    approvals.approve(proposal, approver=people["bob"], digest=release.digest, role=None, comment="Seeded.", **how)
    return release, tool


def _credential(workspace: Workspace, people: dict[str, Person], agent: str) -> UUID:
    now = datetime.now(UTC)
    made = credentials.create(
        workspace,
        environment="development",
        agent=agent,
        owner=people["alice"],
        scopes=["tools:call"],
        expires_at=now + timedelta(days=1),
        actor=people["adam"],
        now=now,
    )
    return made[0].pk


def _slices(count: int) -> Iterator[tuple[int, int]]:
    for first in range(0, count, SLICE):
        yield first, min(first + SLICE, count)


def _sample(cursor: CursorWrapper, workspace: UUID, count: int, using: str, say: Callable[[str], None]) -> list[UUID]:
    """Give some calls everything that the line keeps of one; return their ids."""
    rows = Call.objects.using(using).filter(workspace_id=workspace, state__in=["completed", "denied"])
    newest = list(rows.order_by("-id")[:count])
    cursor.execute(
        "SELECT id FROM (SELECT id, row_number() OVER (ORDER BY id) n FROM gateway_call WHERE workspace_id = %s) t "
        "WHERE n %% %s = 0",
        [workspace, EVERY],
    )
    spread = [pk for (pk,) in cursor.fetchall()]
    chosen = {call.pk: call for call in [*newest, *rows.filter(pk__in=spread)]}
    for call in chosen.values():
        with transaction.atomic(using=using):
            _keep(cursor, call, using)
    say(f"sampled: {len(chosen):,}")
    return list(chosen)


def _sample_runs(workspace: UUID, using: str) -> UUID:
    """Give the newest runs their goal and their steps; return the oldest of them."""
    runs = list(Run.objects.using(using).filter(workspace_id=workspace).order_by("-id")[:RUNS])
    for run in runs:
        with transaction.atomic(using=using), connections[using].cursor() as cursor:
            kept = {"asked": log.Sealed({"goal": "Look after the seed.", "inputs": {}}, f"session:{run.session_id}")}
            how: dict[str, Any] = {"workspace": workspace, "correlation_id": run.correlation_id, "using": using}
            entry = log.append("agents.run.created", actor=run.starter, now=run.created_at, data=kept, **how)
            cursor.execute("UPDATE agents_run SET created_record = %s WHERE id = %s", [entry.id, run.pk])
            cursor.execute(_STEPS, [run.pk, str(run.pk)])
    return runs[-1].pk


def _keep(cursor: CursorWrapper, call: Call, using: str) -> None:
    """Append the records of one call as the line does, and let the call name them."""
    subject = f"session:{call.session_id}"
    how: dict[str, Any] = {"workspace": call.workspace_id, "correlation_id": call.correlation_id, "using": using}
    how |= {"actor": f"credential:{call.credential_id}", "now": call.opened_at}
    subjects = {"call": str(call.pk), "session": str(call.session_id), "tool": call.tool_digest}
    denied = call.state == "denied"
    reasons = [{"code": call.code, "message": "Said by the seed.", "layer": "floor"}] if denied else []
    decision = {"allow": not denied, "reasons": reasons, "obligations": [], "labels": [], "failure": None}
    plain = {"attempt": 1, "kind": call.kind, "name": call.name, "effect": call.effect, "agent": call.agent}
    plain |= {"environment": call.environment, "enforced": True, "verdict": "deny" if denied else "allow"}
    plain |= {"code": call.code, "reasons": [one["code"] for one in reasons], "obligations": [], "labels": []}
    plain |= {"engine": "seed", "revision": "", "run": call.run, "hold": None}
    sealed = {"received": {"value": secrets.token_hex(8)}, "decision": decision, "input": _input(call)}
    data = plain | {name: log.Sealed(value, subject) for name, value in sealed.items()}
    decided = log.append("gateway.call.decided", subjects=subjects, data=data, **how)
    outcome = None
    if not denied:
        result = {"result": {"said": "ok"}, "is_error": False, "labels": []}
        usage = {"tokens": 0, "cost_micro_usd": 0}
        data = {"attempt": 1, "state": "completed", "code": "", "labels": [], "usage": usage, "duration_ms": 12}
        data["outcome"] = log.Sealed(result, subject)
        outcome = log.append("gateway.call.completed", subjects=subjects, data=data, **how).id
    named = [decided.id, outcome, call.pk]
    cursor.execute("UPDATE gateway_call SET decided_record = %s, outcome_record = %s WHERE id = %s", named)
    cursor.execute("UPDATE gateway_attempt SET decided_record = %s, outcome_record = %s WHERE call_id = %s", named)


def _input(call: Call) -> dict[str, Any]:
    tool = {"name": call.name, "digest": call.tool_digest, "effect": call.effect, "risk": "medium", "labels": []}
    return {
        "call": {"id": str(call.pk), "kind": call.kind, "tool": tool, "destinations": []},
        "agent": {"name": call.agent, "release": call.release, "environment": call.environment, "labels": []},
        "session": {"id": str(call.session_id), "labels": []},
        "findings": [],
        "limits": [],
    }


def _id(milliseconds: str, tag: str, number: str) -> str:
    """Return SQL for an id of that time which the number alone decides: rows that name each other need no join."""
    return (
        f"(lpad(to_hex(({milliseconds})::bigint), 12, '0') || '7' || left(md5('{tag}' || ({number})::bigint), 3) "
        f"|| '8' || right(md5('{tag}' || ({number})::bigint), 15))::uuid"
    )


def _at(milliseconds: str) -> str:
    return f"to_timestamp(({milliseconds}) / 1000.0)"


# Of a session s and of a call i: when it began, in milliseconds.
_S = f"(%(begin)s + s * {A_SESSION} * %(step)s)::bigint"
_I = "(%(begin)s + i * %(step)s)::bigint"
_OF = f"(i / {A_SESSION})"
_SI = f"(%(begin)s + {_OF} * {A_SESSION} * %(step)s)::bigint"
_AGENT = "(%(agents)s::text[])[1 + {0} %% 8]"
_CREDENTIAL = "(%(credentials)s::uuid[])[1 + {0} %% 8]"
_ENVIRONMENT = "(ARRAY['development', 'development', 'development', 'staging', 'production'])[1 + {0} %% 5]"
_NAME = "(%(tools)s::text[])[1 + ('x' || left(md5('n' || i), 6))::bit(24)::int %% 24]"
# In thousandths: the newest are parked, the oldest have a code of their own, 2 % failed, 7 % were denied.
_STATE = """CASE WHEN i >= %(count)s - 12 THEN 'parked' WHEN i < 40 THEN 'denied' WHEN i %% 1000 = 501 THEN 'unknown'
 WHEN i %% 100 IN (7, 53) THEN 'failed' WHEN i %% 100 IN (3, 17, 29, 41, 67, 83, 97) THEN 'denied'
 ELSE 'completed' END"""
_CODE = """CASE state WHEN 'denied' THEN CASE WHEN i < 40 THEN %(old)s ELSE (%(denials)s::text[])[1 + i / 100 %% 5] END
 WHEN 'failed' THEN (%(failures)s::text[])[1 + i / 100 %% 3] WHEN 'parked' THEN 'untrusted_session'
 WHEN 'unknown' THEN 'outcome_unknown' ELSE '' END"""
_TOOK = "(4 + power(('x' || left(md5('d' || i), 2))::bit(8)::int, 2) / 40)::bigint"
_HELD = "i %% 100 = 37"  # completed after a person agreed
_RAN = "state IN ('completed', 'failed', 'unknown')"
_CALLS = f"""(SELECT i, {_STATE} AS state FROM generate_series(%(first)s, %(last)s - 1) AS i) AS c"""
_CORRELATION = f"'019a' || md5('c' || {_OF}) "

_SESSIONS = f"""
INSERT INTO gateway_session (id, workspace_id, environment, agent, release, policy, credential_id, opener, on_behalf_of,
    request, request_source, parent_id, root_id, sticky, state, opened_at, idle_seconds, expires_at, closed_at)
SELECT id, %(workspace)s, environment, agent, %(release)s, '', credential, 'credential:' || credential, NULL, NULL,
    'none', NULL, id, false, 'closed', at, 1800, at + interval '1 day', at + interval '1 hour'
FROM (SELECT {_id(_S, "s", "s")} AS id, {_ENVIRONMENT.format("s")} AS environment, {_AGENT.format("s")} AS agent,
             {_CREDENTIAL.format("s")} AS credential, {_at(_S)} AS at
      FROM generate_series(%(first)s, %(last)s - 1) AS s) AS made
"""
_LABELS = f"""
INSERT INTO gateway_sessionlabel (id, root_id, label, call, at)
SELECT {_id(_S + " + 1", "l", "s * 3 + n")}, {_id(_S, "s", "s")}, label,
       {_id(f"(%(begin)s + s * {A_SESSION} * %(step)s)", "i", f"s * {A_SESSION}")}, {_at(_S)}
FROM generate_series(%(first)s, %(last)s - 1) AS s,
     (VALUES (0, 'untrusted'), (1, 'pii'), (2, 'quarantine')) AS l (n, label)
WHERE n = 0 AND s %% 3 = 0 OR n = 1 AND s %% 20 = 7 OR n = 2 AND s IN (11, 12, 13)
"""
_RUNS = f"""
INSERT INTO agents_run (id, workspace_id, environment, agent, release, session_id, starter, on_behalf_of, key,
    fingerprint, correlation_id, state, wait, code, created_record, answer_record, created_at, started_at, finished_at,
    cancel_requested_at, cancelled_by, cancel_code)
SELECT {_id(_S, "r", "s")}, %(workspace)s, {_ENVIRONMENT.format("s")}, {_AGENT.format("s")}, %(release)s,
       {_id(_S, "s", "s")}, %(starter)s, NULL, 'run-' || s, '\\x00', '019a' || md5('c' || s),
       CASE s / {A_RUN} %% 8 WHEN 0 THEN 'failed' WHEN 1 THEN 'cancelled' ELSE 'succeeded' END, '',
       CASE s / {A_RUN} %% 8 WHEN 0 THEN 'budget_steps_exceeded' WHEN 1 THEN 'cancelled' ELSE '' END,
       {_id(_S, "y", "s")}, NULL, {_at(_S)}, {_at(_S)}, {_at(_S)} + interval '10 min', NULL, '', ''
FROM generate_series(%(first)s, %(last)s - 1) AS s WHERE s %% {A_RUN} = 0
"""
_CALL_ROWS = f"""
INSERT INTO gateway_call (id, workspace_id, environment, agent, credential_id, key, live, fingerprint, kind, name,
    asked_session, session_id, run, correlation_id, state, code, again, attempt, fence, lease_until, effect, release,
    tool_digest, decided_record, outcome_record, opened_at, repeatable_until, finished_at, expires_at)
SELECT {_id(_I, "i", "i")}, %(workspace)s, {_ENVIRONMENT.format(_OF)}, {_AGENT.format(_OF)}, {_CREDENTIAL.format(_OF)},
       'key-' || md5('k' || i), false, decode(md5('f' || i) || md5('g' || i), 'hex'),
       CASE WHEN {_NAME} = 'writer' THEN 'model' ELSE 'tool' END, {_NAME}, {_id(_SI, "s", _OF)}, {_id(_SI, "s", _OF)},
       CASE WHEN {_OF} %% {A_RUN} = 0 THEN jsonb_build_object('id', {_id(_SI, "r", _OF)}, 'step', i %% {A_SESSION} + 1,
            'starter', %(starter)s::text) END,
       {_CORRELATION}, state, {_CODE}, false, CASE WHEN {_HELD} AND state = 'completed' THEN 2 ELSE 1 END, 1,
       {_at(_I)} + interval '15 s', 'keyed', %(release)s, %(tool)s, {_id(_I, "p", "i")},
       CASE WHEN {_RAN} THEN {_id(_I, "q", "i")} END, {_at(_I)}, NULL,
       CASE WHEN state NOT IN ('parked', 'unknown') THEN {_at(f"{_I} + {_TOOK}")} END, {_at(_I)} + interval '7 days'
FROM {_CALLS}
"""
_ATTEMPTS = f"""
INSERT INTO gateway_attempt (id, call_id, number, fence, verdict, state, code, hold, decided_record, outcome_record,
    decided_at, finished_at)
SELECT {_id(_I + " + number", "a", "i * 2 + number")}, {_id(_I, "i", "i")}, number, 1,
       CASE WHEN held AND number = 1 OR state = 'parked' THEN 'hold' WHEN state = 'denied' THEN 'deny' ELSE 'allow' END,
       CASE WHEN held AND number = 1 THEN 'parked' ELSE state END, {_CODE},
       CASE WHEN number = 2 THEN {_id(_I, "h", "i")} END, {_id(_I, "p", "i")},
       CASE WHEN {_RAN} AND (number = 2 OR NOT held) THEN {_id(_I, "q", "i")} END, {_at(_I)},
       {_at(f"{_I} + {_TOOK}")}
FROM (SELECT i, state, {_HELD} AND state = 'completed' AS held FROM {_CALLS}) AS c, generate_series(1, 2) AS number
WHERE number = 1 OR held
"""
_HOLDS = f"""
INSERT INTO gateway_hold (id, workspace_id, environment, agent, call_id, attempt, state, codes, requirements, digest,
    name, tool_digest, policy, baseline, release, decided_record, on_behalf_of, run_starter, session_opener,
    credential_owner, opened_at, expires_at, decided_at, closed_at)
SELECT {_id(_I, "h", "i")}, %(workspace)s, {_ENVIRONMENT.format(_OF)}, {_AGENT.format(_OF)}, {_id(_I, "i", "i")}, 1,
       CASE state WHEN 'parked' THEN 'open' ELSE 'released' END, ARRAY['untrusted_session'],
       '[{{"code": "untrusted_session", "role": "reviewer", "quorum": 1}}]', 'hmac:' || md5('h' || i), {_NAME},
       %(tool)s, '', '', %(release)s, {_id(_I, "p", "i")}, NULL, NULL, %(starter)s, NULL, {_at(_I)},
       CASE state WHEN 'parked' THEN now() + interval '1 hour' + i %% 12 * interval '7 min'
                  ELSE {_at(_I)} + interval '1 day' END,
       CASE state WHEN 'parked' THEN NULL ELSE {_at(f"{_I} + 1000 * {_TOOK}")} END,
       CASE state WHEN 'parked' THEN NULL ELSE {_at(f"{_I} + 1000 * {_TOOK}")} END
FROM {_CALLS} WHERE state = 'parked' OR {_HELD} AND state = 'completed'
"""
_BODY = f"""'{{"actor":"credential:' || {_CREDENTIAL.format(_OF)} || '","at":"' ||
 to_char({_at(_I)} AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') || '","correlation_id":"' || {_CORRELATION} ||
 '","data":{{"attempt":1,"code":"' || {_CODE} || '","duration_ms":' || {_TOOK} ||
 ',"labels":[],"outcome":{{"$sealed":"' || md5('o' || i) || md5('v' || i) || '"}},"state":"' || state ||
 '","usage":{{"cost_micro_usd":' || i %% 700 || ',"tokens":' || i %% 90 || '}}}},"event":"' || event ||
 '","format":"placet.record/1","id":"' || {_id(_I, "q", "i")} || '","subjects":{{"call":"' || {_id(_I, "i", "i")} ||
 '","session":"' || {_id(_SI, "s", _OF)} || '","tool":"' || %(tool)s || '"}},"workspace":"' || %(workspace)s || '"}}'"""
_RECORDS = f"""
INSERT INTO audit_record (id, workspace, event, actor, correlation_id, body, leaf_hash)
SELECT id, %(workspace)s, event, actor, correlation, body, sha256('\\x00'::bytea || body)
FROM (SELECT {_id(_I, "q", "i")} AS id, event, 'credential:' || {_CREDENTIAL.format(_OF)} AS actor,
             {_CORRELATION} AS correlation, convert_to({_BODY}, 'UTF8') AS body
      FROM (SELECT i, state, 'gateway.call.' || CASE state WHEN 'unknown' THEN 'lost' ELSE state END AS event
            FROM {_CALLS}) AS c WHERE {_RAN}) AS made
"""
_STEPS = """
INSERT INTO agents_step (id, run_id, no, kind, name, state, code, key, fence, lease_owner, lease_until, attempts,
    crashes, failures, not_before, rung_at, call_id, hold, record, created_at, finished_at)
SELECT overlay(id::text PLACING '0' FROM 20)::uuid, %s, (run ->> 'step')::int, kind, name, 'done', code, 'seed-' || id,
       1, '', NULL, 1, 0, 0, NULL, opened_at, id, NULL, decided_record, opened_at, opened_at
FROM gateway_call WHERE run IS NOT NULL AND run ->> 'id' = %s
"""
_STATEMENTS = {
    "sessions": _SESSIONS,
    "labels": _LABELS,
    "runs": _RUNS,
    "calls": _CALL_ROWS,
    "attempts": _ATTEMPTS,
    "holds": _HOLDS,
    "records": _RECORDS,
}
_BY_CALL = {"calls", "attempts", "holds", "records"}
