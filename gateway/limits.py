"""Rate, concurrency and budgets: reserved before the decision, settled or given back after the outcome.

Rate tokens live in Valkey, everything else in PostgreSQL. One statement takes from all counters of a call, or from
none if one is full; what it returns is what the policy sees.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple
from uuid import UUID, uuid5

from django.db import connection
from django.db.backends.utils import CursorWrapper

from audit import canonical, crash, prepared
from audit.canonical import JSON
from audit.prepared import Prepared
from audit.refusal import Refusal
from audit.uuid7 import uuid7
from gateway import allowance, breakers, rates, upstreams
from registry.resolve import Contract, Release

_NO_LIMIT = 2**62
# No tokenizer makes much more than one token of two bytes of text; what was really used is settled afterwards.
_BYTES_PER_TOKEN = 2
# All counters of a call or none: `fits` looks at the rows as they are under the lock. The tool's breaker, and how busy
# its upstream is, are read along with them, so that a call of a healthy tool costs no statement more.
_TAKE = Prepared("""
WITH locked AS (
    SELECT id, calls, under_way, tokens, cost_micro_usd,
           ceil(extract(epoch FROM coalesce(waits_since, clock_timestamp()) - started_at) - waited_ms / 1000.0)::bigint
               AS seconds
    FROM gateway_counter WHERE id = ANY(%(counters)s::uuid[]) ORDER BY id FOR UPDATE),
fits AS (
    SELECT count(*) = %(count)s
       AND bool_and(id <> %(budget)s OR (calls + %(first)s <= %(steps)s AND tokens + %(tokens)s <= %(most_tokens)s
           AND cost_micro_usd + %(cost)s <= %(most_cost)s AND seconds <= %(most_seconds)s))
       AND bool_and(id <> %(tool)s OR under_way < %(concurrency)s) AS ok FROM locked),
-- A reservation that a crash loses was not yet decided on: its commit need not wait for the disk.
lazy AS MATERIALIZED (SELECT set_config('synchronous_commit', 'off', true)),
leased AS (
    INSERT INTO gateway_lease (id, call, fence, counters, upstream, tokens, cost_micro_usd, until)
    SELECT %(lease)s, %(call)s, %(fence)s, %(counters)s::uuid[], %(upstream)s, %(tokens)s, %(cost)s,
           now() + %(lasts)s * interval '1 s'
    FROM fits, lazy WHERE ok),
taken AS (
    UPDATE gateway_counter c
    SET calls = c.calls + %(first)s, under_way = c.under_way + 1, tokens = c.tokens + %(tokens)s,
        cost_micro_usd = c.cost_micro_usd + %(cost)s, touched_at = clock_timestamp()
    FROM locked, fits WHERE c.id = locked.id AND fits.ok)
SELECT locked.id, locked.calls + %(first)s, under_way + 1, tokens + %(tokens)s, cost_micro_usd + %(cost)s, seconds, ok,
       (SELECT count(*) FROM gateway_lease l WHERE l.upstream = %(upstream)s AND l.until > now()),
       b.state, b.failures, b.generation, extract(epoch FROM b.probe_at - now())
FROM locked CROSS JOIN fits LEFT JOIN gateway_breaker b ON b.id = %(breaker)s
""")
_MAKE = """
INSERT INTO gateway_counter (id, workspace_id, scope, calls, under_way, tokens, cost_micro_usd)
VALUES (%s, %s, %s, 0, 0, 0, 0) ON CONFLICT (id) DO NOTHING
"""
_SETTLE = Prepared("SELECT gateway_settle(%s, %s, %s)")  # migration 0012
_PAUSE = "UPDATE gateway_counter SET waits_since = coalesce(waits_since, clock_timestamp()) WHERE id = %s"
_RESUME = """
UPDATE gateway_counter SET waits_since = NULL,
    waited_ms = waited_ms + greatest(0, round(extract(epoch FROM clock_timestamp() - waits_since) * 1000))::bigint
WHERE id = %s AND waits_since IS NOT NULL
"""
# Looked at again as it is deleted: meanwhile the call may have been decided, which makes it last, or claimed anew.
_SETTLE_LEAKED = """
WITH gone AS (DELETE FROM gateway_lease WHERE call = %(call)s AND fence = %(fence)s AND until < now()
              RETURNING counters, tokens, cost_micro_usd),
     locked AS (SELECT c.id FROM gateway_counter c WHERE c.id IN (SELECT unnest(counters) FROM gone)
                ORDER BY c.id FOR UPDATE)
UPDATE gateway_counter c
SET under_way = greatest(c.under_way - 1, 0),
    tokens = greatest(c.tokens - CASE WHEN %(used)s THEN 0 ELSE gone.tokens END, 0),
    cost_micro_usd = greatest(c.cost_micro_usd - CASE WHEN %(used)s THEN 0 ELSE gone.cost_micro_usd END, 0)
FROM gone, locked WHERE c.id = ANY(gone.counters) AND c.id = locked.id
"""
_LEAKED = """
SELECT l.call, l.fence, coalesce(c.state <> 'claimed', true)
FROM gateway_lease l LEFT JOIN gateway_call c ON c.id = l.call
WHERE l.until < now() AND (%(counter)s::uuid IS NULL OR %(counter)s = ANY(l.counters)) ORDER BY l.until LIMIT 1000
"""


class Usage(NamedTuple):
    """What a call used: known for model calls, nothing for tools."""

    tokens: int
    cost_micro_usd: int


NOTHING = Usage(0, 0)


@dataclass(frozen=True, slots=True)
class Reserved:
    """What was reserved, as the policy sees it.

    :param limits: [{"name", "used", "limit"}], this call included.
    :param calls: calls of the session so far, with tokens and cost_micro_usd, this call included.
    :param breaker: the tool's breaker at that moment. :param under_way: other calls at its upstream.
    """

    limits: list[dict[str, JSON]]
    calls: int
    tokens: int
    cost_micro_usd: int
    breaker: breakers.Seen
    under_way: int = 0


class _Count(NamedTuple):
    id: UUID
    calls: int
    under_way: int
    tokens: int
    cost_micro_usd: int
    seconds: int
    taken: bool
    at_upstream: int
    breaker: str | None
    failures: int | None
    generation: int | None
    wait: float | None


def reserve(
    *,
    call: UUID,
    fence: int,
    first: bool,
    session: UUID,
    run: UUID | None,
    release: Release,
    contract: Contract,
    arguments: Mapping[str, JSON],
    seconds: float,
) -> Reserved:
    """Take a rate token, a place among the calls under way and a share of the budget.

    :param first: the call was not counted by an earlier attempt.
    :param seconds: after which a leaked lease is given back.
    :raises Refusal: rate_limited, rate_unavailable, concurrency_exceeded or budget_<name>_exceeded.
    """
    seen = rates.take(release, contract)
    tool = _tool_counter(release, contract) if "concurrency" in contract.content else None
    scopes: dict[UUID, str] = {session: "session"}
    if run is not None:
        scopes[run] = "run"
    if tool is not None:
        scopes[tool] = f"tool:{release.environment}:{contract.name}"
    want, budgets = estimate(contract, arguments), release.budgets
    take: dict[str, Any] = {
        "lease": uuid7(),
        "call": call,
        "fence": fence,
        "lasts": seconds,
        "first": int(first),
        "tokens": want.tokens,
        "cost": want.cost_micro_usd,
        "counters": prepared.ids(sorted(scopes)),
        "count": len(scopes),
        "budget": run or session,
        "steps": budgets.get("steps", _NO_LIMIT),
        "most_tokens": budgets.get("tokens", _NO_LIMIT),
        "most_cost": budgets.get("cost_micro_usd", _NO_LIMIT),
        "most_seconds": budgets.get("seconds", _NO_LIMIT),
        "tool": tool or session,
        "concurrency": contract.content["concurrency"] if tool else _NO_LIMIT,
        "upstream": upstreams.id_of(release.workspace, release.environment, contract),
        "breaker": breakers.id_of(release, contract),
    }
    counts = _take(take, scopes, release.workspace)
    if not counts[session].taken and tool is not None and free_leaked(tool):
        # The tool was full of calls whose process died: look once more.
        counts = _take(take, scopes, release.workspace)
    own = counts[session]
    seen += _seen(counts, release, contract, run or session, tool)
    if not own.taken:
        raise _over(seen, contract)
    crash.point("gateway.reserved")
    return Reserved(
        seen, own.calls, own.tokens, own.cost_micro_usd, _breaker(take["breaker"], own), under_way=own.at_upstream
    )


def estimate(contract: Contract, arguments: Mapping[str, JSON]) -> Usage:
    """Return the most that a call is expected to use; a tool call uses nothing that is counted here."""
    if contract.kind != "model":
        return NOTHING
    output = allowance.output_bound(contract.content, arguments)
    given = -(-len(canonical.dumps(arguments)) // _BYTES_PER_TOKEN)
    return Usage(given + output, _cost(contract, given, output))


def used(contract: Contract, usage: Mapping[str, JSON] | None) -> Usage | None:
    """Return what a model says that it used; None (all that was reserved) if it does not say."""
    if contract.kind != "model":
        return NOTHING
    try:
        given, output = int(usage["input_tokens"]), int(usage["output_tokens"])  # type: ignore[index]
    except (KeyError, TypeError, ValueError):
        return None
    if given < 0 or output < 0:
        return None
    return Usage(given + output, _cost(contract, given, output))


def settle(cursor: CursorWrapper, call: UUID, usage: Usage | None) -> None:
    """Turn the reservation of `call` into use, in the caller's transaction. None: all of it counts as used."""
    tokens, cost = usage if usage is not None else (None, None)
    cursor.execute(_SETTLE, [call, tokens, cost])


def pause(counter: UUID) -> None:
    """Stop the clock of a run's budget, in the caller's transaction: it waits for a person."""
    with connection.cursor() as cursor:
        cursor.execute(_PAUSE, [counter])


def resume(counter: UUID) -> None:
    """Let the clock of a run's budget go on, in the caller's transaction. Idempotent."""
    with connection.cursor() as cursor:
        cursor.execute(_RESUME, [counter])


def free_leaked(counter: UUID | None = None) -> int:
    """Give back leases whose time has passed, of one counter or of all; return how many.

    What a decided call reserved counts as used, since it may have been; an undecided one used nothing.
    """
    with connection.cursor() as cursor:
        cursor.execute(_LEAKED, {"counter": counter})
        leaked = cursor.fetchall()
        for call, fence, decided in leaked:
            cursor.execute(_SETTLE_LEAKED, {"call": call, "fence": fence, "used": decided})
    return len(leaked)


def _take(take: Mapping[str, Any], scopes: Mapping[UUID, str], workspace: UUID) -> dict[UUID, _Count]:
    """Take from all counters or from none; return them as they would be with this call."""
    with connection.cursor() as cursor:
        while True:
            cursor.execute(_TAKE, take)
            counts = {row[0]: _Count(*row) for row in cursor.fetchall()}
            missing = sorted(scopes.keys() - counts.keys())
            if not missing:
                return counts
            for pk in missing:
                cursor.execute(_MAKE, [pk, workspace, scopes[pk]])


def _breaker(pk: UUID, own: _Count) -> breakers.Seen:
    if own.breaker is None:
        return breakers.Seen(pk)
    wait = float(own.wait) if own.wait is not None else 0.0
    return breakers.Seen(pk, own.breaker, own.failures or 0, own.generation or 0, wait)


def _seen(
    counts: Mapping[UUID, _Count], release: Release, contract: Contract, budget: UUID, tool: UUID | None
) -> list[dict[str, JSON]]:
    spent = counts[budget]
    used_so_far = {
        "steps": spent.calls,
        "tokens": spent.tokens,
        "cost_micro_usd": spent.cost_micro_usd,
        "seconds": spent.seconds,
    }
    seen: list[dict[str, JSON]] = [
        {"name": f"budget.{name}", "used": used_so_far[name], "limit": limit}
        for name, limit in sorted(release.budgets.items())
        if name in used_so_far
    ]
    if tool is not None:
        limit = contract.content["concurrency"]
        seen.append({"name": "concurrency", "used": counts[tool].under_way, "limit": limit})
    return seen


def _over(seen: Sequence[Mapping[str, Any]], contract: Contract) -> Refusal:
    """Return why the call does not fit."""
    full = next(limit for limit in seen if limit["used"] > limit["limit"])
    if full["name"] == "concurrency":
        detail = f"{full['limit']} calls of {contract.name} are under way, which is all that its contract allows."
        return Refusal("concurrency_exceeded", detail, status=429, retry_after=1)
    word = full["name"].removeprefix("budget.")
    detail = f"The release's budget of {full['limit']} {word} would be exceeded."
    return Refusal(f"budget_{word}_exceeded", detail, status=403)


def _tool_counter(release: Release, contract: Contract) -> UUID:
    """Return the id of the counter of a tool in an environment, made from their names."""
    return uuid5(release.workspace, f"{release.environment}/{contract.kind}/{contract.name}")


def _cost(contract: Contract, given: int, output: int) -> int:
    prices = contract.content.get("prices", {})
    total = given * prices.get("input_micro_usd_per_million_tokens", 0)
    total += output * prices.get("output_micro_usd_per_million_tokens", 0)
    return int(-(-total // 1_000_000))
