"""Eight writers, two sequencers, a publisher, and connections and processes that die at random: nothing is lost.

PLACET_FIRE_SEED repeats a run. `pytest -m slow tests/audit/test_under_fire.py` is the long one, in which each writer
makes PLACET_FIRE_TRANSACTIONS transactions.
"""

import os

import pytest

from audit import fsck, log
from tests.audit import fire


def burnt(monkeypatch, *, transactions):
    monkeypatch.setattr(log, "uuid7", fire.fetched_before)
    run = fire.Fire(fire.seed())
    print(f"PLACET_FIRE_SEED={run.seed}")
    run.burn(writers=8, transactions=transactions)
    assert run.failures == []
    print(fire.check(run, sampled=100))
    assert fsck.check(run.workspace).problems == []
    return run


def test_no_committed_record_is_missing_whoever_is_killed(db, monkeypatch):
    run = burnt(monkeypatch, transactions=120)
    assert len(run.acknowledged) > 800
    assert run.withdrawn
    assert run.faults["backend terminated"] > 3
    assert run.faults["sequencer killed"] > 0


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_no_committed_record_is_missing_after_a_long_fire(db, monkeypatch):
    run = burnt(monkeypatch, transactions=int(os.environ.get("PLACET_FIRE_TRANSACTIONS", "3000")))
    assert run.faults["backend terminated"] > 50
    assert run.faults["sequencer killed"] > 5
