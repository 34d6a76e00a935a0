"""While the trail is not signed, tools of high risk are refused; the others, and the alarm, go on."""

import pytest
from django.test import override_settings

from audit import halts, lag, publisher, sequencer
from gateway import trail
from tests.gateway.stage import TOOLS, effects, fresh, query

PAST = {"PLACET_TRAIL_LIMIT_SECONDS": 0, "PLACET_TRAIL_ALARM_SECONDS": 0}


@pytest.fixture(scope="module")
def _risky(_shared, django_db_blocker):
    with django_db_blocker.unblock(), override_settings(PLACET_DECISION_TIMEOUT_MS=10_000):
        _shared.live({"mild": TOOLS["put"], "risky": TOOLS["put"] | {"risk": "high"}}, agent="risky")


@pytest.fixture
def agent(_risky, stage):
    principal = stage.agent(agent="risky")
    stage.call(principal, "mild")
    trail.forget()
    yield principal
    trail.forget()


def sign(workspace):
    sequencer.drain(workspace, using="sequencer")
    publisher.publish(workspace, using="publisher")
    trail.forget()


@pytest.mark.parametrize("stopped", ["sequencer", "publisher"])
def test_past_the_limit_tools_of_high_risk_wait_until_the_trail_is_signed(stage, agent, stopped):
    if stopped == "publisher":
        sequencer.drain(stage.workspace.pk, using="sequencer")
    value, key = fresh(), fresh("key")
    with override_settings(**PAST):
        outcome = stage.call(agent, "risky", value, key=key)
        assert (outcome.status, outcome.code, outcome.again) == ("denied", "trail_lagging", True)
        assert effects(value) == []
        assert stage.call(agent, "mild", fresh()).status == "finished"
        sign(stage.workspace.pk)
        assert lag.seconds(stage.workspace.pk) == 0
        assert stage.call(agent, "risky", value, key=key).status == "finished"
    assert len(effects(value)) == 1


def test_within_the_limit_they_go_on(stage, agent):
    assert lag.seconds(stage.workspace.pk) > 0
    assert stage.call(agent, "risky").status == "finished"


def test_the_trail_is_looked_at_once_a_second_and_only_for_high_risk(stage, agent, django_assert_max_num_queries):
    stage.call(agent, "risky")
    stage.call(agent, "mild")
    with django_assert_max_num_queries(17):
        stage.call(agent, "risky")


def test_the_sweeper_raises_the_alarm_and_metrics_show_it(stage, agent, client, caplog):
    with override_settings(**PAST):
        assert trail.alarm(stage.now) >= 1
    own = str(stage.workspace.pk)
    assert "the trail is behind" in caplog.text and own in caplog.text
    caplog.clear()
    with override_settings(PLACET_TRAIL_ALARM_SECONDS=86_400):
        trail.alarm(stage.now)
    assert own not in caplog.text  # within the limits nothing is said of it
    shown = client.get("/metrics").content.decode()
    (line,) = [line for line in shown.splitlines() if line.startswith("placet_trail_lag_seconds")]
    assert float(line.split()[1]) > 0
    assert query("SELECT count(*) FROM audit_pending WHERE workspace = %s", stage.workspace.pk)[0][0] > 0


def test_the_lag_of_every_log_is_read_in_one_statement_and_is_that_of_each(stage, agent, django_assert_num_queries):
    stage.call(agent, "look")
    with django_assert_num_queries(1):
        every = lag.every()
    assert stage.workspace.pk in every
    assert abs(every[stage.workspace.pk] - lag.seconds(stage.workspace.pk)) < 60
    assert every[stage.workspace.pk] > 0


@pytest.fixture
def halted(stage, agent):
    """The publisher has refused the log of the stage, as after a rollback; it takes the refusal back afterwards."""
    sign(stage.workspace.pk)
    log = stage.workspace.pk
    halts.keep({log: ("tree_shrunk", "12 records were published, the head has 9.")}, [log], using="publisher")
    trail.forget()
    yield log
    halts.keep({}, [log], using="publisher")
    trail.forget()


def test_a_log_that_does_not_continue_what_was_published_stops_high_risk_at_once(stage, agent, halted):
    value, key = fresh(), fresh("key")
    assert lag.seconds(halted) == 0
    outcome = stage.call(agent, "risky", value, key=key)
    assert (outcome.status, outcome.code, outcome.again) == ("denied", "trail_broken", True)
    assert effects(value) == []
    assert stage.call(agent, "mild", fresh()).status == "finished"
    publisher.publish(halted, using="publisher")
    sign(halted)  # a checkpoint that continues the last one takes the refusal back
    assert halts.of(halted) is None
    assert stage.call(agent, "risky", value, key=key).status == "finished"


def test_a_missing_key_stops_high_risk_only_when_the_limit_is_over(stage, agent, halted):
    halts.keep({halted: ("key_missing", "The key is missing.")}, [halted], using="publisher")
    trail.forget()
    assert stage.call(agent, "risky").status == "finished"
    with override_settings(**PAST):
        trail.forget()
        assert stage.call(agent, "risky").code == "trail_lagging"


def test_a_refused_log_is_seen_by_everybody_who_watches(stage, agent, halted, client, caplog):
    trail.alarm(stage.now)
    assert "publishing has stopped" in caplog.text and "tree_shrunk" in caplog.text and str(halted) in caplog.text
    shown = client.get("/metrics").content.decode()
    assert 'placet_trail_halted{code="tree_shrunk"} 1.0' in shown
    assert 'placet_trail_halted{code="history_rewritten"} 0.0' in shown
    ready = client.get("/readyz")
    assert (ready.status_code, ready.json()["ready"]) == (200, True)
    assert f"the publisher refuses log {halted}: tree_shrunk" in ready.json()["alarms"]
