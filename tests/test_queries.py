"""What a page or a list costs does not grow with what is on it, and no page costs more than sixty queries."""

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from tests.matrix import ROWS

pytest_plugins = ["tests.shared"]
MOST = 60
FEW, MANY = 3, 12
READS = [row for row in ROWS if row.method == "GET" and not row.event]
# What makes one more row for a list, by the last word of its address.
MAKES = {
    "access-tokens": lambda world: world.access_token(),
    "manifests": lambda world: world.version(),
    "memberships": lambda world: world.member(),
    "grants": lambda world: world.grant(),
    "environments": lambda world: world.environment(),
    "artifacts": lambda world: world.version(),
    "versions": lambda world: world.version(),
    "proposals": lambda world: world.proposal(),
    "stops": lambda world: world.stop(),
    "tool-calls": lambda world: world.finished(),
    "calls": lambda world: world.finished(),
    "sessions": lambda world: world.session(),
    "credentials": lambda world: world.credential(),
    "alarms": lambda world: world.alarm(),
    "pdps": lambda world: world.pdp(),
    "pdp-credentials": lambda world: world.opa_credential(),
    "settings": lambda world: world.credential(),
    "holds": lambda world: world.hold(),
    "states": lambda world: world.state(),
    "breakers": lambda world: world.breaker(),
    "runs": lambda world: world.begun(),
    "records": lambda world: world.stop(),
    "trail": lambda world: world.stop(),
    "exports": lambda world: world.export(),
    "slots": lambda world: world.lived(),
    "activations": lambda world: world.lived(),
    "releases": lambda world: world.lived(),
}
LISTS = {str(row): (row, word) for row in READS if (word := row.route.rstrip("/").rpartition("/")[2]) in MAKES}


def person(row):
    """Return a person who may see it."""
    return next(role for role in ("adam", "alice", "anonymous", "agent", "opa") if role in row.allowed)


def measured(world, row, ask):
    """Return the queries of an answer, after one that warms what is kept per process."""
    row.send(world, person(row), ask)
    with CaptureQueriesContext(connection) as queries:
        answer = row.send(world, person(row), ask)
    assert answer.status_code < 400, answer.content[:300]
    return len(queries), [query["sql"][:160] for query in queries.captured_queries]


@pytest.mark.parametrize("row", READS, ids=str)
def test_nothing_that_is_shown_costs_more_than_sixty_queries(row, world):
    count, queries = measured(world, row, world.ask(row))
    assert count <= MOST, "\n".join(queries)


@pytest.mark.parametrize(("row", "word"), LISTS.values(), ids=LISTS)
def test_a_list_costs_the_same_with_three_rows_and_with_twelve(row, word, world):
    for _ in range(FEW):
        MAKES[word](world)
    few, before = measured(world, row, world.ask(row))
    for _ in range(MANY - FEW):
        MAKES[word](world)
    many, after = measured(world, row, world.ask(row))
    assert many <= few, "\n".join(sorted(set(after) - set(before)))
