"""A whole Placet whose processes are killed during a run: what the tools wrote down, and what the trail says.

The tool server holds back its answer at a gate, so each kill falls where it is meant to: after the effect, before
anybody has heard of it.
"""

import json
import secrets
import subprocess
import sys
import threading

import httpx2
import pytest

from tests.chaos import invariants
from tests.chaos.evidence import Case
from tests.faults.running import ROOT, Running

pytestmark = pytest.mark.timeout(600)  # the machine may be busy with other things
DECISIONS = """
SELECT count(*) FROM gateway_attempt a JOIN gateway_call c ON c.id = a.call_id
JOIN audit_record r ON r.id = a.decided_record
WHERE c.run->>'id' = %s AND c.name = %s AND a.verdict = 'allow'
"""


@pytest.fixture(scope="module")
def placet():
    with Running() as placet:
        yield placet


@pytest.fixture
def goal():
    return f"v-{secrets.token_hex(6)}"


def under_way(placet, run, goal, tool):
    """Wait until a tool has acted for the run and is held at the gate; its decision is then on record."""
    placet.wait(f"{tool} has acted", lambda: placet.effects(goal, tool), lambda: placet.run(run))
    effects = len(placet.effects(goal, tool))
    [(decided,)] = placet.query(DECISIONS, run, tool)
    assert 1 <= effects <= decided


def once(placet, run, goal, *tools):
    """Each tool acted once for the run: a repetition carries the key that the tool knows."""
    for tool in tools:
        lines = placet.effects(goal, tool)
        assert len({line["key"] for line in lines}) == 1, lines
        [(decided,)] = placet.query(DECISIONS, run, tool)
        assert 1 <= len(lines) <= decided
        if tool in ("pay", "launch"):
            assert len(lines) == 1


def test_a_run_finishes_after_its_worker_was_killed_with_a_call_in_its_hands(placet, goal):
    with placet.gate():
        run = placet.start("steady", goal)
        under_way(placet, run, goal, "look")
        placet.kill("worker")
    ended = placet.ended(run, "succeeded", "failed")
    assert (ended["state"], ended["answer"]) == ("succeeded", "done")
    once(placet, run, goal, "look", "put", "pay")


def test_an_unsafe_call_in_the_hands_of_a_killed_worker_waits_for_a_person_and_happened_once(placet, goal):
    with placet.gate():
        run = placet.start("risky", goal)
        under_way(placet, run, goal, "launch")
        placet.kill("worker")
    placet.wait("indeterminate", lambda: placet.run(run)["wait"] == "person", lambda: placet.run(run))
    step = placet.run(run)["steps"][-1]
    assert (step["name"], step["state"]) == ("launch", "indeterminate")
    assert len(placet.effects(goal)) == 1
    placet.post("olga", f"tool-calls/{step['call']}/settlements/", {"outcome": "happened", "result": {"seen": True}})
    assert placet.ended(run, "succeeded", "failed")["state"] == "succeeded"
    once(placet, run, goal, "launch")


def test_a_run_finishes_after_the_database_was_killed(placet, goal):
    with placet.gate():
        run = placet.start("steady", goal)
        under_way(placet, run, goal, "look")
        placet.kill("postgres")
    assert placet.ended(run, "succeeded", "failed")["state"] == "succeeded"
    once(placet, run, goal, "look", "put", "pay")


def test_an_unsafe_call_during_the_death_of_the_database_happens_once(placet, goal):
    with placet.gate():
        run = placet.start("risky", goal)
        under_way(placet, run, goal, "launch")
        placet.kill("postgres")
    placet.wait(
        "settled or answered",
        lambda: placet.run(run)["wait"] == "person" or placet.run(run)["state"] == "succeeded",
        lambda: placet.run(run),
    )
    step = placet.run(run)["steps"][1]
    if step["state"] == "indeterminate":
        placet.post("olga", f"tool-calls/{step['call']}/settlements/", {"outcome": "happened"})
    assert placet.ended(run, "succeeded", "failed")["state"] == "succeeded"
    once(placet, run, goal, "launch")


def test_a_run_finishes_after_the_broker_was_killed_with_all_its_messages(placet, goal):
    with placet.gate():
        run = placet.start("steady", goal)
        under_way(placet, run, goal, "look")
        placet.kill("valkey")
    assert placet.ended(run, "succeeded", "failed")["state"] == "succeeded"
    once(placet, run, goal, "look", "put", "pay")


def test_the_death_of_the_web_process_loses_no_call_and_repeats_none(placet, goal):
    call = {"name": "pay", "arguments": {"value": goal}}
    headers = {"Authorization": f"Bearer {placet.scene['key']}", "Idempotency-Key": goal}

    def ask():
        return httpx2.post(f"{placet.url}/api/v1/tool-calls/", json=call, headers=headers, timeout=30)

    answers = []

    def ask_and_be_cut_off():
        try:
            answers.append(ask())
        except httpx2.HTTPError as error:
            answers.append(error)

    with placet.gate():
        run = placet.start("steady", f"{goal}-run")
        asking = threading.Thread(target=ask_and_be_cut_off)
        asking.start()
        placet.wait("pay has acted", lambda: placet.effects(goal, "pay"))
        placet.kill("web")
    asking.join()
    assert isinstance(answers[0], httpx2.HTTPError)
    placet.wait("the call is answered", lambda: ask().status_code == 200, lambda: ask().text)
    again = ask().json()
    assert (again["status"], again["replayed"]) == ("finished", True)
    assert len(placet.effects(goal)) == 1
    assert placet.ended(run, "succeeded", "failed")["state"] == "succeeded"
    once(placet, run, f"{goal}-run", "look", "put", "pay")


def test_the_death_of_sequencer_and_publisher_delays_the_trail_and_loses_nothing(placet, goal, tmp_path):
    workspace = placet.scene["workspace"]
    kept = tmp_path / "checkpoint"
    placet.wait("a checkpoint", lambda: placet.query("SELECT 1 FROM audit_checkpoint"))
    kept.write_text(httpx2.get(f"{placet.url}/log/{workspace}/checkpoint", cookies=placet.people["olga"].cookies).text)
    with placet.gate():
        run = placet.start("steady", goal)
        under_way(placet, run, goal, "look")
        placet.kill("sequencer")
        placet.kill("publisher")
    assert placet.ended(run, "succeeded", "failed")["state"] == "succeeded"
    once(placet, run, goal, "look", "put", "pay")
    placet.wait("everything is in the tree", lambda: placet.query("SELECT count(*) FROM audit_pending") == [(0,)])
    records = "SELECT count(*) FROM audit_record WHERE workspace = %s"
    checked = "SELECT max(size) FROM audit_checkpoint"
    placet.wait("everything is signed", lambda: placet.query(records, workspace) == placet.query(checked))
    assert "whole" in placet.manage("fsck", workspace)
    export = tmp_path / "trail.ndjson"
    placet.manage("export_trail", workspace, "-o", str(export))
    key = placet.home / "keys" / f"checkpoint-{workspace}.pub"
    command = [sys.executable, str(ROOT / "audit/verify.py"), str(export), "--key", str(key), "--checkpoint", str(kept)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    events = [json.loads(line) for line in export.read_text().splitlines()]
    assert len(events) > 50


def test_an_upgrade_while_runs_are_in_flight_loses_none_and_old_exports_still_verify(placet, goal, tmp_path):
    """The schema is an older one for a while, as for new code that comes before `migrate`, and workers hold calls.

    If it stays away for several leases, a step has used up its attempts and its run waits for an operator.
    """
    workspace = placet.scene["workspace"]
    kept, note = tmp_path / "kept.note", placet.home / "checkpoints" / f"{workspace}.note"
    placet.wait("a checkpoint", note.exists)
    kept.write_text(note.read_text())
    export, key = tmp_path / "before.ndjson", placet.home / "keys" / f"checkpoint-{workspace}.pub"
    placet.manage("export_trail", workspace, "-o", str(export))
    applied = "SELECT count(*) FROM pg_class WHERE relname = 'audit_halt'"
    goals = [f"{goal}-{number}" for number in range(3)]
    with placet.gate():
        runs = [placet.start("steady", one) for one in goals]
        under_way(placet, runs[0], goals[0], "look")
        placet.manage("migrate", "audit", "0006_rotation", "-v", "0")
        assert placet.query(applied) == [(0,)]
        placet.manage("migrate", "-v", "0")
        assert placet.query(applied) == [(1,)]
    for run, one in zip(runs, goals, strict=True):
        assert placet.ended(run, "succeeded", "failed", aided=True)["state"] == "succeeded"
        once(placet, run, one, "look", "put", "pay")
    placet.wait("everything is in the tree", lambda: placet.query("SELECT count(*) FROM audit_pending") == [(0,)])
    assert "whole, proven" in placet.manage("recovery", "check", "--checkpoint", str(kept))
    command = [sys.executable, str(ROOT / "audit/verify.py"), str(export), "--key", str(key), "--checkpoint", str(kept)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_after_all_of_this_every_invariant_holds(placet, tmp_path):
    workspace, export = placet.workspace, tmp_path / "trail.ndjson"
    note = placet.home / "checkpoints" / f"{workspace}.note"
    kept = [note.read_text()]
    records = "SELECT count(*) FROM audit_record WHERE workspace = %s"
    checked = "SELECT max(size) FROM audit_checkpoint"
    placet.wait("everything is signed", lambda: placet.query(records, workspace) == placet.query(checked))
    placet.manage("export_trail", str(workspace), "-o", str(export))
    kept.append(note.read_text())
    pinned = {"log_keys": placet.key(f"checkpoint-{workspace}"), "receipt_keys": placet.key("receipt")}
    with placet.connect() as connection:
        case = Case(connection, workspace, placet.done(), notes={"outside": kept}, export=export, **pinned)
        report = invariants.check(case)
    assert report.violations == []
    assert {name for name in ("I1", "I3", "I4", "I5", "I6", "I8", "I9", "I10") if not report.looked[name]} == set()
