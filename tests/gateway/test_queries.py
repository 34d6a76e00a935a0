"""How often one call asks the database: numbers that grow only on purpose."""

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from tests.gateway.stage import fresh

# Statements. A parked call is one transaction of several, so BEGIN and COMMIT count there.
ALLOWED, DENIED, PARKED, REPLAYED = 4, 3, 6, 7


@pytest.mark.parametrize(("tool", "most"), [("look", ALLOWED), ("forbidden", DENIED), ("careful", PARKED)])
def test_a_call_asks_the_database_no_more_often_than_agreed(stage, agent, tool, most):
    # Each evaluator asks for the bundle once; by then they all have it.
    for _ in range(4):
        stage.call(agent)
    with CaptureQueriesContext(connection) as seen:
        stage.call(agent, tool)
    assert len(seen) <= most, _told(seen)


def test_a_replay_asks_the_database_no_more_often_than_agreed(stage, agent):
    value = fresh()
    stage.call(agent, "look", value, key=value)
    with CaptureQueriesContext(connection) as seen:
        stage.call(agent, "look", value, key=value)
    assert len(seen) <= REPLAYED, _told(seen)


def test_the_door_adds_one_query_to_find_out_who_calls(stage):
    client = Client(headers={"Authorization": f"Bearer {stage.key()}"})
    body = {"name": "look", "arguments": {"value": "v"}}
    for key in ("first", "second"):
        with CaptureQueriesContext(connection) as seen:
            client.post("/api/v1/tool-calls/", body, content_type="application/json", headers={"Idempotency-Key": key})
    assert len(seen) <= ALLOWED + 1, _told(seen)


def _told(seen):
    return "\n".join(" ".join(query["sql"].split())[:120] for query in seen.captured_queries)
