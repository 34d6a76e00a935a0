"""What the invariants are checked against: a database, what the tools wrote down, and what clients kept outside.

One convention joins them without asking the product: the value that a call gives to its tool is its Idempotency-Key,
and the goal of a run, which its script hands to each tool at most once, is the run's key.
"""

import json
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple
from uuid import UUID

import psycopg
from psycopg.rows import namedtuple_row

MOST = 20  # violations of one invariant that are told one by one
# A record's commit is stamped by PostgreSQL where it is told to (track_commit_timestamp); else the record's own time
# has to do, which is that of the beginning of the call.
_COMMITTED = "CASE WHEN current_setting('track_commit_timestamp') = 'on' THEN pg_xact_commit_timestamp(r.xmin) END"
_ATTEMPTS = f"""
SELECT coalesce(u.key, c.key) AS value, c.id AS call, c.run ->> 'id' AS run, c.name, c.effect, c.session_id AS session,
       c.release, c.state AS call_state, c.lease_until < clock_timestamp() - interval '30 s' AS lapsed,
       a.number, a.verdict, a.state, a.code, a.hold, a.decided_record, a.outcome_record, a.call_id,
       convert_from(r.body, 'UTF8')::jsonb AS decided, {_COMMITTED} AS committed,
       coalesce(v.content #>> '{{transport,tool}}', c.name) AS tool,
       coalesce((v.content #>> '{{retry,attempts}}')::int, 1) AS tries
FROM gateway_attempt a JOIN gateway_call c ON c.id = a.call_id
LEFT JOIN audit_record r ON r.id = a.decided_record
LEFT JOIN agents_run u ON u.id::text = c.run ->> 'id'
LEFT JOIN (SELECT workspace_id, digest, convert_from(content, 'UTF8')::jsonb AS content FROM registry_version) v
    ON v.workspace_id = c.workspace_id AND v.digest = c.tool_digest
WHERE c.workspace_id = %s ORDER BY c.id, a.number
"""


class Effect(NamedTuple):
    """One line of the tools' own log. `tool` is empty if the log does not say it, `at` 0 (Unix seconds) likewise."""

    tool: str
    key: str
    value: str
    at: float


class Answer(NamedTuple):
    """What a client was told: HTTP status (0: nothing, the connection broke), the document, and when."""

    status: int
    body: dict[str, Any]
    at: float


@dataclass
class Asked:
    """What a client wrote down before and after each request with one key.

    :param expect: "allow", "deny" or "hold": what the policies say about it, known by who wrote them; "": not known.
    :param kind: "call" or "run".
    """

    key: str
    expect: str = ""
    kind: str = "call"
    answers: list[Answer] = field(default_factory=list)


@dataclass
class Case:
    """Everything that one check looks at. What is not given is not looked at, and counts as 0.

    :param connection: of the owner or a superuser; only reads.
    :param notes: checkpoints kept outside, by source, each list in the order in which they were seen.
    :param log_keys: public keys of the log, pinned when it began, as text; `receipt_keys` likewise.
    :param export: of the whole trail, made after everything else.
    :param denied: names of calls that the policies never allow; `held`: those that they allow only after a person.
    :param drained: nothing is under way any more: what is not at its end by now has been lost.
    """

    connection: psycopg.Connection[Any]
    workspace: UUID
    effects: Sequence[Effect] = ()
    asked: Sequence[Asked] = ()
    notes: dict[str, list[str]] = field(default_factory=dict)
    log_keys: Sequence[str] = ()
    receipt_keys: Sequence[str] = ()
    export: Path | None = None
    denied: frozenset[str] = frozenset()
    held: frozenset[str] = frozenset()
    drained: bool = True

    def rows(self, statement: str, *parameters: object) -> list[Any]:
        """Return the rows of a query, with names."""
        with self.connection.cursor(row_factory=namedtuple_row) as cursor:
            return cursor.execute(statement, parameters).fetchall()

    @cached_property
    def attempts(self) -> list[Any]:
        """Every attempt of the workspace beside its decision record, in the order of calls."""
        return self.rows(_ATTEMPTS, self.workspace)

    @cached_property
    def done(self) -> dict[str, list[Effect]]:
        """The effects by value, in the order of time."""
        found = defaultdict(list)
        for effect in sorted(self.effects, key=lambda one: one.at):
            found[effect.value].append(effect)
        return found

    @cached_property
    def tried(self) -> dict[str, list[Any]]:
        """The attempts by value."""
        found = defaultdict(list)
        for attempt in self.attempts:
            found[attempt.value].append(attempt)
        return found


@dataclass
class Report:
    """How much each invariant looked at, and what broke it."""

    looked: dict[str, int] = field(default_factory=dict)
    violations: list[str] = field(default_factory=list)
    more: dict[str, int] = field(default_factory=dict)

    def saw(self, invariant: str, count: int = 1) -> None:
        """Count what was looked at."""
        self.looked[invariant] = self.looked.get(invariant, 0) + count

    def broke(self, invariant: str, what: str) -> None:
        """Note a violation; of one invariant only the first MOST are told."""
        self.more[invariant] = self.more.get(invariant, 0) + 1
        if self.more[invariant] <= MOST:
            self.violations.append(f"{invariant} {what}")

    def broken(self) -> set[str]:
        """Return which invariants were violated."""
        return set(self.more)


def effects_of(log: Path) -> list[Effect]:
    """Read the tools' own log, one JSON object a line."""
    return [effect(json.loads(line)) for line in log.read_text().splitlines()] if log.exists() else []


def effect(line: dict[str, Any]) -> Effect:
    """Return a line of the tools' log as an effect."""
    return Effect(line.get("tool", ""), line.get("key") or "", line["value"], line.get("at", 0.0))


def by_tool(effects: Iterable[Effect], tool: str) -> list[Effect]:
    """Return the effects of one tool; a log that names no tools belongs to whoever asks."""
    return [effect for effect in effects if effect.tool in ("", tool)]


def moment(attempt: Any) -> float:
    """Return when the decision of an attempt was committed, in Unix seconds."""
    if attempt.committed is not None:
        return float(attempt.committed.timestamp())
    return datetime.fromisoformat(attempt.decided["at"]).astimezone(UTC).timestamp()
