"""What crashes, stalls or swells whoever touches it: it is put aside and told of, and its neighbours go on."""

import resource
import signal

import pytest

from agents import stories, tasks
from agents.models import Run, Step
from tests.agents.acts import call, open_step
from tests.chaos.deeds import DEEDS
from tests.chaos.deeds.runs import pass_time
from tests.chaos.seeds import rounds
from tests.gateway.stage import fresh

pytest_plugins = ["tests.chaos.directed"]
LARGE = 100 << 20
# What a tool answers where its contract wants JSON, and what the line calls it.
ANSWERS = {
    "a hundred thousand levels": (b"[" * 100_000 + b"]" * 100_000, "tool_result_malformed"),
    "bad UTF-8": (b'{"a": "\xff\xfe"}', "tool_result_malformed"),
    "a lone surrogate": (b'{"a": "\\ud800"}', "tool_result_malformed"),
    "a number past any": (b"1e999", "tool_result_malformed"),
    "a number of a hundred thousand digits": (b"9" * 100_000, "tool_result_malformed"),
    "NaN": (b"NaN", "tool_result_malformed"),
    "the same key twice": (b'{"a": 1, "a": 2}', "tool_result_malformed"),
    "half of something": (b'{"a": ', "tool_result_malformed"),
    "a hundred megabytes": (b'"' + b"x" * LARGE + b'"', "tool_result_too_large"),
}


@pytest.fixture
def agent(scene):
    return scene.agent(agent="outward")


def answered(scene, agent, content):
    """Return the outcome of a call that is answered with `content`."""
    poison = scene.place / "http" / "poison"
    poison.write_bytes(content)
    try:
        return scene.call(agent, "http_put")
    finally:
        poison.unlink()


@pytest.mark.parametrize("case", ANSWERS)
def test_an_answer_that_is_poison_is_put_aside_in_bounded_memory(scene, agent, case):
    content, code = ANSWERS[case]
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    outcome = answered(scene, agent, content)
    assert (outcome.status, outcome.code, outcome.result) == ("unknown", code, None)
    # kB; the server that sends it is in this process, too, and holds it twice at most.
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 2.5 * LARGE / 1024
    assert scene.call(agent, "http_put").status == "finished"


def test_an_mcp_server_that_answers_without_end_is_put_aside(scene, agent):
    outcome = scene.call(agent, "mcp_put", f"big:{20 << 20}")
    assert (outcome.status, outcome.result) == ("unknown", None)
    assert outcome.code in ("tool_result_too_large", "tool_protocol_error"), outcome
    assert scene.call(agent, "mcp_put").status == "finished"


def lethal(scene, tool):
    """Return an order to work on a run whose tool kills whoever calls it."""
    script = [{"when": {"step": 1}, "call": [call(tool)]}, {"say": "done"}]
    scene.scripted(script)
    run = scene.start(f"kill:{fresh()}")
    return run, {"run": str(run.pk), "value": "", "olga": scene.person("olga")}


def test_a_step_that_kills_its_worker_each_time_is_given_up_after_three_and_its_neighbours_go_on(scene):
    run, order = lethal(scene, "put")
    neighbour = DEEDS["run:steady"].prepare(scene)
    for _ in range(3):
        assert scene.order("run:steady", order)["status"] == signal.SIGKILL
        pass_time(run)
    # The worker that comes next does not touch it any more, and works on what else there is.
    assert scene.order("run:steady", order)["status"] == 0
    assert scene.order("run:steady", neighbour)["status"] == 0
    DEEDS["run:steady"].check(scene, neighbour)
    run.refresh_from_db()
    step = run.steps.order_by("-no").first()
    assert (run.state, run.wait, step.state, step.code) == ("waiting", "person", "dead", "poison")
    acted = _acts(scene, run)
    assert len(acted) == 3
    assert len({one["key"] for one in acted}) == 1


def test_an_unsafe_step_that_kills_its_worker_is_not_tried_a_second_time(scene):
    run, order = lethal(scene, "launch")
    assert scene.order("run:steady", order)["status"] == signal.SIGKILL
    pass_time(run)
    assert scene.order("run:steady", order)["status"] == 0
    assert open_step(run).state == "indeterminate"
    assert len(_acts(scene, run)) == 1


def _acts(scene, run):
    """Return what the tools did for a run."""
    return scene.effects(stories.goal_of(run))


NONSENSE = [
    (),
    (None,),
    (1,),
    ("",),
    ("x" * 10_000_000,),
    ("0" * 36,),
    ([[[[[[]]]]]],),
    ({"step": "1"},),
    (float("nan"),),
    ("01a20631-45ca-780b-930b-31325331f336",),
    ("01a20631-45ca-780b-930b-31325331f336", "more"),
]


def test_a_message_that_means_nothing_leads_to_nothing(scene):
    scene.scripted([{"say": "done"}])
    run = scene.start()
    before = list(Step.objects.order_by("pk").values_list("pk", "state", "fence"))
    for message in NONSENSE:
        tasks.advance_step(*message)
    tasks.advance_step(step_id={"deep": [None] * 1000}, other=object())
    assert list(Step.objects.order_by("pk").values_list("pk", "state", "fence")) == before
    assert Run.objects.get(pk=run.pk).state == "queued"
    assert scene.work(run).state == "succeeded"


@pytest.mark.slow
def test_whatever_bytes_a_tool_answers_the_line_puts_them_aside_or_takes_them_for_what_they_are(scene):
    seeds = [b'{"a": [1, 2.5, "x", null, true]}', b'"\\u0041"', b"[]", b"-1e3", b'{"\\ud83d\\ude00": {"b": [[[]]]}}']
    for chance in rounds("poison", 200):
        agent, raw = scene.agent(agent="outward"), bytearray(chance.choice(seeds))
        for _ in range(chance.randrange(1, 6)):
            at = chance.randrange(len(raw) + 1)
            raw[at : at + chance.choice([0, 1])] = chance.randbytes(chance.randrange(3)) or b"["
        outcome = answered(scene, agent, bytes(raw))
        assert (outcome.status, outcome.code) in {("finished", ""), ("unknown", "tool_result_malformed")}, raw
        assert scene.call(agent, "http_put").status == "finished"


@pytest.mark.invariants
def test_after_all_of_this_every_invariant_holds(scene):
    assert scene.lawful()["I1"] > 0
