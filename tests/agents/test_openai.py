"""A run whose model is behind an OpenAI-compatible endpoint: its tool calls are governed like any other's."""

import json

import pytest

from gateway import connect
from gateway.models import Counter
from tests.agents.acts import records, steps
from tests.gateway.stage import TOOLS, effects, fresh, release_policy
from tests.tools.openai_server import OpenAI

MODEL = {
    "provider": "openai",
    "model": "small",
    "endpoint": "lab",
    "context_length": 8000,
    "prices": {"input_micro_usd_per_million_tokens": 1_000_000, "output_micro_usd_per_million_tokens": 2_000_000},
}


@pytest.fixture
def lab(acts, settings, tmp_path):
    """Return a function: answers, parameters of the model -> the server that a live release asks."""
    settings.PLACET_HOME = tmp_path
    settings.PLACET_LAUNCHERS = str(tmp_path / "launchers.toml")
    (tmp_path / "secrets").mkdir()
    (tmp_path / "secrets" / "lab").write_text("sk-hush-7d1f")
    servers = []

    def lab(*answers, **parameters):
        server = OpenAI(answers).__enter__()
        servers.append(server)
        settings.PLACET_EGRESS_ALLOW = server.here
        (tmp_path / "launchers.toml").write_text(f'[endpoints.lab]\nurl = "{server.url}/v1"\nbearer = "lab"\n')
        acts.last = fresh("lab")
        parts = [acts.build.version("tool", name, TOOLS[name]) for name in ("look", "forbidden")]
        parts.append(acts.build.version("model", "thinker", MODEL | {"parameters": parameters}))
        parts.append(acts.build.version("policy", "steward-policy", release_policy()))
        pins = [{"kind": part.kind, "name": part.name, "digest": part.digest} for part in parts]
        if not acts._has_baseline("development"):
            acts._activate(acts.build.version("policy", "baseline"), "development")
        acts._activate(acts.build.version("agent", acts.last, {"pins": pins, "budgets": {}}), "development")
        return server

    yield lab
    for server in servers:
        server.__exit__()
    connect.close()


@pytest.mark.parametrize("stream", [False, True])
def test_a_run_makes_governed_calls_and_pays_what_the_provider_says(acts, lab, stream):
    value = fresh()
    server = lab(
        {"call": [("look", json.dumps({"value": value}))], "usage": (100, 10)},
        {"say": "All is well.", "usage": (150, 5)},
        stream=stream,
    )
    run = acts.work(acts.start())
    assert (run.state, server.complaints) == ("succeeded", [])
    assert [one[:3] for one in steps(run)] == [
        ("model", "thinker", "done"), ("tool", "look", "done"), ("model", "thinker", "done"),
    ]  # fmt: skip
    assert len(effects(value)) == 1
    told = server.bodies[1]["messages"]
    assert told[2] == {"role": "tool", "tool_call_id": told[1]["tool_calls"][0]["id"], "content": told[2]["content"]}
    assert value in told[2]["content"]
    spent = Counter.objects.get(pk=run.pk)
    assert (spent.tokens, spent.cost_micro_usd) == (265, 250 + 2 * 15)
    assert "sk-hush-7d1f" not in json.dumps(records(run), default=str)


def test_what_a_policy_forbids_is_denied_to_this_model_too_and_it_is_told(acts, lab):
    value = fresh()
    server = lab({"call": [("forbidden", json.dumps({"value": value}))]}, {"say": "Then not."})
    run = acts.work(acts.start())
    assert (run.state, effects(value)) == ("succeeded", [])
    assert "denied" in server.bodies[1]["messages"][2]["content"]


def test_arguments_that_are_no_json_are_corrected_once_and_never_executed(acts, lab):
    value = fresh()
    server = lab(
        {"call": [("look", '{"value": "' + value)]},
        {"call": [("look", json.dumps({"value": value}))]},
        {"say": "Done."},
    )
    run = acts.work(acts.start())
    assert (run.state, len(effects(value))) == ("succeeded", 1)
    assert "cannot be used" in server.bodies[1]["messages"][-1]["content"]


def test_an_answer_that_breaks_off_is_asked_for_again_and_nothing_of_it_is_done(acts, lab):
    value = fresh()
    call = [("look", json.dumps({"value": value}))]
    lab({"call": call, "cut": 3}, {"call": call, "cut": 5}, {"call": call}, {"say": "Done."}, stream=True)
    run = acts.work(acts.start())
    assert (run.state, len(effects(value))) == ("succeeded", 1)


def test_an_answer_cut_by_its_length_ends_the_run_instead_of_passing_for_one(acts, lab):
    lab({"say": "The first half of", "finish": "length"})
    run = acts.work(acts.start())
    assert (run.state, run.code) == ("failed", "tool_error")
