"""A half-open breaker lets exactly as many probes through as it is told, whoever asks at the same moment."""

from collections import Counter
from types import SimpleNamespace
from uuid import uuid4

from django.test import override_settings

from gateway import breakers
from gateway.models import Breaker
from tests.gateway.stage import query
from tests.races import dice
from tests.races.threads import Threads

THREADS = 8
SEEN = """
SELECT state, failures, generation, extract(epoch FROM probe_at - now())::float8 FROM gateway_breaker WHERE id = %s
"""


class Flaky:
    """A tool that is away, and the breaker before it."""

    def __init__(self, workspace, name):
        self.place = SimpleNamespace(workspace=workspace, environment="development")
        self.contract = SimpleNamespace(kind="tool", name=name, content={})
        self.id = breakers.id_of(self.place, self.contract)

    def report(self, given, code):
        breakers.report(given, self.place, self.contract, code, patient=True, correlation_id="race")

    def seen(self):
        rows = query(SEEN, self.id)
        if not rows:
            return breakers.Seen(self.id)
        state, failures, generation, wait = rows[0]
        return breakers.Seen(self.id, state, failures, generation, wait if wait is not None else 0.0)

    def admit(self):
        try:
            return breakers.admit(self.seen(), under_way=0, seconds=30)
        except breakers.Away as away:
            return away.code


@dice.bouts(40, 2000)
def test_of_all_who_ask_at_once_only_the_probes_pass_and_one_move_comes_of_them(stage, count):
    passed = Counter()
    with Threads(THREADS) as threads:
        for number in range(count):
            chance = dice.of("probes", number)
            most = chance.choice([1, 1, 2])
            with override_settings(PLACET_BREAKER_FAILURES=1, PLACET_BREAKER_PROBES=most):
                passed += _history(Flaky(stage.workspace.pk, f"flaky-{uuid4()}"), threads, chance, most)
    print(f"{dice.told()}: {count} histories, {dict(passed)}")
    assert passed["closed"] and passed["open"]


def _history(flaky, threads, chance, most):
    flaky.report(flaky.admit(), "tool_unreachable")
    assert flaky.admit() == "breaker_open"
    query("UPDATE gateway_breaker SET probe_at = now() - interval '1 s' WHERE id = %s", flaky.id)
    if chance.random() < 0.3:
        # One that died with its process: its place is free again once its lease is over.
        assert isinstance(flaky.admit(), breakers.Pass)
        query("UPDATE gateway_breaker SET probe_until = now() - interval '1 s' WHERE id = %s", flaky.id)
    generation = flaky.seen().generation
    results = threads.race([flaky.admit] * THREADS)
    probes = [one for one in results if isinstance(one, breakers.Pass)]
    assert len(probes) == most, f"{dice.told()}: {results}"
    assert {one for one in results if one not in probes} == {"breaker_open"}
    assert all(one.probe for one in probes)
    codes = [chance.choice(["", "tool_unreachable"]) for _ in probes]
    threads.race([lambda one=one, code=code: flaky.report(one, code) for one, code in zip(probes, codes, strict=True)])
    row = Breaker.objects.get(pk=flaky.id)
    assert row.state == ("closed" if not any(codes) else "open"), f"{dice.told()}: {codes}"
    # Probing, if nobody had begun before, and one move that came of it; nobody's word was heard twice.
    assert row.generation in (probes[0].generation + 1, generation + 2)
    return Counter({row.state: 1, "passed": len(probes), "kept back": THREADS - len(probes)})
