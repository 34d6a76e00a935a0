"""The short part of the fault programme: each of these kinds once, in an order of the seed's."""

import os
import secrets

import pytest

from tests.chaos.program import Program
from tests.chaos.site import Site

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
# What takes longest to recover from is left to `make chaos`.
KINDS = (
    "kill_worker_child",
    "kill_web_child",
    "kill_evaluator",
    "kill_sweeper",
    "kill_sequencer",
    "kill_publisher",
    "kill_postgres",
    "kill_broker",
    "terminate_backends",
    "stop_worker_child",
    "repeat_messages",
    "forge_tasks",
    "forge_garbage",
    "forge_pickle",
)


def test_no_invariant_breaks_under_faults_of_many_kinds(tmp_path):
    seed = int(os.environ.get("PLACET_CHAOS_SEED") or secrets.randbelow(2**32))
    print(f"PLACET_CHAOS_SEED={seed}")  # shown if the test fails
    with Site() as placet:
        programme = Program(placet, seed, tmp_path, kinds=KINDS)
        result = programme.run(faults=len(KINDS), seconds=300, gap=(0.05, 0.4), cover=True)
    assert result.report.violations == []
    assert {one.name for one in result.faults} == set(KINDS)
    assert {name for name, count in result.report.looked.items() if not count} == set()
    assert result.left == dict.fromkeys(result.left, 0)
