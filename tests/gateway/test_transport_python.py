"""The test transport, and what a retry may do whatever the transport is."""

import time
from dataclasses import dataclass
from uuid import uuid4

import pytest

from gateway import transport
from gateway.transport import TransportFailed, python


@dataclass
class Tool:
    content: dict
    kind: str = "tool"
    name: str = "tool"


def call(function, *, seconds=5.0, transport_kind="python", **content):
    return transport.invoke(
        Tool({"transport": {"kind": transport_kind, "function": function}, **content}),
        {"a": 1},
        key="key-1",
        deadline=time.monotonic() + seconds,
        scope=transport.Scope(uuid4(), "development", "sha256:r"),
        correlation_id="c",
    )


@pytest.fixture
def asked(settings):
    """Keys of the calls that reached `flaky`, which fails as told and then answers."""
    settings.PLACET_TEST_TRANSPORTS = True
    asked = []

    def flaky(*failures):
        left = list(failures)

        @python.register("flaky")
        def function(arguments, key):
            asked.append(key)
            if left:
                raise left.pop(0)
            return {"got": arguments}

        return asked

    return flaky


def test_a_function_answers_in_tests(asked):
    seen = asked()
    assert call("flaky").content == {"got": {"a": 1}}
    assert seen == ["key-1"]


def test_functions_of_ours_are_no_tools_outside_tests(asked, settings):
    seen = asked()
    settings.PLACET_TEST_TRANSPORTS = False
    with pytest.raises(TransportFailed) as failed:
        call("flaky")
    assert (failed.value.code, failed.value.happened, seen) == ("transport_forbidden", "no", [])


def test_an_unknown_transport_or_function_is_refused(asked):
    asked()
    for code, arguments in (("transport_unknown", {"transport_kind": "smoke"}), ("tool_unreachable", {})):
        with pytest.raises(TransportFailed) as failed:
            call("missing", **arguments)
        assert (failed.value.code, failed.value.happened) == (code, "no")


def test_a_function_that_breaks_may_have_acted(asked):
    asked(ValueError("half way"))
    with pytest.raises(TransportFailed) as failed:
        call("flaky", effect="read", retry={"attempts": 3})
    assert (failed.value.code, failed.value.happened) == ("tool_protocol_error", "maybe")


def test_a_tool_error_is_an_answer(asked):
    asked(python.ToolError({"no": "thanks"}))
    result = call("flaky")
    assert (result.content, result.is_error) == ({"no": "thanks"}, True)


def test_a_slow_function_is_too_late(asked):
    @python.register("slow")
    def slow(arguments, key):
        time.sleep(0.05)

    asked()
    with pytest.raises(TransportFailed) as failed:
        call("slow", timeout_ms=10)
    assert (failed.value.code, failed.value.happened) == ("tool_timeout", "maybe")


GONE, NEVER = TransportFailed("tool_unreachable", "maybe"), TransportFailed("tool_unreachable", "no")


@pytest.mark.parametrize(
    ("effect", "failures", "reached", "happened"),
    [
        ("read", [GONE, GONE], 3, None),
        ("idempotent", [GONE], 2, None),
        ("keyed", [GONE], 2, None),
        ("unsafe", [NEVER, NEVER], 3, None),
        ("unsafe", [GONE], 1, "maybe"),
        ("unsafe", [NEVER, GONE], 2, "maybe"),
        ("read", [GONE, NEVER, NEVER], 3, "maybe"),
        ("read", [NEVER, NEVER, NEVER], 3, "no"),
        ("read", [TransportFailed("tool_drifted", "no")], 1, "no"),
    ],
)
def test_a_call_is_repeated_only_as_its_effect_allows_and_what_happened_adds_up(
    asked, effect, failures, reached, happened
):
    seen = asked(*failures)
    if happened is None:
        assert call("flaky", effect=effect, retry={"attempts": 3}).meta["tries"] == reached
    else:
        with pytest.raises(TransportFailed) as failed:
            call("flaky", effect=effect, retry={"attempts": 3})
        assert failed.value.happened == happened
    assert seen == ["key-1"] * reached


def test_no_try_begins_after_the_deadline(asked):
    seen = asked(GONE)
    with pytest.raises(TransportFailed):
        call("flaky", seconds=0.0001, effect="read", retry={"attempts": 3})
    assert len(seen) <= 1
