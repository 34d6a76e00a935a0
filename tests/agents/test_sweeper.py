"""What a lost message or a dead process leaves behind, the sweeper finds."""

import os
import signal
import subprocess
import sys
import time
import uuid

import pytest
from django.db import connection

from agents import doorbell, leases, sweeper, tasks
from agents.models import Step
from gateway.models import Hold
from tests.agents.acts import call, lapse, open_step, states_of
from tests.embedded import ROOT
from tests.gateway.stage import effects, fresh


@pytest.fixture
def rung(monkeypatch):
    """Catch the doorbell; return the list of steps for which it rang."""
    heard = []
    monkeypatch.setattr(doorbell, "_send", lambda step: heard.append(step) or True)
    return heard


def silence(*steps):
    """Let the last ring have been long ago."""
    Step.objects.filter(pk__in=[step.pk for step in steps]).update(rung_at="2020-01-01T00:00:00Z")


def test_the_doorbell_rings_for_each_step_once_it_is_committed(acts, rung):
    acts.scripted([{"when": {"step": 1}, "call": [call("look")]}, {"say": "done"}])
    run = acts.work(acts.start())
    assert rung == [step.pk for step in run.steps.order_by("no")]


def test_a_lost_ring_is_repeated_but_not_at_once(acts, rung):
    acts.scripted([{"say": "done"}])
    step = open_step(acts.start())
    rung.clear()
    sweeper.ring_due()
    assert step.pk not in rung
    silence(step)
    sweeper.ring_due()
    sweeper.ring_due()
    assert rung.count(step.pk) == 1


def test_a_step_that_no_worker_takes_up_however_often_it_is_rung_for_is_done_by_the_sweeper(acts, rung):
    acts.scripted([{"say": "done"}])
    run = acts.start()
    step = open_step(run)
    for _ in range(2):
        step.refresh_from_db()
        assert step.state == "ready"
        silence(step)
        sweeper.ring_due()
    until = time.monotonic() + 20
    while states_of(run)[0] != "succeeded" and time.monotonic() < until:
        time.sleep(0.02)
    assert states_of(run)[0] == "succeeded"


def test_an_expired_lease_and_a_timer_that_is_over_are_rung_for_at_once(acts, rung):
    acts.scripted([{"say": "done"}])
    leased, waiting = open_step(acts.start()), open_step(acts.start())
    leases.claim(leased.pk)
    leases.claim(waiting.pk)
    sweeper.ring_due()
    assert not {leased.pk, waiting.pk} & set(rung[2:])
    lapse(leased)
    Step.objects.filter(pk=waiting.pk).update(state="retry_at", lease_until=None, not_before="2020-01-01T00:00:00Z")
    Step.objects.filter(pk=waiting.pk).update(rung_at="2019-01-01T00:00:00Z")
    sweeper.ring_due()
    assert {leased.pk, waiting.pk} <= set(rung)


def test_nothing_is_rung_for_what_is_under_way_parked_or_over(acts, rung):
    run = acts.run([{"when": {"step": 1}, "call": [call("careful")]}, {"say": "done"}])
    done = acts.run([{"say": "done"}])
    under_way = open_step(acts.start())
    leases.claim(under_way.pk)
    rung.clear()
    for step in (open_step(run), done.steps.get(), under_way):
        silence(step)
    sweeper.ring_due()
    assert not {open_step(run).pk, done.steps.get().pk, under_way.pk} & set(rung)


def test_without_a_broker_nothing_is_lost(acts):
    value = fresh()
    acts.scripted([{"when": {"step": 1}, "call": [call("put")]}, {"say": "done"}])
    run = acts.start(value)  # rings into the void
    while (step := open_step(run)) is not None:
        silence(step)
        assert step.pk in doorbell.mark(1, limit=500)
        tasks.advance_step(str(step.pk))
    assert states_of(run)[0] == "succeeded"
    assert len(effects(value)) == 1


@pytest.mark.parametrize(
    "message",
    [[], [None], [7], ["no id"], [str(uuid.uuid4())], [{"step": 1}], ["' OR 1=1 --"], [str(uuid.uuid4()), "more"]],
)
def test_a_forged_message_is_ignored(acts, message):
    tasks.advance_step(*message, unheard_of=True)


def test_a_doubled_or_early_message_changes_nothing(acts):
    value = fresh()
    acts.scripted([{"when": {"step": 1}, "call": [call("put")]}, {"say": "done"}])
    run = acts.start(value)
    heard = []
    while (step := open_step(run)) is not None:
        heard.append(str(step.pk))
        for message in [*heard, *heard]:
            tasks.advance_step(message)
    assert states_of(run)[0] == "succeeded"
    assert len(effects(value)) == 1
    assert list(run.steps.values_list("attempts", flat=True)) == [1, 1, 1]


def test_one_chore_that_fails_holds_up_no_other(acts, monkeypatch, rung):
    acts.scripted([{"say": "done"}])
    step = open_step(acts.start())
    silence(step)
    rung.clear()

    def fail(now):
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1/0")

    monkeypatch.setattr(sweeper, "CHORES", {"broken": fail} | dict(sweeper.CHORES))
    found = sweeper.sweep()
    assert found["broken"] == 0
    assert step.pk in rung


def test_the_sweeper_runs_as_the_worker_role_and_does_a_missing_broker_s_work_and_ends_cleanly(acts):
    run = acts.run([{"when": {"step": 1}, "call": [call("careful")]}, {"say": "done"}], goal="anything")
    Hold.objects.filter(pk=open_step(run).hold).update(expires_at=acts.now)
    command = [sys.executable, str(ROOT / "manage.py"), "sweeper", "--pause", "0.1"]
    environment = os.environ | {"PLACET_PROCESS": "worker", "DJANGO_SETTINGS_MODULE": "config.settings"}
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as process:
        try:
            while run.steps.get(no=2).state != "done" and process.poll() is None:
                silence(*run.steps.all())
                time.sleep(0.1)
            process.send_signal(signal.SIGTERM)
            said, _ = process.communicate(timeout=20)
        finally:
            process.kill()
    assert (process.returncode, b"a chore failed" in said) == (0, False), said
    assert run.steps.get(no=2).code == "hold_expired"
