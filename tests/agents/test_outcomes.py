"""What the gateway answers, and what the executor makes of it."""

from uuid import uuid4

import pytest

from agents import outcomes
from agents.outcomes import Broken, Later, Lost, Parked, Said
from agents.plan import Story
from audit.refusal import Refusal
from gateway.exchange import Outcome

STORY = Story(model="m", goal="g")
HOLD = uuid4()


def weigh(kind, status, **more):
    """Return what an outcome means."""
    return outcomes.weigh(Outcome(status, uuid4(), **more), kind=kind, story=STORY)


@pytest.mark.parametrize("kind", ["tool", "model"])
@pytest.mark.parametrize(
    ("status", "more", "meaning"),
    [
        ("parked", {"hold": HOLD, "code": "person_decides"}, Parked(HOLD, "person_decides")),
        ("in_flight", {"code": "in_flight", "retry_after": 1}, Later("in_flight", after=1.0)),
        ("denied", {"code": "pdp_unavailable", "again": True}, Later("pdp_unavailable")),
        ("denied", {"code": "rate_limited", "again": True, "retry_after": 3}, Later("rate_limited", "budget", 3.0)),
        ("denied", {"code": "budget_tokens_exceeded", "again": True}, Broken("budget_tokens_exceeded")),
        ("failed", {"code": "tool_unreachable", "again": True}, Later("tool_unreachable")),
        ("unknown", {"code": "tool_timeout", "again": True}, Later("tool_timeout")),
        ("unknown", {"code": "tool_timeout"}, Lost("tool_timeout")),
        ("unknown", {"code": "outcome_unrecorded", "retry_after": 5}, Later("outcome_unrecorded", after=5.0)),
    ],
)
def test_waiting_and_ending_are_the_same_for_tools_and_models(kind, status, more, meaning):
    assert weigh(kind, status, **more) == meaning


@pytest.mark.parametrize(
    ("status", "more", "content"),
    [
        ("finished", {"result": {"a": 1}}, '{"a":1}'),
        ("finished", {"result": "text"}, "text"),
        ("finished", {"result": "no", "is_error": True}, '{"error":"no"}'),
        ("denied", {"code": "no_way", "message": "No."}, '{"denied":{"code":"no_way","message":"No."}}'),
        (
            "failed",
            {"code": "bad", "message": "Hm."},
            '{"failed":{"code":"bad","message":"Hm."}}',
        ),
    ],
)
def test_what_comes_of_a_tool_call_is_an_observation(status, more, content):
    assert weigh("tool", status, **more).output == {"content": content}


@pytest.mark.parametrize("status", ["denied", "failed"])
def test_a_model_that_may_not_be_asked_ends_the_run(status):
    assert weigh("model", status, code="stopped") == Broken("stopped")


def test_a_refusal_of_ours_is_tried_again_and_one_of_the_request_is_not():
    assert outcomes.weigh_refusal(Refusal("decision_unrecorded", "", status=503), kind="tool") == Later(
        "decision_unrecorded"
    )
    assert outcomes.weigh_refusal(Refusal("session_closed", "", status=403), kind="tool") == Broken("session_closed")
    too_large = Refusal("arguments_too_large", "Too large.", status=400)
    assert isinstance(outcomes.weigh_refusal(too_large, kind="tool"), Said)
    assert outcomes.weigh_refusal(too_large, kind="model") == Broken("arguments_too_large")


def test_pauses_grow_up_to_a_bound_and_never_fall_below_what_was_asked_for():
    retries = outcomes.retries_of("tool_unreachable")
    for failures in range(200):
        pauses = [retries.pause(failures, at_least=3.0) for _ in range(20)]
        assert min(pauses) >= 3.0
        assert max(pauses) <= 3.0 + min(retries.longest, retries.first * 2**failures)


def test_each_class_of_failure_has_its_own_patience():
    assert outcomes.retries_of("in_flight") is outcomes.BUSY
    assert outcomes.retries_of("rate_limited") is outcomes.LIMITED
    assert outcomes.retries_of("pdp_timeout") is outcomes.PASSING
