"""200 simultaneous requests under one key, through REST and several processes: one execution, one outcome."""

import http.client
import json
import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests import embedded
from tests.gateway.stage import query
from tests.races import dice

CLIENTS = 200
DOORS = 2
DECISIONS = """
SELECT verdict, count(*) FROM gateway_attempt a JOIN gateway_call c ON c.id = a.call_id WHERE c.key = %s GROUP BY 1
"""


@pytest.fixture(scope="module")
def log(tmp_path_factory):
    """What the tool wrote down, in whichever process."""
    return tmp_path_factory.mktemp("effects") / "log"


@pytest.fixture(scope="module")
def doors(log, django_db_setup):
    """The ports of a few processes that serve REST."""
    environment = embedded.environment(Path(os.environ["PLACET_HOME"])) | {
        "DJANGO_SETTINGS_MODULE": "tests.settings",
        "PLACET_DECISION_TIMEOUT_MS": "10000",
        "STAGE_LOG": str(log),
    }
    command = [sys.executable, "-m", "tests.races.door"]
    with ExitStack() as stack:
        processes = [
            stack.enter_context(
                subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
            )
            for _ in range(DOORS)
        ]
        stack.callback(lambda: [process.stdin.close() for process in processes])
        yield [int(process.stdout.readline()) for process in processes]


def ask(port, secret, key, tool, value):
    """Make the call as a client would; return (status, body)."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=100)
    try:
        headers = {"Authorization": f"Bearer {secret}", "Idempotency-Key": key, "Content-Type": "application/json"}
        body = json.dumps({"name": tool, "arguments": {"value": value}})
        connection.request("POST", "/api/v1/tool-calls/", body=body, headers=headers)
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read())
    finally:
        connection.close()


@dice.bouts(1, 20)
def test_two_hundred_requests_under_one_key_execute_once_and_hear_the_same(stage, doors, log, count):
    secret = stage.key()
    for port in doors:  # each process has its evaluators ready
        assert ask(port, secret, f"warm-{dice.SEED}-{port}-{count}", "look", "warm")[0] == 200
    for number in range(count):
        for tool in ("put", "launch"):
            _one(stage, doors, log, secret, tool, f"k-{dice.SEED}-{count}-{number}-{tool}")


def _one(stage, doors, log, secret, tool, key):
    barrier = threading.Barrier(CLIENTS)

    def client(number):
        barrier.wait(60)
        return ask(doors[number % len(doors)], secret, key, tool, key)

    with ThreadPoolExecutor(CLIENTS) as pool:
        answers = list(pool.map(client, range(CLIENTS)))
    outcomes = [body for status, body in answers if status == 200]
    busy = [body for status, body in answers if status == 409]
    told = f"{dice.told()} {tool}: {[a for a in answers if a[0] not in (200, 409)][:3]}"
    assert len(outcomes) + len(busy) == CLIENTS, told
    assert {body["code"] for body in busy} <= {"in_flight"}, told
    assert {(body["id"], body["status"], body["attempt"], json.dumps(body["result"])) for body in outcomes} == {
        (outcomes[0]["id"], "finished", 1, json.dumps({"value": key}))
    }, told
    assert sum(not body["replayed"] for body in outcomes) == 1
    effects = [line for line in log.read_text().splitlines() if json.loads(line)["value"] == key]
    assert len(effects) == 1, told
    assert query(DECISIONS, key) == [("allow", 1)]
    # Whoever was told to come back hears the same.
    assert ask(doors[0], secret, key, tool, key)[1]["result"] == {"value": key}
