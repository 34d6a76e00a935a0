"""Budgets and places under thousands of reservations at once: never over, whoever settles, gives back or dies.

A trigger of the test writes down every reservation that comes and goes, in the transaction in which it does. The
replay of what it wrote, in the order of the commits, is what judges; it knows nothing of the counters, which have to
agree with it at the end.
"""

import json
from collections import Counter
from contextlib import contextmanager
from dataclasses import replace
from uuid import uuid4, uuid5

from django.db import connection

from audit.refusal import Refusal
from gateway import limits
from gateway.limits import NOTHING, Usage
from registry import resolve
from tests.gateway.stage import query
from tests.races import dice
from tests.races.threads import Threads

THREADS = 8
BUDGETS = {"steps": 10**6, "tokens": 9_000, "cost_micro_usd": 10**9}
CONCURRENCY = 3
WRITE_DOWN = """
CREATE FUNCTION race_write_down() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$
BEGIN
    INSERT INTO race_ledger (call, counters, tokens, came)
    SELECT one.call, one.counters, one.tokens, TG_OP = 'INSERT'
    FROM (SELECT (CASE WHEN TG_OP = 'INSERT' THEN NEW ELSE OLD END).*) one;
    RETURN NULL;
END $$
"""
READ = """
SELECT call, counters::text[], tokens, came FROM race_ledger ORDER BY pg_xact_commit_timestamp(xmin), no
"""


@contextmanager
def written_down():
    """Within the block, every reservation that comes or goes is written down."""
    query(
        "CREATE TABLE race_ledger (no bigserial, call uuid, counters uuid[], tokens bigint, came boolean)",
        using="owner",
    )
    query("GRANT SELECT ON race_ledger TO placet_web", using="owner")
    query(WRITE_DOWN, using="owner")
    query(
        "CREATE TRIGGER race AFTER INSERT OR DELETE ON gateway_lease FOR EACH ROW EXECUTE FUNCTION race_write_down()",
        using="owner",
    )
    try:
        yield
    finally:
        query("DROP TRIGGER race ON gateway_lease", using="owner")
        query("DROP FUNCTION race_write_down()", using="owner")
        query("DROP TABLE race_ledger", using="owner")


class Spender:
    """One who reserves again and again: settles, gives back, or dies with what it holds."""

    def __init__(self, release, model, tool, sessions, runs, chance):
        self.release, self.model, self.tool, self.dice = release, model, tool, chance
        self.sessions, self.runs = sessions, runs
        self.used, self.seen = {}, Counter()

    def work(self, times):
        for _ in range(times):
            call = uuid4()
            contract = self.dice.choice([self.model, self.tool])
            end = self.dice.choices(["settle", "unknown", "give back", "die"], [6, 1, 2, 2])[0]
            output = self.dice.randint(1, 400)
            try:
                self._reserve(call, contract, output, seconds=0.02 if end == "die" else 60)
            except Refusal as refusal:
                self.seen[refusal.code] += 1
                if refusal.code == "budget_tokens_exceeded":
                    return
                continue
            self.seen[end] += 1
            if end == "die":
                self.used[call] = None  # nobody can say that it was not used
                continue
            usage = {"settle": Usage(self.dice.randint(0, output), 0), "unknown": None, "give back": NOTHING}[end]
            if contract is self.tool and usage is not None:
                usage = NOTHING
            self.used[call] = usage if usage is None else usage.tokens
            with connection.cursor() as cursor:
                limits.settle(cursor, call, usage)
            if self.dice.random() < 0.05:
                limits.free_leaked()

    def _reserve(self, call, contract, output, seconds):
        messages = {"messages": [{"role": "user", "content": "Go."}], "max_output_tokens": output}
        run = self.dice.choice([None, None, *self.runs])
        limits.reserve(
            call=call,
            fence=1,
            first=True,
            # A run's budget stands in place of its session's.
            session=self.dice.choice(self.sessions) if run is None else uuid5(run, "session"),
            run=run,
            release=self.release,
            contract=contract,
            arguments=messages if contract is self.model else {"value": "x"},
            seconds=seconds,
        )


def replay(used, budgets, places):
    """Return (violations, counter -> (tokens, calls under way)) of what was written down.

    :param used: call -> tokens that it said it used; None: all that it reserved.
    """
    wrong, tokens, under_way = [], Counter(), Counter()
    for call, counters, reserved, came in query(READ):
        for counter in counters:
            spent = 0 if came else (reserved if used[call] is None else used[call]) - reserved
            tokens[counter] += reserved if came else spent
            under_way[counter] += 1 if came else -1
            if counter in budgets and came and tokens[counter] > budgets[counter]:
                wrong.append(f"{counter} holds {tokens[counter]} of {budgets[counter]} tokens")
            if counter in places and under_way[counter] > places[counter]:
                wrong.append(f"{counter} has {under_way[counter]} of {places[counter]} places")
            if under_way[counter] < 0:
                wrong.append(f"{counter} gave back more than it had")
    return wrong, {counter: (tokens[counter], under_way[counter]) for counter in tokens}


@dice.bouts(1000, 10_000)
def test_no_budget_and_no_number_of_places_is_exceeded_by_reservations_at_once(stage, count):
    release = replace(resolve.live(stage.workspace.pk, "development", "steward"), budgets=BUDGETS)
    model, tool = release.models["script"], release.tools["narrow"]
    tool = replace(tool, content={**tool.content, "concurrency": CONCURRENCY}, name=f"narrow-{uuid4()}")
    left, round_no, seen = count, 0, Counter()
    with written_down(), Threads(THREADS) as threads:
        while left > 0:
            # Few of each, so that all of them fight; new ones once their budgets are spent.
            sessions, runs = [uuid4() for _ in range(2)], [uuid4()]
            each = min(125, -(-left // THREADS))
            spenders = [
                Spender(release, model, tool, sessions, runs, dice.of("budgets", round_no, lane))
                for lane in range(THREADS)
            ]
            query("TRUNCATE race_ledger", using="owner")
            threads.race([lambda one=one, each=each: one.work(each) for one in spenders])
            query("SELECT pg_sleep(0.03)")  # by now the leases of the dead are over
            limits.free_leaked()
            used = {call: tokens for one in spenders for call, tokens in one.used.items()}
            budgets = {str(pk): BUDGETS["tokens"] for pk in (*sessions, *runs)}
            places = {str(limits._tool_counter(release, tool)): CONCURRENCY}
            wrong, told = replay(used, budgets, places)
            assert not wrong, f"{dice.told()} round {round_no}: {wrong[:5]}"
            rows = query(
                "SELECT id::text, tokens, under_way FROM gateway_counter WHERE id = ANY(%s::uuid[])", list(told)
            )
            assert {pk: (tokens, busy) for pk, tokens, busy in rows} == told, dice.told()
            made = sum(sum(one.seen.values()) for one in spenders)
            seen += sum((one.seen for one in spenders), Counter())
            left, round_no = left - made, round_no + 1
    print(f"{dice.told()}: {sum(seen.values())} reservations asked for in {round_no} rounds: {json.dumps(seen)}")
    assert seen["die"] and seen["settle"] and seen["concurrency_exceeded"]
